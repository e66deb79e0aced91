"""Records -> ECGSet whose signals lie on disk, so that a set may be larger than memory."""

from __future__ import annotations

import mmap
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError
from ecgveil.formats import REASONS, Finding
from ecgveil.formats.inspect import scan
from ecgveil.formats.record import Record
from ecgveil.leads import LEADS_8, LEADS_12, pick
from ecgveil.windows import cut, describe, left_out, resample

# Flaws with which a record can still be read and compared.
_UNREADABLE = ("unreadable", "missing_lead", "nan", "too_short", "low_rate", "odd_rate", "no_beat")
READABLE = tuple(code for code in REASONS if code not in _UNREADABLE)

_LOOKED_AT = 25  # records that tell the form

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Form:
    """What windows are cut to: leads, sampling rate in Hz, samples; and the unit they must be in, '' for any one."""

    leads: tuple[str, ...]
    fs: float
    n_samples: int
    units: str = field(default="", compare=False)

    @property
    def seconds(self) -> float:
        return self.n_samples / self.fs


@dataclass(frozen=True)
class Stored:
    """A set whose signals lie on disk.

    Parameters
    ----------
    ecgs : the windows
    findings : of every record
    resampled : how many of those kept had another sampling rate, by rate
    records : of each window its record's name
    mapping : of the signals
    """

    ecgs: ECGSet
    findings: list[Finding]
    resampled: dict[float, int]
    records: tuple[str, ...]
    mapping: mmap.mmap

    def free(self) -> None:
        """Let go of the signals held in memory; they are read again from disk when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)


def usual_form(folder: str | Path, *, allow: Sequence[str] = ()) -> Form:
    """The commonest form of the first records: the 12 leads, the 8 independent ones, or those that there are.

    Raises
    ------
    RecordError
        The folder cannot be read, or holds no record that can be used.
    """
    findings: list[Finding] = []
    forms, units = Counter[Form](), Counter[str]()
    for finding, record in scan(folder, leads=(), allow=allow):
        findings.append(finding)
        if record is not None and record.n_samples and set(record.leads) & set(LEADS_12):
            known = next((every for every in (LEADS_12, LEADS_8) if set(every) <= set(record.leads)), None)
            leads = known or tuple(lead for lead in LEADS_12 if lead in record.leads)
            forms[Form(leads, record.fs, record.n_samples)] += 1
            units[record.units] += 1
        if forms.total() == _LOOKED_AT:
            break
    if forms:
        return replace(forms.most_common(1)[0][0], units=units.most_common(1)[0][0])
    if any(finding.kept for finding in findings):
        raise RecordError(f"{folder}: no record has a standard lead; name them {', '.join(LEADS_12)}")
    raise RecordError(f"{folder}: {_none_kept(findings)}")


def read_stored(
    folder: str | Path,
    file: Path,
    form: Form,
    *,
    allow: Sequence[str] = (),
    names: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Stored:
    """Read all usable records of a folder into `file`, a window at a time.

    Parameters
    ----------
    folder : of WFDB records
    file : for the signals, float32. Its name is gone from the folder when this returns (where the system allows it),
        so that nothing stays behind whatever happens; the space is free when the set is
    form : of the windows; a record with a lower sampling rate or too few samples, or in another unit, is left out
    allow : reason codes that do not exclude a record
    names : records to read, by name; None for all
    progress : called with (done, total) after each record

    Raises
    ------
    RecordError
        Nothing is usable, or units differ and `form` names none; the message says which, and what to do.
    """
    findings, rates = [], Counter[float]()
    columns: dict[str, list] = defaultdict(list)
    records: list[str] = []
    units = form.units
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for finding, record in scan(folder, leads=form.leads, allow=allow, names=names, progress=progress):
            windows, finding = _windows(record, finding, form)
            findings.append(finding)
            if record is None or windows is None:
                continue
            if units and record.units != units:
                raise RecordError(
                    f"{folder}: records have different units, {units} and {record.units}; read them apart"
                )
            units = record.units
            rates[record.fs] += record.fs != form.fs
            out.write(np.ascontiguousarray(windows, np.float32).tobytes())
            describe(columns, record, len(windows))
            records += [record.name] * len(windows)
    if not columns:
        raise RecordError(f"{folder}: {_none_kept(findings)}")
    shape = (len(columns["record_name"]), len(form.leads), form.n_samples)
    with open(file, "rb") as stored:
        mapping = mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ)
    ecgs = ECGSet(
        signal=np.frombuffer(mapping, np.float32).reshape(shape),
        fs=form.fs,
        leads=form.leads,
        units=units,
        age=np.array(columns.pop("age"), np.float32),
        **{name: tuple(values) for name, values in columns.items()},
    )
    with suppress(OSError):  # a system that keeps open files needs it until the end
        file.unlink()
    return Stored(ecgs, findings, {rate: n for rate, n in rates.items() if n}, tuple(records), mapping)


def _windows(record: Record | None, finding: Finding, form: Form) -> tuple[np.ndarray | None, Finding]:
    """Windows of a record, (n, L, T), or None and why there is none."""
    if record is None:
        return None, finding
    if record.fs < form.fs:
        return None, left_out(finding, "low_rate", f"its rate is {record.fs:g} Hz, below {form.fs:g} Hz")
    if form.units and record.units != form.units:
        return None, left_out(finding, "wrong_unit", f"it is in {record.units}, most are in {form.units}")
    try:
        signal = resample(pick(record.signal, record.leads, form.leads), record.fs, form.fs)
    except ConfigError as error:
        return None, left_out(finding, "odd_rate", str(error))
    windows = cut(signal, form.n_samples)
    if not len(windows):
        lasts = record.n_samples / record.fs
        return None, left_out(finding, "too_short", f"it lasts {lasts:.4g} s, a window {form.seconds:.4g} s")
    if not np.isfinite(windows).all():
        return None, left_out(finding, "nan", "it has samples that are no numbers")
    return windows, finding


def _none_kept(findings: Sequence[Finding]) -> str:
    counts = Counter(code for each in findings if not each.kept for code in each.reasons)
    listed = ", ".join(f"{code} {n}" for code, n in counts.most_common())
    return f"none of {len(findings)} records can be used ({listed}); run 'ecgveil inspect' to see each record's flaw"
