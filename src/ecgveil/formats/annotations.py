"""Marks of waves -> WFDB annotation files, in the form of the Lobachevsky database: `( p )`, `( N )`, `( t )`.

Written here because the wfdb package refuses annotators with a digit in their name, so `5.v1` to `5.v6`, and takes
2.5 ms a file. Format after the WFDB Applications Guide, annot(5), MIT format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np

from ecgveil.errors import RecordError
from ecgveil.files import make_folder, write_together

CODES = {"p": 24, "N": 1, "t": 27}  # annotation codes of WFDB's ecgcodes.h
_OPEN, _CLOSE, _SKIP = 39, 40, 59
_MOST_STEP = 1023  # samples that the 10 bits of an annotation hold; beyond it a SKIP of 32 bits goes before
_LAST_SAMPLE = 2**31 - 1

_ANNOTATOR = re.compile(r"[a-z][a-z0-9]*")
_NOT_ANNOTATORS = {"hea", "dat", "mat"}


class Marked(Protocol):
    """One wave: `kind` 'p', 'N' (QRS) or 't'; onset, peak and offset in samples, NaN where an edge is unknown."""

    @property
    def kind(self) -> str: ...
    @property
    def onset(self) -> float: ...
    @property
    def peak(self) -> float: ...
    @property
    def offset(self) -> float: ...


def write_annotations(folder: str | Path, record: str, marks: Mapping[str, Sequence[Marked]], fs: float) -> list[Path]:
    """Write one annotation file for each annotator of a record, `<folder>/<record>.<annotator>`.

    Each wave is `(`, its kind, `)`; an unknown onset or offset is left out. Waves in this form follow each other and do
    not overlap: an offset is written at the next wave's peak at the latest, an onset at the previous wave's offset at
    the earliest, and both at their own peak where they would lie beyond it. No peak moves.

    Parameters
    ----------
    folder : made, with the record's own sub-folder, where it is not there
    record : name relative to the folder, without suffix: '5', 'data/5'
    marks : annotator ('i' ... 'v6', 'global') -> its waves, perhaps none, with finite peaks
    fs : sampling rate of the marks in Hz; it is stored with them

    Returns
    -------
    The paths, in the order of `marks`.

    Raises
    ------
    RecordError
        A name is no safe file name, a wave is of no known kind, or its peak is unknown.
    RunError
        The folder cannot be written, or the disk is full.
    """
    parts = PurePosixPath(record).parts
    if not parts or ".." in parts or PurePosixPath(record).is_absolute() or "\0" in record:
        raise RecordError(f"{record!r} is not a record name inside the folder")
    for annotator in marks:
        if not _ANNOTATOR.fullmatch(annotator) or annotator in _NOT_ANNOTATORS:
            raise RecordError(f"{annotator!r} is no annotator's name; use lower-case letters and digits, as 'v5'")
    path = Path(folder, record)
    make_folder(path.parent)
    start = _resolution(fs)
    contents = {
        f"{path.name}.{annotator}": start + _encode(waves, f"{record}.{annotator}") + b"\0\0"
        for annotator, waves in marks.items()
    }
    write_together(path.parent, contents)
    return [path.parent / name for name in contents]


def _resolution(fs: float) -> bytes:
    """The note at sample 0 that holds the sampling rate, and the steps of -1 and 1 sample by which WFDB ends it."""
    note = f"## time resolution: {np.format_float_positional(fs, trim='-')}".encode("ascii")
    padded = note + b"\0" * (len(note) % 2)
    return bytes([0, 22 << 2, len(note), 63 << 2]) + padded + bytes([0, _SKIP << 2, 255, 255, 255, 255, 1, 0])


class _Waves(NamedTuple):
    """Whole samples, (n,) each; an edge of -1 is unknown."""

    codes: list[int]
    onset: np.ndarray
    peak: np.ndarray
    offset: np.ndarray


def _encode(marks: Sequence[Marked], name: str) -> bytes:
    """Annotations as 16-bit words: the code in 6 bits, the step from the last one in 10."""
    words: list[int] = []
    last = 0
    waves = _checked(marks, name)
    for code, *samples in zip(waves.codes, *(each.tolist() for each in waves[1:]), strict=True):
        for sample, kind in zip(samples, (_OPEN, code, _CLOSE), strict=True):
            if sample < 0:
                continue
            step = sample - last
            if step > _MOST_STEP:
                words += [_SKIP << 10, step >> 16, step & 0xFFFF]
                step = 0
            words.append(kind << 10 | step)
            last = sample
    return np.array(words, "<u2").tobytes()


def _checked(marks: Sequence[Marked], name: str) -> _Waves:
    """Marks in whole samples, in order and without overlap."""
    for mark in marks:
        if mark.kind not in CODES:
            raise RecordError(f"{name}: a wave is of kind {mark.kind!r}; the kinds are {', '.join(CODES)}")
        if not 0 <= mark.peak <= _LAST_SAMPLE:
            raise RecordError(f"{name}: a wave's peak is at sample {mark.peak}; it must be 0 or later, and known")
    marks = sorted(marks, key=lambda mark: mark.peak)
    table = np.rint(np.array([(each.onset, each.peak, each.offset) for each in marks], float).reshape(-1, 3))
    unknown = np.isnan(table)
    onset, peak, offset = np.where(unknown, 0, table).T
    offset = np.maximum(offset, peak)
    offset[:-1] = np.minimum(offset[:-1], peak[1:])
    onset = np.minimum(onset, peak)
    before = np.where(unknown[:, 2], peak, offset)[:-1]  # where the previous wave ends as written
    onset = np.maximum(onset, np.concatenate([[0.0], before])[: len(marks)])
    edges = np.where(unknown, -1, np.stack([onset, peak, np.minimum(offset, _LAST_SAMPLE)], axis=1)).astype(np.int64)
    return _Waves([CODES[mark.kind] for mark in marks], *edges.T)
