"""ECGs as the rest of this room wants them: 250 Hz, without baseline wander, every lead that can be had, in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.signal import butter, resample_poly, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.leads import DERIVED, LEADS_12, pick

FS_HZ = 250.0
ROWS = 64  # ECGs of 10 s at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class Block:
    """A few ECGs, ready to be measured.

    Parameters
    ----------
    signal : float32 (n, B, T), high-passed, in the set's unit
    fs : Hz, 250 or next to it where the set's rate has no simple ratio to 250
    base : the B leads of `signal`
    leads : the L leads to measure, in standard order: with the derived limb leads where I and II are there
    start : row of the set that the block begins with
    wander : (n,) root mean square of what the high-pass took away, the mean aside; median over the filtered leads
    """

    signal: np.ndarray
    fs: float
    base: tuple[str, ...]
    leads: tuple[str, ...]
    start: int
    wander: np.ndarray

    def complete(self, values: np.ndarray) -> np.ndarray:
        """Values of the base leads -> of all leads, (..., B, any) -> (..., L, any)."""
        return pick(values, self.base, self.leads)


def iter_blocks(ecgs: ECGSet) -> Iterator[Block]:
    """The whole set, a block at a time.

    Derived limb leads are computed from I and II, also where they were recorded, so that 8 and 12 recorded leads are
    measured alike; not where the unit is none of voltage, because then the leads may have been scaled apart.
    """
    base, leads = _lead_plan(ecgs)
    ratio = Fraction(FS_HZ / ecgs.fs).limit_denominator(1000)
    rows = max(1, int(ROWS * 10 / max(ecgs.seconds, 10)))
    for start in range(0, len(ecgs), rows):
        signal = pick(ecgs.signal[start : start + rows], ecgs.leads, base)
        if ratio != 1:
            signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
        level = high_pass(signal, ecgs.fs * float(ratio))
        wander = np.median((signal - level).std(axis=-1), axis=1)
        yield Block(level, ecgs.fs * float(ratio), base, leads, start, wander)


def _lead_plan(ecgs: ECGSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(leads to filter, leads to measure) of a set."""
    if ecgs.units == "mV" and {"I", "II"} <= set(ecgs.leads):
        base = tuple(lead for lead in ecgs.leads if lead not in DERIVED)
        return base, tuple(lead for lead in LEADS_12 if lead in base or lead in DERIVED)
    return ecgs.leads, tuple(lead for lead in LEADS_12 if lead in ecgs.leads)


def high_pass(signal: np.ndarray, fs: float, cutoff_hz: float = 0.5) -> np.ndarray:
    """Signal without baseline wander: zero-phase Butterworth of second order, float32, the shape it came in.

    Kligfield et al., Circulation 115:1306, 2007, allow up to 0.67 Hz for such filters.
    """
    if not signal.size:
        return signal.astype(np.float32)
    sos = butter(2, cutoff_hz, "highpass", fs=fs, output="sos")
    padding = min(signal.shape[-1] - 1, round(2 * fs))
    return sosfiltfilt(sos, signal, axis=-1, padlen=padding).astype(np.float32)
