"""ECGSet: the one data type that public functions take and return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ecgveil import leads as _leads
from ecgveil.errors import RecordError

SEXES = ("female", "male", "")


@dataclass(frozen=True, eq=False)
class ECGSet:
    """ECGs of equal length and sampling rate, validated once, here.

    Parameters
    ----------
    signal : float32 (n_records, n_leads, n_samples), finite
    fs : sampling rate in Hz
    leads : standard lead names, one for each row of a record
    record_name : unique, one for each record
    patient_id : one for each record; records of one person share it. Default: the record's own name
    labels : for each record its labels, perhaps none. Default: none
    age : years, NaN where unknown
    sex : 'female', 'male' or '' (unknown)
    units : physical unit of `signal`

    Raises
    ------
    RecordError
        A shape, name or value does not fit.
    """

    signal: np.ndarray
    fs: float
    leads: tuple[str, ...]
    record_name: tuple[str, ...]
    patient_id: tuple[str, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()
    age: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    sex: tuple[str, ...] = ()
    units: str = "mV"

    def __post_init__(self) -> None:
        signal = np.asarray(self.signal, dtype=np.float32)
        if signal.ndim != 3:
            raise RecordError(f"signal has shape {signal.shape}; it needs (records, leads, samples)")
        n, n_leads, _ = signal.shape
        set_ = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731  frozen dataclass
        set_("signal", signal)
        set_("fs", float(self.fs))
        set_("leads", tuple(self.leads))
        set_("record_name", tuple(map(str, self.record_name)))
        set_("patient_id", tuple(map(str, self.patient_id)) or self.record_name)
        set_("labels", tuple(tuple(each) for each in self.labels) or ((),) * n)
        set_("sex", tuple(self.sex) or ("",) * n)
        age = np.asarray(self.age, np.float32)
        set_("age", age if age.size else np.full(n, np.nan, np.float32))
        self._check(n, n_leads)

    def _check(self, n: int, n_leads: int) -> None:
        if not self.fs > 0:
            raise RecordError(f"fs is {self.fs} Hz; it must be positive")
        if len(self.leads) != n_leads or len(set(self.leads)) != n_leads:
            raise RecordError(f"{n_leads} signal rows but leads {self.leads}; name each row once")
        for lead in self.leads:
            if _leads.standard_name(lead) != lead:
                raise RecordError(f"'{lead}' is not a standard lead name; the names are {', '.join(_leads.LEADS_12)}")
        for name in ("record_name", "patient_id", "labels", "age", "sex"):
            if len(getattr(self, name)) != n:
                raise RecordError(f"{len(getattr(self, name))} values of {name} for {n} records")
        if len(set(self.record_name)) != n:
            twice = next(name for name in self.record_name if self.record_name.count(name) > 1)
            raise RecordError(f"record name {twice!r} occurs more than once; each record needs its own")
        unknown = set(self.sex) - set(SEXES)
        if unknown:
            raise RecordError(f"sex is {unknown.pop()!r}; use 'female', 'male' or '' for unknown")
        # Record by record: the signals may lie on disk, and be larger than memory.
        bad = np.array([not np.isfinite(record).all() for record in self.signal], bool)
        if bad.any():
            raise RecordError(f"record {self.record_name[int(bad.argmax())]} holds values that are not finite")

    def __len__(self) -> int:
        return self.signal.shape[0]

    @property
    def n_samples(self) -> int:
        return self.signal.shape[2]

    @property
    def seconds(self) -> float:
        return self.n_samples / self.fs

    def content(self) -> tuple[str, np.ndarray]:
        """What tells this set from others: its form, and its values."""
        return repr((self.signal.shape, self.leads, self.fs)), self.signal

    def take(self, rows: Sequence[int] | np.ndarray) -> ECGSet:
        """The records at `rows` (integer positions), in that order."""
        rows = np.asarray(rows, dtype=int)
        picked: dict[str, Any] = {
            name: tuple(getattr(self, name)[i] for i in rows) for name in ("record_name", "patient_id", "labels", "sex")
        }
        return replace(self, signal=self.signal[rows], age=self.age[rows], **picked)

    def pick(self, leads: Sequence[str]) -> ECGSet:
        """The same records with these leads, by name; derived limb leads are computed if absent."""
        wanted = tuple(leads)
        if wanted == self.leads:
            return self
        return replace(self, signal=_leads.pick(self.signal, self.leads, wanted), leads=wanted)


def concat(sets: Sequence[ECGSet]) -> ECGSet:
    """Several sets of the same form as one.

    Raises
    ------
    RecordError
        They differ in sampling rate, leads, length or unit, or a record name occurs twice.
    """
    first = sets[0]
    form = (first.fs, first.leads, first.n_samples, first.units)
    for other in sets[1:]:
        if (other.fs, other.leads, other.n_samples, other.units) != form:
            raise RecordError(
                f"sets differ in form: {form} and {(other.fs, other.leads, other.n_samples, other.units)} "
                "(Hz, leads, samples, unit); read them alike"
            )
    joined: dict[str, Any] = {
        name: tuple(value for each in sets for value in getattr(each, name))
        for name in ("record_name", "patient_id", "labels", "sex")
    }
    signal, age = (np.concatenate([getattr(each, name) for each in sets]) for name in ("signal", "age"))
    return replace(first, signal=signal, age=age, **joined)
