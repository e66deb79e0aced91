"""Records -> one ECGSet: leads picked, resampled, cut into windows of one length."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError
from ecgveil.formats.inspect import Finding, Progress, scan
from ecgveil.formats.record import Record
from ecgveil.leads import LEADS_8, LEADS_12, pick, standard_name

_REMEDIES = {
    "unreadable": "run 'ecgveil inspect' to see what is damaged",
    "too_short": "ask for shorter windows",
    "wrong_unit": "give records in mV, or allow 'wrong_unit' where amplitudes do not matter",
    "odd_rate": "correct the rates in their headers",
    "missing_lead": "ask only for leads that the records have",
}
_INSPECT = "run 'ecgveil inspect' to see each record's flaw"


def resample(signal: np.ndarray, fs_from: float, fs_to: float) -> np.ndarray:
    """Resample along the last axis, polyphase, with the filter against aliasing that lowering the rate needs.

    Parameters
    ----------
    signal : (..., n_samples)
    fs_from, fs_to : Hz

    Returns
    -------
    float32 (..., ceil(n_samples * fs_to / fs_from))
    """
    if not fs_from > 0 or not fs_to > 0:
        raise ConfigError(f"sampling rates are {fs_from} and {fs_to} Hz; both must be positive")
    signal = np.asarray(signal, np.float32)
    if fs_from == fs_to:
        return signal
    ratio = Fraction(fs_to / fs_from).limit_denominator(2000)
    if abs(ratio * fs_from / fs_to - 1) > 1e-6:
        raise ConfigError(f"{fs_from:g} Hz cannot be resampled to {fs_to:g} Hz: no ratio of whole numbers to 2000 fits")
    # 'line': an ECG does not start or end at 0 mV, and zeros beyond its ends would ring into it.
    out = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return np.asarray(out, np.float32)


def cut(signal: np.ndarray, n_samples: int) -> np.ndarray:
    """Windows that do not overlap; what is left at the end is dropped.

    Parameters
    ----------
    signal : (n_leads, any)
    n_samples : length of a window

    Returns
    -------
    (n_windows, n_leads, n_samples)
    """
    if n_samples < 1:
        raise ConfigError(f"a window of {n_samples} samples cannot be cut; ask for at least 1")
    count = signal.shape[-1] // n_samples
    whole = signal[:, : count * n_samples]
    return whole.reshape(signal.shape[0], count, n_samples).swapaxes(0, 1)  # (L, W, T) -> (W, L, T)


def read(
    folder: str | Path,
    *,
    leads: Sequence[str] | None = None,
    fs: float | None = None,
    seconds: float | None = None,
    n_samples: int | None = None,
    resample: bool = False,
    reduce: bool = False,
    allow: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[ECGSet, list[Finding]]:
    """Read all usable records of a folder as one ECGSet.

    Parameters
    ----------
    folder : a folder of WFDB records
    leads : leads to take; only these need to be usable. Default: the 12 where all records have them, otherwise the 8
        independent ones
    fs : sampling rate in Hz. Default: the rate that all records have; with `resample`, the most frequent one
    seconds, n_samples : length of a window, one or the other. Default: the length that all records have
    resample : bring every record to `fs`
    reduce : lower the rate where all records share a higher one
    allow : reason codes that do not exclude a record
    progress : called with (done, total) after each record

    Returns
    -------
    ECGSet, findings
        A window bears its record's name, with '#0', '#1', ... where a record gives several; they share the patient.
        Findings are of all records, also of those that are left out.

    Raises
    ------
    RecordError
        Nothing is usable, or rates, lengths or units differ; the message says which, and what to do.
    ConfigError
        The arguments do not fit each other.
    """
    wanted = _check_arguments(leads, fs, seconds, n_samples)
    pieces: list[_Piece] = []
    findings: list[Finding] = []
    for finding, record in scan(folder, leads=wanted or LEADS_8, allow=allow, progress=progress):
        findings.append(finding)
        if record is not None:
            piece = _Piece.of(record, wanted)
            try:
                if fs is not None and (resample or (reduce and piece.fs > fs)):
                    piece = piece.at(fs)  # at once, so that raw signals are not held
            except ConfigError as error:
                findings[-1] = left_out(finding, "odd_rate", str(error))
                continue
            pieces.append(piece)
    _check_some(pieces, findings, folder)
    rate = _common_rate([piece.record for piece in pieces], fs, resample, reduce)
    if wanted is None and {piece.leads for piece in pieces} != {LEADS_12}:
        pieces = [piece.pick(LEADS_8) for piece in pieces]
    pieces, findings = _at_rate(pieces, findings, rate)
    _check_some(pieces, findings, folder)
    length = int(n_samples or (max(1, round(seconds * rate)) if seconds else _common_length(pieces, rate)))
    findings = _leave_out_short(findings, pieces, length, rate)
    pieces = [piece for piece in pieces if piece.signal.shape[1] >= length]
    _check_some(pieces, findings, folder)
    return _assemble(pieces, length, rate), findings


def describe(columns: dict[str, list], record: Record, count: int) -> None:
    """Add what an ECGSet says of the `count` windows of a record to its columns, lists by name."""
    columns["record_name"] += [record.name] if count == 1 else [f"{record.name}#{k}" for k in range(count)]
    columns["patient_id"] += [record.patient_id or record.name] * count
    columns["labels"] += [record.labels] * count
    columns["age"] += [record.age] * count
    columns["sex"] += [record.sex] * count


@dataclass(frozen=True, eq=False)
class _Piece:
    """What of a record goes into the set: its picked leads, at `fs`."""

    record: Record  # without its signals
    signal: np.ndarray
    leads: tuple[str, ...]
    fs: float

    @classmethod
    def of(cls, record: Record, wanted: tuple[str, ...] | None) -> _Piece:
        leads = wanted or (LEADS_12 if set(LEADS_12) <= set(record.leads) else LEADS_8)
        signal = pick(record.signal, record.leads, leads)
        bare = replace(record, signal=np.empty((0, 0), np.float32), extra={})
        return cls(bare, np.asarray(signal, np.float32), leads, record.fs)

    def at(self, fs: float) -> _Piece:
        return self if fs == self.fs else replace(self, signal=resample(self.signal, self.fs, fs), fs=fs)

    def pick(self, leads: tuple[str, ...]) -> _Piece:
        return replace(self, signal=pick(self.signal, self.leads, leads), leads=leads)


def _check_arguments(
    leads: Sequence[str] | None, fs: float | None, seconds: float | None, n_samples: int | None
) -> tuple[str, ...] | None:
    if seconds is not None and n_samples is not None:
        raise ConfigError(f"seconds is {seconds:g} and n_samples is {n_samples}; give one of them")
    for name, value in (("fs", fs), ("seconds", seconds), ("n_samples", n_samples)):
        if value is not None and not (0 < value < 1e9):
            raise ConfigError(f"{name} is {value}; it must be positive, and finite")
    if n_samples is not None and n_samples != int(n_samples):
        raise ConfigError(f"n_samples is {n_samples}; it must be a whole number")
    if leads is None:
        return None
    names = tuple(standard_name(lead) or "" for lead in leads)
    if not names or "" in names or len(set(names)) < len(names):
        raise ConfigError(f"leads are {', '.join(leads) or 'none'}; name some of {', '.join(LEADS_12)}, each once")
    return names


def _check_some(pieces: list[_Piece], findings: list[Finding], folder: str | Path) -> None:
    if pieces:
        units = {piece.record.units for piece in pieces}
        if len(units) > 1:
            raise RecordError(f"{folder}: records have different units, {', '.join(sorted(units))}; read them apart")
        return
    counts = Counter(code for each in findings if not each.kept for code in each.reasons)
    listed = ", ".join(f"{code} {n}" for code, n in counts.most_common())
    most, _ = counts.most_common(1)[0]
    first = next(each for each in findings if most in each.reasons)
    detail = first.details[first.reasons.index(most)]
    raise RecordError(
        f"{folder}: none of {len(findings)} records can be used ({listed}; e.g. {first.record}: {detail}); "
        f"{_REMEDIES.get(most, _INSPECT)}"
    )


def _common_rate(records: list[Record], wanted: float | None, may_resample: bool, reduce: bool) -> float:
    """The rate to bring every record to, if that is allowed."""
    rates = Counter(record.fs for record in records)
    (most, n), *others = rates.most_common()
    if may_resample:
        return wanted or min(rates, key=lambda rate: (-rates[rate], rate))
    if others:
        example = {record.fs: record.name for record in reversed(records)}
        rest = ", ".join(f"{rate:g} Hz ({k}, e.g. {example[rate]})" for rate, k in others)
        raise RecordError(
            f"records have mixed sampling rates: {most:g} Hz ({n} records), {rest}; pass --resample (resample=True)"
        )
    if wanted is not None and wanted != most and not (reduce and most > wanted):
        found = f"{records[0].path.name}: fs is {most:g} Hz, the recipe needs {wanted:g} Hz"
        raise RecordError(f"{found}; pass --resample (resample=True)")
    return wanted or most


def _common_length(pieces: list[_Piece], rate: float) -> int:
    lengths = Counter(piece.signal.shape[1] for piece in pieces)
    if len(lengths) > 1:
        shortest, longest = min(lengths) / rate, max(lengths) / rate
        raise RecordError(
            f"records last from {shortest:.4g} to {longest:.4g} s; say how long a window is: --seconds {shortest:.3g}"
        )
    return next(iter(lengths))


def left_out(finding: Finding, code: str, detail: str) -> Finding:
    """The finding of a record that is not kept after all."""
    return replace(finding, kept=False, reasons=(*finding.reasons, code), details=(*finding.details, detail))


def _at_rate(pieces: list[_Piece], findings: list[Finding], rate: float) -> tuple[list[_Piece], list[Finding]]:
    """All at one rate, but for those that cannot be brought to it."""
    able, odd = [], {}
    for piece in pieces:
        try:
            able.append(piece.at(rate))
        except ConfigError as error:
            odd[piece.record.name] = str(error)
    told = [left_out(each, "odd_rate", odd[each.record]) if each.record in odd else each for each in findings]
    return able, told


def _leave_out_short(findings: list[Finding], pieces: list[_Piece], length: int, rate: float) -> list[Finding]:
    have = {piece.record.name: piece.signal.shape[1] for piece in pieces if piece.signal.shape[1] < length}
    return [
        left_out(each, "too_short", f"it lasts {have[each.record] / rate:.4g} s, a window {length / rate:.4g} s")
        if each.record in have
        else each
        for each in findings
    ]


def _assemble(pieces: list[_Piece], length: int, rate: float) -> ECGSet:
    counts = [piece.signal.shape[1] // length for piece in pieces]
    signal = np.empty((sum(counts), len(pieces[0].leads), length), np.float32)
    columns: dict[str, list] = defaultdict(list)
    row = 0
    for i, (piece, count) in enumerate(zip(pieces, counts, strict=True)):
        signal[row : row + count] = cut(piece.signal, length)
        pieces[i] = replace(piece, signal=piece.signal[:, :0].copy())  # frees as it fills: one copy in memory, not two
        row += count
        describe(columns, piece.record, count)
    return ECGSet(
        signal=signal,
        fs=rate,
        leads=pieces[0].leads,
        record_name=tuple(columns["record_name"]),
        patient_id=tuple(columns["patient_id"]),
        labels=tuple(columns["labels"]),
        age=np.array(columns["age"], np.float32),
        sex=tuple(columns["sex"]),
        units=pieces[0].record.units,
    )
