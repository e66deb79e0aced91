"""R peaks on LUDB: our detector beside NeuroKit2's, against the cardiologists' QRS marks.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/beats.py ../shared/data/ludb

A beat counts as found when a peak lies within 100 ms of a mark. The marks are those of lead II; the record's edges,
where LUDB leaves beats unmarked, are left out: only what lies between the first and the last mark counts. Our
detector's threshold was chosen on these records, NeuroKit2's was not.
"""

import argparse
import time
import warnings
from pathlib import Path

import neurokit2 as nk
import numpy as np
import wfdb

from ecgveil import read
from ecgveil.measure.beats import _band_pass, _rms, r_peaks

TOLERANCE_S = 0.1


def compare(found: np.ndarray, marks: np.ndarray, fs: float) -> tuple[int, int, int]:
    """(marks found, marks, peaks between the first and the last mark)."""
    reach = TOLERANCE_S * fs
    found = found[(found >= marks[0] - reach) & (found <= marks[-1] + reach)]
    distance = np.abs(found[:, None] - marks[None]) if len(found) else np.full((1, len(marks)), np.inf)
    return int((distance.min(axis=0) <= reach).sum()), len(marks), len(found)


def neurokit(signal: np.ndarray, fs: float, method: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(nk.ecg_peaks(nk.ecg_clean(signal, fs), fs, method=method)[1]["ECG_R_Peaks"], int)
        except (ValueError, IndexError, ZeroDivisionError):
            return np.empty(0, int)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ludb", type=Path)
    args = parser.parse_args()
    ecgs, _ = read(args.ludb, allow=("saturated", "noise"))
    marks = []
    for name in ecgs.record_name:
        notes = wfdb.rdann(str(args.ludb / name), "ii")
        marks.append(notes.sample[np.array(notes.symbol) == "N"])
    lead_two, all_leads = ecgs.pick(["II"]), _rms(_band_pass(ecgs.signal, ecgs.fs, (5.0, 25.0)))
    methods = {
        "ecgveil, all leads": lambda: r_peaks(ecgs),
        "ecgveil, lead II": lambda: r_peaks(lead_two),
        "NeuroKit2 'neurokit', all leads (rms)": lambda: [neurokit(x, ecgs.fs, "neurokit") for x in all_leads],
        "NeuroKit2 'neurokit', lead II": lambda: [neurokit(x[0], ecgs.fs, "neurokit") for x in lead_two.signal],
        "NeuroKit2 'pantompkins1985', lead II": lambda: [
            neurokit(x[0], ecgs.fs, "pantompkins1985") for x in lead_two.signal
        ],
    }
    print(f"{len(ecgs)} records, {sum(map(len, marks))} marked beats, NeuroKit2 {nk.__version__}")
    for name, detect in methods.items():
        began = time.perf_counter()
        peaks = detect()
        spent = (time.perf_counter() - began) / len(ecgs) * 1e3
        counts = [compare(p, m, ecgs.fs) for p, m in zip(peaks, marks, strict=True)]
        hit, true, found = map(sum, zip(*counts, strict=True))
        print(f"{name:40s} sensitivity {hit / true:7.2%}  PPV {hit / found:7.2%}  {spent:6.1f} ms a record")


if __name__ == "__main__":
    main()
