"""Is this an ECG that can be learned from? Few rules, each with a physical reason, on one record at a time.

The thresholds are round numbers well off what a heart can do, not a fit to a database.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d

from ecgveil.leads import DERIVED, LEADS_8, limb_residual

SHORTEST_S = 1.0
FLAT_S = 1.0  # no heart rests this long without one count of noise: the electrode is off
FLAT_MV = 0.05  # over a whole record; even a QRS at right angles to a lead leaves more
RAIL_S = 0.05  # at one extreme value; a peak passes it within a few ms
RAIL_MV = 5.0  # range of a lead that can have reached its amplifier's end
RANGE_MV = 20.0  # peak to peak; QRS complexes of extreme hypertrophy reach half of it
NOISE_MV = 0.15  # median of what is faster than 25 ms; in a clean ECG a few uV
LIMB_MV = 0.05  # disagreement of the limb leads; ten counts of a coarse recorder

Flaw = tuple[str, str]


def check(
    signal: np.ndarray,
    fs: float,
    leads: tuple[str, ...],
    units: str = "mV",
    needed: tuple[str, ...] = LEADS_8,
) -> list[Flaw]:
    """What speaks against using a record.

    Parameters
    ----------
    signal : (n_leads, n_samples), in `units`
    fs : sampling rate in Hz
    leads : standard names of the rows
    units : rules on amplitudes are only made in 'mV'; any other unit is itself a flaw
    needed : leads that must be there and usable; a derived limb lead may be missing where I and II are there

    Returns
    -------
    list of (code, detail)
        Empty for a usable record. Codes: 'too_short', 'wrong_unit', 'missing_lead', 'nan', 'flat', 'saturated',
        'noise', 'limb_leads'.
    """
    flaws = list(_form(signal, fs, leads, units, needed))
    used = [i for i, lead in enumerate(leads) if lead in _sources(needed, leads)]
    if not used or signal.shape[-1] < 2:
        return flaws
    names = [leads[i] for i in used]
    rows = signal[used]
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        return [*flaws, ("nan", f"{_list(names, bad)} {_has(bad)} samples that are no numbers")]
    in_mv = units == "mV"
    flat, saturated = _flat(rows, fs, in_mv), np.zeros(len(rows), bool)
    if flat.any():
        flaws.append(("flat", f"{_list(names, flat)} {_is(flat)} constant for {FLAT_S:g} s or more, or empty"))
    if in_mv:
        saturated = _saturated(rows, fs)
        if saturated.any():
            flaws.append(("saturated", f"{_list(names, saturated)} {_is(saturated)} cut off at an end of the range"))
        flaws += _noise(rows, fs, names)
        flaws += _limb(signal, leads)
    return flaws


def _form(signal: np.ndarray, fs: float, leads: tuple[str, ...], units: str, needed: tuple[str, ...]) -> list[Flaw]:
    flaws = []
    seconds = signal.shape[-1] / fs
    if seconds < SHORTEST_S:
        flaws.append(("too_short", f"it lasts {seconds:.3g} s"))
    if units != "mV":
        told = f"its unit is '{units}', which does not convert to mV; --set data.units=sd learns shapes"
        flaws.append(("wrong_unit", told))
    missing = [lead for lead in _sources(needed, leads) if lead not in leads]
    if missing:
        flaws.append(("missing_lead", f"it has no lead {', '.join(missing)}"))
    return flaws


def _sources(needed: tuple[str, ...], leads: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The leads that the needed ones are taken from: themselves, or I and II for a derived one not among `leads`."""
    wanted: dict[str, None] = {}
    for lead in needed:
        wanted |= dict.fromkeys(("I", "II") if lead in DERIVED and leads and lead not in leads else (lead,))
    return tuple(wanted)


def _flat(rows: np.ndarray, fs: float, in_mv: bool) -> np.ndarray:
    still = _longest_run(np.diff(rows, axis=1) == 0) >= FLAT_S * fs - 1
    return still | (np.ptp(rows, axis=1) < FLAT_MV) if in_mv else still


def _saturated(rows: np.ndarray, fs: float) -> np.ndarray:
    at_end = [_longest_run(rows == end(rows, axis=1, keepdims=True)) for end in (np.min, np.max)]
    return (np.maximum(*at_end) >= max(RAIL_S * fs, 3)) & (np.ptp(rows, axis=1) > RAIL_MV)


def _noise(rows: np.ndarray, fs: float, names: list[str]) -> list[Flaw]:
    """Artefact in two leads, or in the one that is asked for: a single bad electrode is no bad record."""
    enough = min(2, len(rows))
    wide = np.ptp(rows, axis=1) > RANGE_MV
    if wide.sum() >= enough:
        return [("noise", f"{_list(names, wide)} {_is(wide)} wider than {RANGE_MV:g} mV, which no heart makes")]
    fast = rows - uniform_filter1d(rows, max(int(0.025 * fs), 2), axis=1, mode="nearest")
    rough = np.median(np.abs(fast), axis=1) > NOISE_MV
    if rough.sum() >= enough:
        return [("noise", f"{_list(names, rough)} {_is(rough)} covered by fast noise")]
    return []


def _limb(signal: np.ndarray, leads: tuple[str, ...]) -> list[Flaw]:
    residual = np.abs(limb_residual(signal, leads))
    if not residual.size or not np.isfinite(residual).all():
        return []
    derived = [lead for lead in DERIVED if lead in leads]
    off = np.percentile(residual, 99, axis=1)
    bad = off > LIMB_MV
    if not bad.any():
        return []
    return [("limb_leads", f"{_list(derived, bad)} {_is(bad)} {off.max():.2f} mV off what I and II make of it")]


def _longest_run(mask: np.ndarray) -> np.ndarray:
    """Length of the longest run of True in each row, (n, m) -> (n,)."""
    position = np.arange(1, mask.shape[1] + 1)
    last_false = np.maximum.accumulate(np.where(mask, 0, position), axis=1)
    return (position - last_false).max(axis=1, initial=0)


def _list(names: list[str], which: np.ndarray) -> str:
    return ", ".join(name for name, bad in zip(names, which, strict=True) if bad)


def _is(which: np.ndarray) -> str:
    return "is" if which.sum() == 1 else "are"


def _has(which: np.ndarray) -> str:
    return "has" if which.sum() == 1 else "have"
