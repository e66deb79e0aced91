"""Statements on real ECGs beside their labels: LUDB's rhythms, and rhythm and conduction of PTB-XL.

    python benchmarks/statements.py --ludb ../shared/data/ludb --ptbxl ../shared/data/ptbxl_shape

For each finding: how many records are labelled so, how many we call so, sensitivity, PPV and F1, and the errors that
lie farthest from the limit that decides, with what we measured. PTB-XL's records here have no amplitudes (unit sd), so
that rhythm, intervals and durations alone decide. Limits come from the sources in `rules.toml`; the errors on these
records were looked at while the rules of fibrillation and of the bundle branch blocks were written down.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil import ECGSet, measure
from ecgveil.ecg import concat
from ecgveil.formats import scan
from ecgveil.formats.record import Record
from ecgveil.leads import LEADS_12

ALLOW = ("wrong_unit", "saturated", "noise", "flat", "limb_leads", "duplicate")
BATCH = 200
SHOWN = (
    "heart_rate_bpm", "rr_rmssd_ms", "rr_mean_ms", "p_present", "p_beats_share", "pr_interval_ms", "qrs_duration_ms",
    "n_beats", "n_ventricular", "n_supraventricular",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A finding: labels that mean it, our codes that mean it, and how far a record is from the limit that decides."""

    name: str
    labels: frozenset[str]
    codes: frozenset[str]
    margin: Callable[[pd.DataFrame], pd.Series]


def _finding(name: str, labels: str, codes: str, margin: Callable[[pd.DataFrame], pd.Series]) -> Finding:
    return Finding(name, frozenset(labels.split("|")), frozenset(codes.split("|")), margin)


def rate(limit: float) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: (table["heart_rate_bpm"] / limit - 1).abs()


def interval(column: str, limit: float) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: (table[column] / limit - 1).abs()


def irregularity(table: pd.DataFrame) -> pd.Series:
    return (table["rr_rmssd_ms"] / table["rr_mean_ms"] / 0.1 - 1).abs()


def premature(table: pd.DataFrame) -> pd.Series:
    return table["n_ventricular"] + table["n_supraventricular"]


SINUS = "SR|SBRAD|STACH"
LUDB = (
    _finding("sinus rhythm, any rate", "Sinus rhythm|Sinus bradycardia|Sinus tachycardia|Sinus arrhythmia"
             "|Irregular sinus rhythm", SINUS, irregularity),
    _finding("sinus bradycardia", "Sinus bradycardia", "SBRAD", rate(60)),
    _finding("sinus tachycardia", "Sinus tachycardia", "STACH", rate(100)),
    _finding("sinus arrhythmia", "Sinus arrhythmia|Irregular sinus rhythm", "SARRH|IRREGULAR", irregularity),
    _finding("atrial fibrillation", "Atrial fibrillation", "AFIB", irregularity),
    _finding("AFIB or flutter", "Atrial fibrillation|Atrial flutter, typical", "AFIB|SVTAC|WCT", irregularity),
    _finding("first degree AV block", "I degree AV block", "1AVB", interval("pr_interval_ms", 200)),
    _finding("complete RBBB", "Complete right bundle branch block", "CRBBB", interval("qrs_duration_ms", 120)),
    _finding("complete LBBB", "Complete left bundle branch block", "CLBBB", interval("qrs_duration_ms", 120)),
    _finding("incomplete RBBB", "Incomplete right bundle branch block", "IRBBB", interval("qrs_duration_ms", 110)),
)  # fmt: skip
PTBXL = (
    _finding("sinus rhythm", "SR", "SR|SARRH|IRREGULAR", irregularity),
    _finding("SBRAD", "SBRAD", "SBRAD", rate(60)),
    _finding("STACH", "STACH", "STACH", rate(100)),
    _finding("SARRH", "SARRH", "SARRH|IRREGULAR", irregularity),
    _finding("AFIB", "AFIB", "AFIB", irregularity),
    _finding("PVC", "PVC|BIGU", "PVC|PVC_FREQUENT", premature),
    _finding("PAC", "PAC", "PAC", premature),
    _finding("1AVB (or LPR)", "1AVB|LPR", "1AVB", interval("pr_interval_ms", 200)),
    _finding("CRBBB", "CRBBB", "CRBBB", interval("qrs_duration_ms", 120)),
    _finding("CLBBB", "CLBBB", "CLBBB", interval("qrs_duration_ms", 120)),
    _finding("any wide QRS", "CLBBB|CRBBB|IVCD", "CLBBB|CRBBB|IVCD", interval("qrs_duration_ms", 120)),
    _finding("IRBBB", "IRBBB", "IRBBB", interval("qrs_duration_ms", 110)),
    _finding("WPW", "WPW", "WPW", interval("pr_interval_ms", 120)),
)


