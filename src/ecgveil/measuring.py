"""A folder of records -> a table of their measurements, and on request their marks; a few in memory at a time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError
from ecgveil.files import disk_errors, new_folder, replacing, within
from ecgveil.formats import REASONS, Finding, Record, scan
from ecgveil.formats.annotations import write_annotations
from ecgveil.leads import LEADS_12, pick
from ecgveil.measure import measure
from ecgveil.measure.beats import LEAST_FS_HZ
from ecgveil.measure.delineate import delineate

NOT_INTERPRETABLE = "not interpretable"
GAP_S = 0.04  # samples that are no numbers are bridged by a straight line up to here: half a narrow QRS

_RECORDS, _VALUES = 64, 16_000_000  # read at a time, at most; one record may be longer

Row = dict[str, Any]
Read = tuple[Finding, Record | None]


@dataclass
class Summary:
    """What a table of measurements holds, counted as its rows were written.

    Parameters
    ----------
    records : rows
    measured : rows with a heart rate
    conclusions, reasons : how many rows have each; of a reason, what is before its ':'
    notes : what was put right while reading, and in how many records
    """

    records: int = 0
    measured: int = 0
    conclusions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, table: pd.DataFrame, findings: Iterable[Finding]) -> None:
        self.records += len(table)
        self.measured += int(table["heart_rate_bpm"].notna().sum())
        self.conclusions.update(table["conclusion"])
        codes = (code.partition(":")[0] for row in table["reasons"] for code in row.split("; ") if code)
        self.reasons.update(codes)
        self.notes.update(note for finding in findings for note in finding.notes)


def measure_folder(
    folder: str | Path,
    out: str | Path,
    *,
    annotations: str | Path | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Summary:
    """Measure every record of a folder into a CSV file: `measure`'s columns, a row a record, in the folder's order.

    No record is left out. `reasons` holds the flaws of the record (`formats.REASONS`, 'code: detail'), then the codes
    of `measure`, `; ` between; what cannot be read has a row with 'unreadable: ' and why, and the conclusion 'not
    interpretable'. Where samples are no numbers ('nan: '), gaps up to `GAP_S` are bridged; leads with longer ones are
    not used.

    Parameters
    ----------
    folder : of WFDB records, at any depth
    out : file to write or to replace, outside the folder; it is there whole or not at all
    annotations : new folder for `<record>.<annotator>`, the marks of every beat (`measure.delineate`), also whole or
        not at all; a record that is unreadable, or below 60 Hz, has none
    progress : called with (done, total) after each record

    Raises
    ------
    RecordError
        The folder is missing or holds no record.
    ConfigError
        The places are in each other's way.
    RunError
        A place cannot be written or is taken, or the disk is full.
    """
    folder, out = Path(folder), Path(out)
    _require_apart(folder, out, None if annotations is None else Path(annotations))
    summary = Summary()
    with ExitStack() as stack:
        marks = stack.enter_context(new_folder(Path(annotations))) if annotations is not None else None
        stack.enter_context(disk_errors(out.parent))
        temporary = stack.enter_context(replacing(out))
        file = stack.enter_context(open(temporary, "w", encoding="utf-8", newline=""))
        for findings, table in tables(folder, marks=marks, progress=progress):
            table.to_csv(file, index=False, header=not summary.records, float_format="%.6g")
            summary.add(table, findings)
    return summary


def tables(
    folder: str | Path, *, marks: Path | None = None, progress: Callable[[int, int], object] | None = None
) -> Iterator[tuple[list[Finding], pd.DataFrame]]:
    """Findings and measurements of a few records at a time, in the folder's order; see `measure_folder`.

    Parameters
    ----------
    folder : of WFDB records
    marks : folder to write the marks of every beat into
    progress : called with (done, total) after each record
    """
    columns = list(measure(ECGSet(np.empty((0, 12, 5000)), 500, LEADS_12, ())).columns)
    allowed = [code for code in REASONS if code != "unreadable"]
    for some in _some_at_a_time(scan(folder, allow=allowed, progress=progress)):
        rows: dict[str, Row] = {}
        forms: dict[tuple, list[tuple[Finding, Record]]] = defaultdict(list)
        for finding, record in some:
            if record is None:
                rows[finding.record] = _unmeasured(finding)
                continue
            finding, usable = _without_gaps(finding, record)
            if usable.leads:
                forms[usable.fs, usable.leads, usable.n_samples, usable.units].append((finding, usable))
            else:
                rows[finding.record] = _unmeasured(finding)
        for group in forms.values():
            rows |= _measured(group, marks)
        table = pd.DataFrame([rows[finding.record] for finding, _ in some], columns=columns)
        yield [finding for finding, _ in some], table


def _require_apart(folder: Path, out: Path, annotations: Path | None) -> None:
    """Nothing is written among the records, whose labels and manual marks bear such names too."""
    places = [("--out", out)] + ([("--annotations", annotations)] if annotations is not None else [])
    for name, place in places:
        if within(place, folder):
            raise ConfigError(f"{name} {place} lies in {folder}, among the records; choose another place")
    if annotations is not None and within(folder, annotations):
        raise ConfigError(f"--annotations {annotations} holds {folder}, the records; choose another folder")
    if annotations is not None and within(out, annotations):
        raise ConfigError(f"--out {out} lies in --annotations {annotations}, which is made last; choose another place")


def _some_at_a_time(found: Iterable[Read]) -> Iterator[list[Read]]:
    """Lists of records that together fit in memory."""
    some: list[Read] = []
    values = 0
    for finding, record in found:
        size = 0 if record is None else record.signal.size
        if some and (len(some) == _RECORDS or values + size > _VALUES):
            yield some
            some, values = [], 0
        some.append((finding, record))
        values += size
    if some:
        yield some


def _without_gaps(finding: Finding, record: Record) -> tuple[Finding, Record]:
    """The record in standard order of leads, short gaps bridged, leads with longer ones left out."""
    leads = tuple(lead for lead in LEADS_12 if lead in record.leads)
    signal = pick(record.signal, record.leads, leads) if leads else record.signal
    bad = ~np.isfinite(signal)
    if bad.any():
        if "nan" not in finding.reasons:  # it is in a lead that `scan` was not asked about
            told = "a lead has samples that are no numbers"
            finding = replace(finding, reasons=(*finding.reasons, "nan"), details=(*finding.details, told))
        kept = [i for i, row in enumerate(bad) if _longest_run(row) <= GAP_S * record.fs]
        leads, signal, bad = tuple(leads[i] for i in kept), signal[kept], bad[kept]
        at = np.arange(record.n_samples)
        for row, gaps in zip(signal, bad, strict=True):
            row[gaps] = np.interp(at[gaps], at[~gaps], row[~gaps])
    return finding, replace(record, signal=signal, leads=leads, extra={})


def _longest_run(mask: np.ndarray) -> int:
    """Length of the longest run of True, (T,) -> number."""
    ends = np.flatnonzero(np.diff(mask, prepend=False, append=False))
    return int((ends[1::2] - ends[::2]).max(initial=0))


def _measured(group: list[tuple[Finding, Record]], marks: Path | None) -> dict[str, Row]:
    """Rows of records of one form; their marks go to disk."""
    ecgs = _as_set([record for _, record in group])
    rows = {row["record_name"]: row for row in measure(ecgs).to_dict("records")}
    for finding, _ in group:
        row = rows[finding.record]
        row["reasons"] = _with_flaws(finding, row["reasons"])
    if marks is not None and ecgs.fs >= LEAST_FS_HZ:
        for name, waves in zip(ecgs.record_name, delineate(ecgs), strict=True):
            write_annotations(marks, name, waves, ecgs.fs)
    return rows


def _as_set(records: list[Record]) -> ECGSet:
    first = records[0]
    return ECGSet(
        signal=np.stack([record.signal for record in records]),
        fs=first.fs,
        leads=first.leads,
        record_name=tuple(record.name for record in records),
        age=np.array([record.age for record in records], np.float32),
        sex=tuple(record.sex for record in records),
        units=first.units,
    )


def _unmeasured(finding: Finding) -> Row:
    """A row without measurements."""
    return {
        "record_name": finding.record,
        "reasons": _with_flaws(finding),
        "statements": "",
        "codes": "",
        "conclusion": NOT_INTERPRETABLE,
    }


def _with_flaws(finding: Finding, reasons: str = "") -> str:
    """What is wrong with the record, 'code: detail', then the reasons of `measure` that are no such code."""
    told = {
        code: f"{code}: {text.replace(';', ',')}" for code, text in zip(finding.reasons, finding.details, strict=True)
    }
    given = [code for code in reasons.split("; ") if code and code not in told]
    return "; ".join([*told.values(), *given])
