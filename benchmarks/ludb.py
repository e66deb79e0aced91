"""Our marks on LUDB beside NeuroKit2's, against the cardiologists': per lead, and for all leads together.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/ludb.py ../shared/data/ludb

Cross-validated: each record is marked by a network that was fitted on the other four fifths of the records (its
weights lie in benchmarks/ludb_folds; benchmarks/fit_delineator.py makes them). The network that ships with the package
was fitted on all records, so its own figures on LUDB would flatter. NeuroKit2 is not fitted on these records; its
marks are taken with the R peaks that it finds itself.
"""

import argparse
import warnings
from pathlib import Path

import neurokit2 as nk
import numpy as np
from safetensors.torch import load_file

from ecgveil import ECGSet
from ecgveil.leads import LEADS_12
from ecgveil.measure.delineate import OVERALL, Mark, delineate
from ecgveil.measure.network import Delineator
from ludb_marks import KINDS, Score, compare, load

FOLDS = Path(__file__).parent / "ludb_folds"
N_FOLDS = 5
BARS = {  # least Se and PPV; most SD of onset and offset per lead; the same of the global marks
    "p": (0.96, 16, 16, 12, 12),
    "N": (0.995, 11, 12, 8, 10),
    "t": (0.98, np.nan, 22, np.nan, 18),
}


def test_rows(n: int, fold: int) -> np.ndarray:
    """Records of a fold; the same for fitting and for testing."""
    return np.sort(np.random.default_rng(0).permutation(n)[fold::N_FOLDS])


def ours(ecgs: ECGSet) -> list[dict[str, list[Mark]]]:
    marks: list[dict[str, list[Mark]]] = [{} for _ in range(len(ecgs))]
    for fold in range(N_FOLDS):
        network = Delineator()
        network.load_state_dict(load_file(FOLDS / f"fold{fold}.safetensors"))
        rows = test_rows(len(ecgs), fold)
        for row, found in zip(rows, delineate(ecgs.take(rows), network.eval()), strict=True):
            marks[row] = found
    return marks


def neurokit(signal: np.ndarray, fs: float, method: str) -> list[Mark]:
    """NeuroKit2's marks of one lead; none where it gives up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            clean = nk.ecg_clean(signal, fs)
            peaks = nk.ecg_peaks(clean, fs)[1]["ECG_R_Peaks"]
            found = nk.ecg_delineate(clean, peaks, fs, method=method)[1]
        except (ValueError, IndexError, ZeroDivisionError, KeyError, TypeError):
            return []
    names = {"p": "ECG_P_", "N": "ECG_R_", "t": "ECG_T_"}
    marks = []
    for kind, name in names.items():
        onsets, offsets = found.get(f"{name}Onsets", []), found.get(f"{name}Offsets", [])
        tops = found.get(f"{name}Peaks", peaks)
        for onset, peak, offset in zip(onsets, tops, offsets, strict=False):
            if np.isfinite([onset, peak, offset]).any():
                marks.append(Mark(kind, float(onset), float(peak), float(offset)))
    return marks


def scored(found: list[dict[str, list[Mark]]], true: list[dict[str, list[Mark]]], fs: float, tracks) -> dict:
    total = {kind: Score() for kind in KINDS}
    for ours_, theirs in zip(found, true, strict=True):
        for track in tracks:
            for kind, score in compare(ours_.get(track, []), theirs[track], fs).items():
                total[kind].add(score)
    return total


def show(name: str, scores: dict[str, Score]) -> None:
    for kind, score in scores.items():
        print(f"{name:32s} {'QRS' if kind == 'N' else kind.upper():4s} {score}")


def verdicts(lead: dict[str, Score], overall: dict[str, Score]) -> None:
    for kind, (least, *most) in BARS.items():
        score = lead[kind]
        lines = [("Se", score.hit / score.true, least, True), ("PPV", score.hit / score.found, least, True)]
        for name, errors, bar in zip(
            ("SD onset", "SD offset", "SD onset, global", "SD offset, global"),
            (score.onset, score.offset, overall[kind].onset, overall[kind].offset),
            most,
            strict=True,
        ):
            lines.append((name, float(np.std(errors)), bar, False))
            if "global" not in name and np.isfinite(bar):
                lines.append((name.replace("SD", "|mean|"), abs(float(np.mean(errors))), 5.0, False))
        for name, value, bar, more in lines:
            if np.isfinite(bar):
                passed = value >= bar if more else value <= bar
                print(f"  {kind} {name:18s} {value:8.4g}  bar {bar:g}  {'reached' if passed else 'SHORT'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ludb", type=Path)
    parser.add_argument("--methods", nargs="*", default=["prominence", "dwt"], help="of NeuroKit2's ecg_delineate")
    args = parser.parse_args()
    ecgs, true = load(args.ludb)
    leads = [lead.lower() for lead in LEADS_12]
    print(
        f"{len(ecgs)} records, {N_FOLDS}-fold cross-validated; NeuroKit2 {nk.__version__}; edges: mean +- SD of error"
    )
    found = ours(ecgs)
    by_lead, overall = scored(found, true, ecgs.fs, leads), scored(found, true, ecgs.fs, [OVERALL])
    show("ecgveil, 12 leads", by_lead)
    for lead in ("ii", "v5"):
        show(f"ecgveil, lead {lead.upper()}", scored(found, true, ecgs.fs, [lead]))
    show("ecgveil, global", overall)
    for method in args.methods:
        rival = [{lead: neurokit(signal[i], ecgs.fs, method) for i, lead in enumerate(leads)} for signal in ecgs.signal]
        show(f"NeuroKit2 {method}, 12 leads", scored(rival, true, ecgs.fs, leads))
        for lead in ("ii", "v5"):
            show(f"NeuroKit2 {method}, lead {lead.upper()}", scored(rival, true, ecgs.fs, [lead]))
    verdicts(by_lead, overall)


if __name__ == "__main__":
    main()
