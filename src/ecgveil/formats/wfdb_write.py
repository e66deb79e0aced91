"""ECGSet -> WFDB records in format 16 at 1 uV per unit, the form every release and every simulated clinic takes.

ECGs in `sd` (each lead over its own standard deviation) are written at 0.001 sd per unit, and their headers say `sd`.

Written here rather than with the wfdb package because that takes many times as long a record. Format after the WFDB
Applications Guide, header(5) and signal(5).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.files import make_folder, write_atomic, write_plainly, write_together
from ecgveil.formats.labels import facts_comments
from ecgveil.leads import DERIVED, LEADS_8, LEADS_12

UNITS_PER_MV = 1000  # so that one unit is 1 uV
LIMIT = 32767  # units; -32768 is WFDB's mark of a missing sample

_UNITS = ("mV", "sd")
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+")


def quantise(signal: np.ndarray) -> np.ndarray:
    """The 8 independent leads in mV -> 12 leads in whole uV that obey the limb-lead equations.

    I and II are rounded first and the derived leads computed from the rounded values, so III = II - I holds exactly,
    and aVR, aVL and aVF within half a unit. `write` keeps these values as they are when given them divided by 1000.

    Parameters
    ----------
    signal : (..., 8, n_samples) in mV, in the order of `LEADS_8`

    Returns
    -------
    int32 (..., 12, n_samples) in uV, in the order of `LEADS_12`

    Raises
    ------
    RecordError
        There are not 8 leads.
    """
    if signal.ndim < 2 or signal.shape[-2] != len(LEADS_8):
        raise RecordError(f"signal has shape {signal.shape}; quantise takes (..., 8, n_samples): {', '.join(LEADS_8)}")
    rounded = np.rint(signal * UNITS_PER_MV)
    out = np.empty((*signal.shape[:-2], len(LEADS_12), signal.shape[-1]), np.int32)
    for row, lead in enumerate(LEADS_12):
        if lead in DERIVED:
            one, two = DERIVED[lead]
            out[..., row, :] = np.rint(one * rounded[..., 0, :] + two * rounded[..., 1, :])
        else:
            out[..., row, :] = rounded[..., LEADS_8.index(lead), :]
    return out


def count_clipped(signal: np.ndarray) -> np.ndarray:
    """How many values lie beyond the +-32.767 mV that format 16 holds: (..., n_samples) in mV -> int (...)."""
    return np.count_nonzero(np.abs(signal) * UNITS_PER_MV >= LIMIT + 0.5, axis=-1)


def write(ecgs: ECGSet, folder: str | Path, *, comments: Sequence[str] = (), unfinished: bool = False) -> list[Path]:
    """Write each record as `<record_name>.dat` and `.hea`; unless `unfinished`, a file is there whole or not at all.

    A record's labels, its age in whole years and its sex stand in its header, from where `read` takes them.

    Values beyond +-32.767 mV are clipped; the record's header then says so, for each lead, in a comment
    ('clipped to +-32.767 mV: 12 values of V2'), and `count_clipped` tells beforehand.

    Parameters
    ----------
    ecgs : in mV or sd, with any leads and sampling rate
    folder : made if it is not there; a record of the same name in it is replaced
    comments : lines for every header, ASCII
    unfinished : the folder itself is not yet in its place (`files.new_folder`), so that files need no such care: faster

    Returns
    -------
    The paths of the headers, in the order of the records.

    Raises
    ------
    RecordError
        A record name is no safe file name, the unit is neither mV nor sd, or a comment cannot stand in a header.
    RunError
        The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    if ecgs.units not in _UNITS:
        raise RecordError(f"units are {ecgs.units!r}; WFDB records are written in mV (or sd), convert the set first")
    for name in ecgs.record_name:
        _check_name(name)
    for comment in comments:
        if not comment.isascii() or not comment.isprintable():
            raise RecordError(f"comment {comment!r} cannot stand in a header; use ASCII without line breaks")
    make_folder(folder)
    return [_write_record(ecgs, row, folder, comments, unfinished) for row in range(len(ecgs))]


def write_records_file(folder: str | Path, names: Sequence[str]) -> Path:
    """Write `RECORDS`, the list of a folder's records, one name a line; returns its path.

    Raises
    ------
    RecordError
        A name is no safe file name, or occurs twice.
    RunError
        The folder cannot be written, or the disk is full.
    """
    folder = Path(folder)
    seen: set[str] = set()
    for name in names:
        _check_name(name)
        if name in seen:
            raise RecordError(f"record name '{name}' occurs twice; name each record once")
        seen.add(name)
    make_folder(folder)
    write_atomic(folder / "RECORDS", "".join(f"{name}\n" for name in names))
    return folder / "RECORDS"


def _check_name(name: str) -> None:
    if not _SAFE_NAME.fullmatch(name):
        raise RecordError(f"record name '{name}' is no safe file name; use letters, digits, - and _")


def _write_record(ecgs: ECGSet, row: int, folder: Path, comments: Sequence[str], unfinished: bool) -> Path:
    name = ecgs.record_name[row]
    exact = np.rint(ecgs.signal[row] * np.float32(UNITS_PER_MV))  # (leads, samples)
    farthest = max(exact.max(initial=0), -exact.min(initial=0))
    digital = (exact if farthest <= LIMIT else np.clip(exact, -LIMIT, LIMIT)).astype("<i2")
    if farthest > LIMIT:
        clipped = np.count_nonzero(np.abs(exact) > LIMIT, axis=1)
        parts = (f"{n} values of {lead}" for n, lead in zip(clipped, ecgs.leads, strict=True) if n)
        comments = [*comments, f"clipped to +-32.767 {ecgs.units}: {', '.join(parts)}"]
    comments = [*comments, *facts_comments(ecgs.labels[row], float(ecgs.age[row]), ecgs.sex[row])]
    lines = [f"{name} {len(ecgs.leads)} {_decimal(ecgs.fs)} {ecgs.n_samples}"]
    # The checksum is the sum of all samples in 16-bit arithmetic.
    checksums = digital.sum(axis=1, dtype=np.int64).astype(np.int16)
    for lead, samples, checksum in zip(ecgs.leads, digital, checksums, strict=True):
        first = samples[0] if samples.size else 0
        lines.append(f"{name}.dat 16 {UNITS_PER_MV}(0)/{ecgs.units} 16 0 {first} {checksum} 0 {lead}")
    lines += [f"# {comment}" for comment in comments]
    header = "".join(f"{line}\n" for line in lines).encode("ascii")
    contents = {f"{name}.dat": digital.T.tobytes(), f"{name}.hea": header}
    (write_plainly if unfinished else write_together)(folder, contents)
    return folder / f"{name}.hea"


def _decimal(value: float) -> str:
    """A number without exponent and without needless zeros: 500, 257.5."""
    return np.format_float_positional(value, trim="-")
