"""The text of a WFDB header: record line, signal or segment lines, comments.

Source: the header(5) page of the WFDB Applications Guide. Base time and date are skipped, not read: nothing here needs
them, and databases write them in many ways.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ecgveil.errors import RecordError

MOST_VALUES = 2**28  # samples of all signals; 1 GB once read: 12 leads for a day at 250 Hz
_MOST_BYTES = 1_000_000
_FORMAT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$")
_SUFFIXES = (".hea", ".dat", ".mat")


@dataclass(frozen=True)
class SignalLine:
    """One signal of a header: its file, storage format, unit, and what the header states of its samples."""

    text: str
    file: str
    fmt: int
    per_frame: int
    skew: int
    offset: int
    units: str
    first: int | None
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A header. `segments` holds (name, n_samples) of a multi-segment record, which then has no signal lines."""

    record: str
    n_signals: int
    fs: float
    n_samples: int
    signals: tuple[SignalLine, ...]
    segments: tuple[tuple[str, int], ...]
    comments: tuple[str, ...]

    @property
    def multi_segment(self) -> bool:
        return bool(self.segments)


def load(path: Path) -> Header:
    """Read the header at `path`; a RecordError says in one sentence what is wrong with it."""
    if not os.path.isfile(path):  # nor a folder or a pipe; os.path, because a name may be too long for Path
        raise RecordError(f"there is no header file {path.name}")
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise RecordError(f"{path.name} cannot be opened: {error.strerror or error}") from None
    if len(raw) > _MOST_BYTES or b"\0" in raw:
        raise RecordError(f"{path.name} is not a WFDB header: it is not a short text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return parse(text, path.name)


def parse(text: str, file_name: str) -> Header:
    """The header written in `text`.

    >>> head = parse("a 1 500 5000\\na.dat 16 200(0)/uV 16 0 -7 120 0 V1\\n# Age: 50", "a.hea")
    >>> head.fs, head.n_samples, head.signals[0].units, head.comments
    (500.0, 5000, 'uV', ('Age: 50',))
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    comments = tuple(line.lstrip("#").strip() for line in lines if line.startswith("#"))
    lines = [line for line in lines if not line.startswith("#")]
    if not lines:
        raise RecordError(f"{file_name} has no record line")
    name, n_segments, n_signals, fs, n_samples = _record_line(lines[0], file_name)
    count = n_segments or n_signals
    if len(lines) - 1 < count:
        kind = "segments" if n_segments else "signals"
        raise RecordError(f"{file_name} announces {count} {kind} and describes {len(lines) - 1}")
    body = lines[1 : 1 + count]
    return Header(
        record=name,
        n_signals=n_signals,
        fs=fs,
        n_samples=n_samples,
        signals=() if n_segments else tuple(_signal_line(line, file_name) for line in body),
        segments=tuple(_segment_line(line, file_name) for line in body) if n_segments else (),
        comments=comments,
    )


def _record_line(line: str, file_name: str) -> tuple[str, int, int, float, int]:
    fields = line.split()
    name, _, segments = fields[0].partition("/")
    for suffix in _SUFFIXES:  # PhysioNet's 2021 challenge writes 'E00001.mat' for 'E00001'
        name = name.removesuffix(suffix)
    try:
        n_segments = _whole(segments) if segments else 0
        n_signals = _whole(fields[1])
        fs = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0  # WFDB's default
        n_samples = _whole(fields[3]) if len(fields) > 3 else 0
    except (ValueError, IndexError):
        raise RecordError(f"{file_name} has no readable record line; it starts with {line[:40]!r}") from None
    if not 0 < fs < 1e6:
        raise RecordError(f"{file_name} states fs {fs:g} Hz; it must be positive")
    if n_signals * n_samples > MOST_VALUES:
        raise RecordError(f"{file_name} states {n_samples} samples of {n_signals} signals, too many to read at once")
    return name, n_segments, n_signals, fs, n_samples


def _signal_line(line: str, file_name: str) -> SignalLine:
    fields = line.split(None, 8)
    stored = _FORMAT.match(fields[1]) if len(fields) > 1 else None
    if stored is None:
        raise RecordError(f"{file_name} has no readable signal line {line[:40]!r}")
    try:
        fmt, per_frame, skew, offset = (_whole(part) if part else None for part in stored.groups())
    except ValueError:
        raise RecordError(f"{file_name} has no readable signal line {line[:40]!r}") from None
    return SignalLine(
        text=line,
        file=fields[0],
        fmt=fmt or 0,
        per_frame=per_frame or 1,
        skew=skew or 0,
        offset=offset or 0,
        units=fields[2].partition("/")[2] if len(fields) > 2 else "",
        first=_number(fields, 5),
        checksum=_number(fields, 6),
        name=fields[8].strip() if len(fields) > 8 else "",
    )


def _segment_line(line: str, file_name: str) -> tuple[str, int]:
    fields = line.split()
    try:
        return fields[0], _whole(fields[1])
    except (ValueError, IndexError):
        raise RecordError(f"{file_name} has no readable segment line {line[:40]!r}") from None


def _whole(text: str) -> int:
    """A whole number of at most 18 ASCII digits; `int` takes more, among them what fills the memory later."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(text[:40])
    return int(text)


def _number(fields: list[str], position: int) -> int | None:
    try:
        return int(fields[position])
    except (IndexError, ValueError):
        return None
