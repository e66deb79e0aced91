"""WFDB records <-> Record: the only place that knows files, formats and ADC units.

Formats 16, 212 and the other packed ones, FLAC (508, 516, 524), MATLAB 4 files (`.mat`), multi-segment records. The
wfdb package decodes the signal files; the header is checked first, because a header may be wrong in ways that the
package answers with a traceback, with silence, or by opening a file elsewhere.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
import wfdb

from ecgveil.errors import RecordError
from ecgveil.formats import header as _header
from ecgveil.formats.header import Header, SignalLine
from ecgveil.formats.labels import Facts, annotate
from ecgveil.formats.record import Record
from ecgveil.formats.repair import COUNTS_PER_MV, challenge_gain, exchange_names, own_ranges
from ecgveil.leads import standard_name

MILLIVOLTS = {"": 1.0, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}  # '': WFDB's default, mV
OURS = "made by ecgveil, no recording of a person"  # note on simulated and synthetic records
_MOST_MV = 1e6
_FLAC = (508, 516, 524)
_BYTES = {8: 1, 16: 2, 24: 3, 32: 4, 61: 2, 80: 1, 160: 2, 212: 1.5, 310: 4 / 3, 311: 4 / 3}
# What the wfdb package accepts: a plain name, and a time and date in WFDB's own form.
_PLAIN_RECORD = re.compile(r"[-\w]+\s+\d+(\s+[\d.]\S*(\s+\d+(\s+\d+:\d+:\d+(\.\d+)?(\s+\d+/\d+/\d+)?)?)?)?$")
_PLAIN_FILE = re.compile(r"~?[-\w]*\.?\w*$")


def find(folder: Path) -> list[str]:
    """Names of the records below `folder`, relative to it: those `RECORDS` lists, in its order, then all others.

    Every header file counts, listed or not; a listed name without a header is kept, so that reading it can say so.
    Headers of the segments of a multi-segment record are part of that record. Links to folders are not followed.
    """
    listed = _listed(folder)
    found: set[str] = set()
    segments: set[str] = set()
    for place, inner, files in os.walk(folder, onerror=_cannot_list):
        inner[:] = [name for name in inner if not name.startswith(".")]  # among them what a killed run left unfinished
        relative = PurePosixPath(Path(place).relative_to(folder).as_posix())
        for file in files:
            if file.endswith(".hea"):
                found.add(str(relative / file.removesuffix(".hea")))
                own = file.removesuffix(".hea")
                segments.update(str(relative / name) for name in _segment_names(Path(place, file)) if name != own)
    names = dict.fromkeys(listed) | dict.fromkeys(sorted(found - set(listed)))
    return [name for name in names if name not in segments]


def read_record(folder: Path, name: str, facts: dict[str, Facts] | None = None) -> Record:
    """Read one record with its labels.

    Parameters
    ----------
    folder : the folder that `name` is relative to
    name : as `find` gives it
    facts : what the folder's tables say of each record (`labels.tables`)

    Raises
    ------
    RecordError
        The record cannot be read; the message is one sentence and says why.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise RecordError(f"{name} is not a record name inside the folder")
    path = folder / f"{name}.hea"
    head = _header.load(path)
    stem = PurePosixPath(name).name
    if head.record != stem:
        raise RecordError(f"{path.name} is the header of another record: it names {head.record!r}")
    data = _read_segments(path, head) if head.multi_segment else _decode(path, head)
    record = _assemble(data, name, path)
    if any("ecgveil" in comment for comment in head.comments):  # what `write` and the simulator put there
        record = replace(record, notes=(*record.notes, OURS))
    return annotate(record, head.comments, facts or {})


@dataclass(frozen=True)
class _Data:
    """Decoded signals: `rows` in `units`, one array each, all of the rate `fs`; NaN where invalid."""

    fs: float
    names: tuple[str, ...]
    units: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    notes: tuple[str, ...] = ()


def _assemble(data: _Data, name: str, path: Path) -> Record:
    """The 12 leads under their standard names and in mV, everything else aside."""
    standard = [standard_name(each) for each in data.names]
    ecg = [i for i, each in enumerate(standard) if each]
    leads = tuple(each for each in standard if each)
    twice = {lead for lead in leads if leads.count(lead) > 1}
    if twice:
        raise RecordError(f"{path.name} has lead {min(twice)} more than once")
    rows = [data.rows[i] for i in ecg]
    if len({row.size for row in rows}) > 1:
        raise RecordError(f"{path.name} has leads of different sampling rates")
    size = rows[0].size if rows else max((row.size for row in data.rows), default=0)
    if not size:
        raise RecordError(f"{path.name} holds no samples")
    signal = np.stack(rows) if rows else np.empty((0, size), np.float32)
    units = [data.units[i] for i in ecg]
    foreign = [unit for unit in units if unit.lower() not in MILLIVOLTS]
    if not foreign:
        scale = np.array([MILLIVOLTS[unit.lower()] for unit in units], np.float32)
        with np.errstate(over="ignore"):
            signal = signal if (scale == 1).all() else signal * scale[:, None]
    if (np.abs(signal) > _MOST_MV).any():
        raise RecordError(f"{path.name} cannot be right: its gain makes samples of more than a million mV")
    leads, note = exchange_names(signal, leads, tolerance=0.02) if not foreign else (leads, "")
    extra = {data.names[i] or f"signal {i + 1}": data.rows[i] for i, each in enumerate(standard) if not each}
    notes = data.notes + ((note,) if note else ())
    return Record(name, path, signal, data.fs, leads, foreign[0] if foreign else "mV", extra=extra, notes=notes)