def batches(folder: Path) -> Iterator[list[Record]]:
    """Records of one form, `BATCH` at a time."""
    waiting: dict[tuple, list[Record]] = defaultdict(list)
    for _, record in scan(folder, leads=LEADS_12, allow=ALLOW):
        if record is None:
            continue
        form = (record.fs, record.leads, record.n_samples, record.units)
        waiting[form].append(record)
        if len(waiting[form]) == BATCH:
            yield waiting.pop(form)
    yield from waiting.values()


def as_set(record: Record) -> ECGSet:
    return ECGSet(
        signal=record.signal[None],
        fs=record.fs,
        leads=record.leads,
        record_name=(record.name,),
        age=np.array([record.age], np.float32),
        sex=(record.sex,),
        units=record.units,
    )


def measured(folder: Path, labels: Callable[[Record], tuple[str, ...]]) -> pd.DataFrame:
    """Measurements and statements of every readable record, and `said`, its labels."""
    parts = []
    for records in batches(folder):
        table = measure(concat([as_set(record) for record in records]))
        table["said"] = [frozenset(labels(record)) for record in records]
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def score(table: pd.DataFrame, finding: Finding) -> tuple[np.ndarray, np.ndarray]:
    """Which records are labelled so, and which we call so, (n,) bool each."""
    labelled = np.array([bool(finding.labels & said) for said in table["said"]])
    called = np.array([bool(finding.codes & set(codes.split(";"))) for codes in table["codes"]])
    return labelled, called


def show(title: str, table: pd.DataFrame, findings: tuple[Finding, ...], errors: int) -> None:
    conclusions = table["conclusion"].value_counts().to_dict()
    print(f"\n{title}: {len(table)} records; " + ", ".join(f"{name} {n}" for name, n in conclusions.items()))
    print(f"{'':26}{'labelled':>9}{'called':>8}{'both':>6}{'sensitivity':>13}{'PPV':>8}{'F1':>8}")
    for finding in findings:
        labelled, called = score(table, finding)
        both = int((labelled & called).sum())
        figures = (
            _share(both, labelled.sum()),
            _share(both, called.sum()),
            _share(2 * both, (labelled.sum() + called.sum())),
        )
        print(f"{finding.name:26}{labelled.sum():9}{called.sum():8}{both:6}" + "{:>13}{:>8}{:>8}".format(*figures))
    for finding in findings:
        list_errors(table, finding, errors)


def list_errors(table: pd.DataFrame, finding: Finding, most: int) -> None:
    """The errors farthest from the limit; what could not be measured comes first."""
    labelled, called = score(table, finding)
    wrong = table[labelled != called].assign(missed=labelled[labelled != called])
    if wrong.empty:
        return
    print(f"\n{finding.name}: {int(wrong['missed'].sum())} missed, {int((~wrong['missed']).sum())} called wrongly")
    margin = finding.margin(wrong).fillna(np.inf)
    for _, row in wrong.loc[margin.sort_values(ascending=False, kind="stable").index[:most]].iterrows():
        values = ", ".join(f"{name} {row[name]:.4g}" for name in SHOWN)
        kind = "missed" if row["missed"] else "wrong "
        print(
            f"  {kind} {row['record_name']}: labelled {', '.join(sorted(row['said']))}; ours {row['codes']}; {values}"
        )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ludb", type=Path)
    parser.add_argument("--ptbxl", type=Path)
    parser.add_argument("--errors", type=int, default=10, help="errors listed of each finding")
    args = parser.parse_args()
    if args.ludb is None and args.ptbxl is None:
        parser.error("name a folder with --ludb or --ptbxl")
    if args.ludb is not None:
        show("LUDB", measured(args.ludb, lambda record: record.labels), LUDB, args.errors)
    if args.ptbxl is not None:
        codes = measured(args.ptbxl, lambda record: tuple(map(str, record.meta["scp_codes"])))  # type: ignore[call-overload]
        show("PTB-XL", codes, PTBXL, args.errors)


if __name__ == "__main__":
    main()
