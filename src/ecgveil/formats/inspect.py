"""Go through a folder of records and say of each whether it is kept, and if not, why not."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgveil.errors import RecordError
from ecgveil.formats import quality, wfdb
from ecgveil.formats.labels import tables
from ecgveil.formats.record import Record
from ecgveil.leads import LEADS_8, LEADS_12

REASONS = {
    "unreadable": "its header or a signal file is missing, damaged, or belongs to another record",
    "too_short": "it is shorter than what is asked for",
    "low_rate": "its sampling rate is lower than what is asked for",
    "odd_rate": "its sampling rate cannot be brought to the one that is asked for",
    "wrong_unit": "its unit does not convert to mV",
    "missing_lead": "a lead that is asked for is not there",
    "nan": "it has samples that are no numbers",
    "flat": "a lead is constant: its electrode was off",
    "saturated": "a lead is cut off at an end of its range",
    "noise": "artefact or noise covers it",
    "limb_leads": "its limb leads contradict each other: they are mislabelled, swapped or scaled apart",
    "no_beat": "no whole beat is seen in it, where single beats are asked for",
    "duplicate": "an earlier record has the same content",
}

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Finding:
    """What was found of one record.

    Parameters
    ----------
    record : its name, relative to the folder
    kept : whether it is used
    reasons : codes of `REASONS`, each with one sentence in `details`; a kept record has those that were allowed
    leads, fs, n_samples, units : as read; (), NaN, 0 and '' where unreadable
    labels, patient_id : as read; () and '' where unknown
    notes : what was put right while reading
    """

    record: str
    kept: bool
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    leads: tuple[str, ...] = ()
    fs: float = float("nan")
    n_samples: int = 0
    units: str = ""
    labels: tuple[str, ...] = ()
    patient_id: str = ""
    notes: tuple[str, ...] = ()


def scan(
    folder: str | Path,
    *,
    leads: tuple[str, ...] = LEADS_8,
    allow: Sequence[str] = (),
    names: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Finding, Record | None]]:
    """Read a folder one record at a time; no record stops the scan.

    Parameters
    ----------
    folder : a folder of WFDB records, at any depth
    leads : the leads that must be usable
    allow : codes of `REASONS` that do not exclude a record
    names : records to read, of those that `record_names` gives; None for all
    progress : called with (done, total) after each record

    Yields
    ------
    Finding, Record or None
        The record only where it is kept.

    Raises
    ------
    RecordError
        The folder is missing, is no folder or holds no WFDB record; a table in it is damaged; `allow` is unknown.
    """
    unknown = set(allow) - (set(REASONS) - {"unreadable"})
    if unknown:
        raise RecordError(f"'{min(unknown)}' cannot be allowed; what can be is {', '.join(list(REASONS)[1:])}")
    folder = Path(folder)
    names = [name for name in record_names(folder) if names is None or name in names]
    facts = tables(folder, names)
    seen: dict[bytes, str] = {}
    for done, name in enumerate(names, start=1):
        try:
            record = wfdb.read_record(folder, name, facts)
        except RecordError as error:
            yield Finding(name, False, ("unreadable",), (str(error),)), None
        except Exception as error:  # one record in ten thousand must not stop a run, whatever is wrong with it
            reason = f"it cannot be read ({type(error).__name__}: {str(error)[:80]})".replace("\n", " ")
            yield Finding(name, False, ("unreadable",), (reason,)), None
        else:
            finding = _judge(record, leads, allow, seen)
            yield finding, record if finding.kept else None
        if progress:
            progress(done, len(names))


def inspect(
    folder: str | Path,
    *,
    leads: tuple[str, ...] = LEADS_8,
    allow: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Finding]:
    """The findings of all records of a folder; see `scan`."""
    return [finding for finding, _ in scan(folder, leads=leads, allow=allow, progress=progress)]


def as_json(findings: Iterable[Finding]) -> list[dict[str, object]]:
    """Findings as plain values: what is unknown is null, labels are joined by '; '."""
    return [
        {
            "record": each.record,
            "kept": each.kept,
            "reasons": list(each.reasons),
            "details": list(each.details),
            "notes": list(each.notes),
            "leads": list(each.leads),
            "fs": each.fs if each.fs > 0 else None,
            "n_samples": each.n_samples or None,
            "label": "; ".join(each.labels) or None,
            "patient_id": each.patient_id or None,
        }
        for each in findings
    ]


def summary(findings: Sequence[Finding]) -> dict[str, object]:
    """Counts for a table.

    Returns
    -------
    dict
        `records`, `kept`, `patients` (known ones) and `without_patient` (records); and, value -> number of records,
        most first, `leads`, `fs`, `seconds`, `labels`, `reasons` (of those left out) and `notes`.
    """
    readable = [each for each in findings if each.n_samples]
    kept = [each for each in findings if each.kept]
    left_out = [each for each in findings if not each.kept]
    return {
        "records": len(findings),
        "kept": len(kept),
        "patients": len({each.patient_id for each in readable if each.patient_id}),
        "without_patient": sum(not each.patient_id for each in readable),
        "leads": _count(", ".join(sorted(each.leads, key=LEADS_12.index)) for each in readable),
        "fs": _count(each.fs for each in readable),
        "seconds": _count(round(each.n_samples / each.fs, 3) for each in readable),
        "labels": _count(label for each in readable for label in each.labels),
        "reasons": _count(code for each in left_out for code in each.reasons),
        "notes": _count(note for each in readable for note in each.notes),
    }


def record_names(folder: str | Path) -> list[str]:
    """Names of the records of a folder; RecordError where it is no folder, or holds none."""
    folder = Path(folder)
    if not folder.exists():
        raise RecordError(f"{folder}: there is no such folder; check the path")
    if not folder.is_dir():
        raise RecordError(f"{folder} is a file; give the folder that holds the records")
    names = wfdb.find(folder)
    if not names:
        raise RecordError(f"{folder} holds no WFDB record; give a folder with .hea files in it or below it")
    return names


def _judge(record: Record, leads: tuple[str, ...], allow: Sequence[str], seen: dict[bytes, str]) -> Finding:
    flaws = quality.check(record.signal, record.fs, record.leads, record.units, leads)
    marks = _marks(record.signal, record.leads)
    earlier = next((seen[mark] for mark in marks if mark in seen), None)
    if earlier is not None:
        flaws.append(("duplicate", f"its content is also in record {earlier}"))
    for mark in marks:
        seen.setdefault(mark, record.name)
    return Finding(
        record=record.name,
        kept=all(code in allow for code, _ in flaws),
        reasons=tuple(code for code, _ in flaws),
        details=tuple(detail for _, detail in flaws),
        leads=record.leads,
        fs=record.fs,
        n_samples=record.n_samples,
        units=record.units,
        labels=record.labels,
        patient_id=record.patient_id,
        notes=record.notes,
    )


def _marks(signal: np.ndarray, leads: tuple[str, ...]) -> set[bytes]:
    """Hashes of a record's content, one around the steepest place of each lead.

    Two records that share one share content, even if one of them starts later or ends earlier than the other.
    """
    order = sorted(range(len(leads)), key=lambda i: leads[i])  # the same whatever the file's order
    if not order or signal.shape[1] < 2:
        return set()
    steps = np.diff(signal[order], axis=1)
    half = min(50, steps.shape[1] // 4)
    marks = set()
    for row in np.abs(steps):
        inner = row[half : len(row) - half]
        at = int(inner.argmax()) + half if inner.size and np.isfinite(inner).all() else 0
        if at and row[at] > 0:
            piece = np.round(np.nan_to_num(steps[:, at - half : at + half + 1]) * 1e4).astype(np.int64)
            marks.add(hashlib.blake2b(piece.tobytes(), digest_size=16).digest())
    return marks


def _count(values: Iterable) -> dict:
    return dict(Counter(values).most_common())