def _decode(path: Path, head: Header) -> _Data:
    """Decode a single-segment record and hold it against its header."""
    if not head.signals:
        raise RecordError(f"{path.name} has no signals")
    for _, lines in groupby(head.signals, key=lambda line: line.file):
        _check_file(path.parent, list(lines), head)
    raw = _rdrecord(path, head)
    counts = raw.e_d_signal or []
    if len(counts) != len(head.signals):
        raise RecordError(f"{path.name} announces {len(head.signals)} signals and {len(counts)} were decoded")
    if any(len(row) == 0 for row in counts):
        raise RecordError(f"{path.name} holds no samples")
    _check_samples(path, head, counts)
    names = tuple(line.name for line in head.signals)
    notes = _calibrate(raw, head)
    with np.errstate(all="ignore"):  # where a gain makes no sense, `_assemble` says so
        rows = raw.dac(expanded=True, return_res=32)
    most = max(
        (line.per_frame for line, each in zip(head.signals, names, strict=True) if standard_name(each)), default=1
    )
    return _Data(head.fs * most, names, tuple(line.units for line in head.signals), tuple(rows), notes)


def _calibrate(raw: wfdb.Record, head: Header) -> tuple[str, ...]:
    """Put one scale in the place of gains that are none (see `repair`)."""
    leads = [standard_name(line.name) for line in head.signals]
    rows = [i for i, lead in enumerate(leads) if lead]
    units = {head.signals[i].units.lower() for i in rows}
    if len({raw.e_d_signal[i].size for i in rows}) != 1 or units - {"mv", ""}:
        return ()
    gains = np.array([raw.adc_gain[i] for i in rows], float)
    note = challenge_gain(gains, head.comments)
    if not note:
        counts = np.stack([raw.e_d_signal[i] for i in rows])
        note = own_ranges(counts, gains, tuple(leads[i] or "" for i in rows))
    if not note:
        return ()
    for i in rows:
        raw.adc_gain[i], raw.baseline[i] = COUNTS_PER_MV, 0
    return (note,)


def _check_file(folder: Path, lines: list[SignalLine], head: Header) -> None:
    """The signal file is beside its header and long enough for what the header announces."""
    name = lines[0].file
    if not _beside(name):
        raise RecordError(f"the header refers to {name!r}, which is not a file beside it")
    file = folder / name
    if not os.path.isfile(file):
        raise RecordError(f"its signal file {name[:60]} is missing")
    if any(line.skew > head.n_samples for line in lines):
        raise RecordError(
            f"its header shifts signals by up to {max(line.skew for line in lines)} samples, past the end"
        )
    if lines[0].fmt in _FLAC:
        have, need = _flac_frames(file), head.n_samples * lines[0].per_frame
    elif all(line.fmt in _BYTES for line in lines):
        frame = sum(_BYTES[line.fmt] * line.per_frame for line in lines)
        have, need = int((file.stat().st_size - lines[0].offset) / frame + 1e-6), head.n_samples
    else:
        formats = ", ".join(sorted({str(line.fmt) for line in lines}))
        raise RecordError(f"its signal file {name} has format {formats}, which is not known")
    if have < max(need, 1):
        raise RecordError(f"its signal file {name} is truncated: it holds {max(have, 0)} of {need} samples")


def _flac_frames(file: Path) -> int:
    try:
        return int(soundfile.info(str(file)).frames)
    except (soundfile.SoundFileError, OSError):
        raise RecordError(f"its signal file {file.name} is not the FLAC file that its header says it is") from None


def _check_samples(path: Path, head: Header, counts: list[np.ndarray]) -> None:
    """Samples agree with the first values and checksums that the header states for them."""
    stated = [(line.first or 0, line.checksum or 0) for line in head.signals]
    if not any(map(any, stated)) or any(line.skew for line in head.signals):
        return  # all zero: never filled in (PTB); skewed signals are shifted after their checksum was made
    for line, row in zip(head.signals, counts, strict=True):
        if line.checksum is not None and (int(row.sum(dtype=np.int64)) - line.checksum) % 65536:
            raise RecordError(f"the samples of {line.file} contradict the checksum of lead {line.name} in {path.name}")
        if line.first is not None and line.checksum is None and int(row[0]) != line.first:
            raise RecordError(f"the samples of {line.file} contradict the first value of {line.name} in {path.name}")


def _rdrecord(path: Path, head: Header) -> wfdb.Record:
    """Samples as stored. Where the package would refuse the header, a plain copy of it is read in its place."""
    first = next(line for line in path.read_text("latin-1").splitlines() if line.strip() and line.strip()[0] != "#")
    plain = _PLAIN_RECORD.match(first.strip()) and all(_PLAIN_FILE.match(line.file) for line in head.signals)
    if plain:
        return _call_wfdb(path.with_suffix(""), path.name)
    with tempfile.TemporaryDirectory() as place:
        aliases = {file: f"s{i}" for i, file in enumerate(dict.fromkeys(line.file for line in head.signals))}
        for file, alias in aliases.items():
            Path(place, alias).symlink_to(path.with_name(file).resolve())
        lines = [f"r {len(head.signals)} {head.fs:.10g} {head.n_samples or ''}"]
        lines += [aliases[line.file] + line.text.removeprefix(line.file) for line in head.signals]
        Path(place, "r.hea").write_text("\n".join(lines), "utf-8")
        return _call_wfdb(Path(place, "r"), path.name)


def _call_wfdb(stem: Path, file_name: str) -> wfdb.Record:
    try:
        # float, not a Path: the package joins strings. return_res=32 holds every format but stays small.
        return wfdb.rdrecord(os.fspath(stem), physical=False, smooth_frames=False, return_res=32)
    except Exception as error:  # what a foreign parser raises on garbage has no common base
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise RecordError(f"{file_name} cannot be decoded: {reason}") from None


def _read_segments(path: Path, head: Header) -> _Data:
    """Join the segments of a multi-segment record in time; NaN in gaps and where a segment lacks a signal."""
    if sum(length for _, length in head.segments) * max(head.n_signals, 1) > _header.MOST_VALUES:
        raise RecordError(f"{path.name} announces segments of too many samples to read at once")
    pieces: list[tuple[_Data | None, int]] = []
    for name, length in head.segments:
        if length and name != "~":
            pieces.append((_segment(path, name, length), length))
        elif length:
            pieces.append((None, length))
    units = {n: u for data, _ in pieces if data for n, u in zip(data.names, data.units, strict=True)}
    rates = {data.fs for data, _ in pieces if data}
    if len(rates) != 1:
        raise RecordError(f"{path.name} has segments of {len(rates)} sampling rates")
    fs = rates.pop()
    rows = {name: [] for name in units}  # type: dict[str, list[np.ndarray]]
    for data, length in pieces:
        have = dict(zip(data.names, data.rows, strict=True)) if data else {}
        gap = np.full(round(length * fs / head.fs), np.nan, np.float32)
        for name, parts in rows.items():
            parts.append(have.get(name, gap))
    notes = dict.fromkeys(note for data, _ in pieces if data for note in data.notes)
    joined = tuple(np.concatenate(parts) for parts in rows.values())
    return _Data(fs, tuple(rows), tuple(units.values()), joined, tuple(notes))


def _segment(path: Path, name: str, length: int) -> _Data:
    if not _beside(name):
        raise RecordError(f"{path.name} refers to a segment {name!r} that is not beside it")
    head = _header.load(path.with_name(f"{name}.hea"))
    if head.record != name:
        raise RecordError(f"segment {name}.hea of {path.name} is the header of another record, {head.record!r}")
    if head.multi_segment:
        raise RecordError(f"segment {name} of {path.name} is itself multi-segment")
    if head.n_samples and head.n_samples != length:
        raise RecordError(f"segment {name} has {head.n_samples} samples where {path.name} announces {length}")
    return _decode(path.with_name(f"{name}.hea"), replace(head, n_samples=length))


def _beside(name: str) -> bool:
    """A plain file name, which cannot lead to another folder (or to standard input, which is WFDB's '-')."""
    return name == PurePosixPath(name).name and "\\" not in name and name not in ("-", "~", ".", "..")


def _listed(folder: Path) -> list[str]:
    """Record names in `RECORDS`; lines that name subfolders ('training/') are left to the walk."""
    file = folder / "RECORDS"
    if not file.is_file():
        return []
    lines = (line.strip() for line in file.read_text("utf-8", errors="replace").splitlines())
    return [str(PurePosixPath(line.removesuffix(".hea"))) for line in lines if line and not line.endswith("/")]


def _segment_names(path: Path) -> list[str]:
    """Names of the segments, if this is the header of a multi-segment record; a broken header has none."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return []
    try:
        with path.open("rb") as file:
            lines = (line.split() for line in file.read(4096).splitlines())
        first = next((fields[0] for fields in lines if fields and not fields[0].startswith(b"#")), b"")
        # 'name/segments' is the sign of a multi-segment record; looking for it first spares parsing every header twice.
        return [name for name, _ in _header.load(path).segments] if b"/" in first else []
    except (OSError, RecordError):
        return []


def _cannot_list(error: OSError) -> None:
    raise RecordError(f"{error.filename} cannot be listed: {error.strerror}; make it readable") from None
