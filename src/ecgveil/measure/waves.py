"""Amplitudes and durations of the waves of the median beat, and their axes; all rows and leads at once."""

from __future__ import annotations

import numpy as np

from ecgveil.measure.median import Medians

# A deflection of the QRS counts from this area on (12SL Physician's Guide, GE Healthcare 2056246-002, 2015: 160 uV ms),
# from this height on (Minnesota code: 0.25 mm) and, our choice, from this share of the QRS' span on: beside a tall R,
# what is left of the P wave is no r.
LEAST_AREA_UV_MS = 160.0
LEAST_HEIGHT_UV = 25.0
LEAST_SHARE = 0.03
_MOST_DEFLECTIONS = 6
_NOTCH_SHARE = 0.05  # of the QRS' span: what rises less between two peaks is no notch
_ST60_MS = 60.0


def amplitudes(medians: Medians) -> dict[str, np.ndarray]:
    """P, Q, R, S, R', T, STJ and ST60 of each lead in uV, and the durations of the QRS deflections in ms.

    All against the PR level. Q, S and QS are negative; a QS is given as Q and as S. Where a deflection is missing it
    is 0, where its wave could not be found NaN.

    Parameters
    ----------
    medians : in mV

    Returns
    -------
    dict
        'p', 'q', 'r', 's', 'r2', 't', 'stj', 'st60' in uV; 'q_ms', 'r_ms', 's_ms'; 'rpt' (QRS onset to the last R
        peak, ms); 'notch' (number of peaks of the highest upright deflection): each (n, L)
    """
    x = 1000.0 * medians.signal.astype(float)  # uV
    values = _deflections(x, medians)
    values["p"] = _largest_deviation(x, medians, medians.p_on, medians.p_off)
    values["t"] = _largest_deviation(x, medians, np.fmax(medians.t_on, medians.qrs_off + 40), medians.t_off)
    values["stj"] = _at(x, medians, medians.qrs_off)
    values["st60"] = _at(x, medians, medians.qrs_off + _ST60_MS)
    return values


def axes_deg(medians: Medians) -> dict[str, np.ndarray]:
    """Frontal axes of P, QRS and T from the areas of the waves in I and aVF, degrees in (-180, 180]; NaN where unknown.

    The augmented lead is weighted by 2 / sqrt(3), as its strength in the frontal plane asks (Malmivuo and Plonsey,
    Bioelectromagnetism, 1995, chapter 15).
    """
    n = len(medians.signal)
    if not {"I", "aVF"} <= set(medians.leads):
        return {name: np.full(n, np.nan) for name in ("p", "qrs", "t")}
    pair = medians.signal[:, [medians.leads.index("I"), medians.leads.index("aVF")]].astype(float)
    spans = {
        "p": (medians.p_on, medians.p_off),
        "qrs": (medians.qrs_on, medians.qrs_off),
        "t": (medians.t_on, medians.t_off),
    }
    return {name: _axis(pair, medians, *span) for name, span in spans.items()}


def _axis(pair: np.ndarray, medians: Medians, onset: np.ndarray, offset: np.ndarray) -> np.ndarray:
    known: np.ndarray = np.isfinite(onset) & np.isfinite(offset)
    area = (pair * _inside(pair, medians, onset, offset)).sum(axis=-1)  # (n, 2)
    seen = known & (np.abs(area).sum(axis=1) > 0)
    return np.where(seen, np.degrees(np.arctan2(2 / np.sqrt(3) * area[:, 1], area[:, 0])), np.nan)


def _sample(medians: Medians, ms: np.ndarray) -> np.ndarray:
    """Sample of an instant given in ms from the R peak, as a float."""
    return medians.r_at + ms * medians.fs / 1000


def _inside(x: np.ndarray, medians: Medians, onset: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """bool (n, 1, W): samples between two instants in ms; all False where one is NaN."""
    t = np.arange(x.shape[-1])
    low, high = _sample(medians, onset)[:, None, None], _sample(medians, offset)[:, None, None]
    return (t >= low) & (t <= high)


def _at(x: np.ndarray, medians: Medians, ms: np.ndarray) -> np.ndarray:
    """Value of each lead at an instant, the mean of the 5 samples (10 ms) around it, (n, L)."""
    t = np.arange(x.shape[-1])
    near = np.abs(t - np.rint(_sample(medians, ms))[:, None]) <= 2  # (n, W), all False for NaN
    total = np.einsum("nlw,nw->nl", x, near.astype(float))
    return np.where(near.any(axis=1)[:, None], total / np.maximum(near.sum(axis=1), 1)[:, None], np.nan)


def _largest_deviation(x: np.ndarray, medians: Medians, onset: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Value farthest from the PR level, with its sign, (n, L)."""
    inside = _inside(x, medians, onset, offset)
    within = np.where(inside, x, 0)
    at = np.abs(within).argmax(axis=-1)[..., None]
    value = np.take_along_axis(within, at, axis=-1)[..., 0]
    return np.where(inside.any(axis=-1), value, np.nan)


def _deflections(x: np.ndarray, medians: Medians) -> dict[str, np.ndarray]:
    """Q, R, S and R' of each lead: the runs of one sign within the QRS whose area counts."""
    first = int(np.floor(medians.r_at - 0.2 * medians.fs))
    last = int(np.ceil(medians.r_at + 0.3 * medians.fs))
    window = x[..., first:last]
    t = np.arange(first, last)
    onset, offset = _sample(medians, medians.qrs_on), _sample(medians, medians.qrs_off)
    inside = ((t >= onset[:, None]) & (t <= offset[:, None]))[:, None]  # (n, 1, w)
    step = 1000 / medians.fs
    sign = _signs(np.where(inside, window, 0), step)
    number = _numbered(sign)  # (n, L, w) 1, 2, ... for each run; 0 before the first
    runs = np.arange(1, _MOST_DEFLECTIONS + 1)
    shape = (*sign.shape[:2], _MOST_DEFLECTIONS)
    peak, width, way, at = (np.zeros(shape) for _ in range(4))
    for k in runs:
        of_run = (number == k) & (sign != 0)
        height = np.where(of_run, np.abs(window), 0)
        peak[..., k - 1] = height.max(axis=-1)
        at[..., k - 1] = height.argmax(axis=-1)
        width[..., k - 1] = of_run.sum(axis=-1) * step
        way[..., k - 1] = np.where(of_run, sign, 0).sum(axis=-1)
    # What still grows where the QRS ends is no deflection of it but the beginning of the ST segment.
    rising = (at + first >= offset[:, None, None] - 2) & (np.arange(_MOST_DEFLECTIONS) > 0)
    peak, width, way = (np.where(rising, 0, each) for each in (peak, width, way))
    up, down = way > 0, way < 0
    r = up & (np.cumsum(up, axis=-1) == 1)
    r2 = up & (np.cumsum(up, axis=-1) > 1)
    after_r = np.cumsum(up, axis=-1) > 0
    no_r = (up.sum(axis=-1) == 0)[..., None]
    q, s = down & ~after_r, down & (after_r | no_r)
    found = np.isfinite(medians.qrs_on)[:, None] & np.isfinite(medians.qrs_off)[:, None]
    main = np.where(up, peak, -1).argmax(axis=-1)  # the highest upright deflection
    values = {
        "q": -_largest(q, peak),
        "r": _largest(r, peak),
        "s": -_largest(s, peak),
        "r2": _largest(r2, peak),
        "q_ms": _largest(q, width),
        "r_ms": _largest(r, width),
        "s_ms": _largest(s, width),
        "rpt": _last_peak_ms(up, peak, at, first, onset, step),
        "notch": np.where(no_r[..., 0], 0, _peaks_in(window, number == (main + 1)[..., None])),
    }
    return {name: np.where(found, value, np.nan) for name, value in values.items()}


def _largest(of_kind: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.where(of_kind, size, 0).max(axis=-1) + 0.0


def _signs(window: np.ndarray, step_ms: float) -> np.ndarray:
    """Sign of each sample, 0 in runs too small to count, (n, L, w)."""
    sign = np.sign(window).astype(int)
    number = np.cumsum(np.diff(sign, axis=-1, prepend=0) != 0, axis=-1)  # each run of one sign its own number
    rows = np.arange(sign[..., 0].size)[:, None]
    flat = number.reshape(len(rows), -1)
    size = np.abs(window).reshape(flat.shape)
    area, height = np.zeros((2, len(rows), flat.max(initial=0) + 1))
    np.add.at(area, (rows, flat), size * step_ms)
    np.maximum.at(height, (rows, flat), size)
    span = window.max(axis=-1) - window.min(axis=-1)
    least = np.maximum(LEAST_HEIGHT_UV, LEAST_SHARE * span).reshape(len(rows), 1)
    counts = (area[rows, flat] >= LEAST_AREA_UV_MS) & (height[rows, flat] >= least)
    return np.where(counts.reshape(sign.shape), sign, 0)


def _numbered(sign: np.ndarray) -> np.ndarray:
    """Number of the deflection that each sample belongs to; runs that do not count join the one before."""
    t = np.arange(sign.shape[-1])
    latest = np.maximum.accumulate(np.where(sign != 0, t, -1), axis=-1)
    held = np.where(latest >= 0, np.take_along_axis(sign, np.maximum(latest, 0), axis=-1), 0)
    return np.cumsum((np.diff(held, axis=-1, prepend=0) != 0) & (held != 0), axis=-1)


def _last_peak_ms(
    up: np.ndarray, peak: np.ndarray, at: np.ndarray, first: int, onset: np.ndarray, step: float
) -> np.ndarray:
    """R peak time: from the QRS onset to the peak of the last upright deflection of half the tallest one or more."""
    tall = up & (peak >= 0.5 * np.where(up, peak, 0).max(axis=-1, keepdims=True))
    last = np.where(tall, np.arange(up.shape[-1]), -1).max(axis=-1)
    where = np.take_along_axis(at, np.maximum(last, 0)[..., None], axis=-1)[..., 0]
    return np.where(last >= 0, (where + first - onset[:, None]) * step, 0.0)


def _peaks_in(window: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Number of peaks of an upright deflection, (n, L, w) -> (n, L); the dip between two must be real."""
    span = window.max(axis=-1, keepdims=True) - window.min(axis=-1, keepdims=True)
    level = np.where(inside, window, 0)
    # Quantised by the least dip, ripple below it leaves no peak.
    coarse = np.round(level / np.maximum(2 * _NOTCH_SHARE * span, 1e-9))
    step = np.diff(coarse, axis=-1)
    t = np.arange(step.shape[-1])
    latest = np.maximum.accumulate(np.where(step != 0, t, -1), axis=-1)
    way = np.where(latest >= 0, np.sign(np.take_along_axis(step, np.maximum(latest, 0), axis=-1)), 0)
    return ((way[..., 1:] < 0) & (way[..., :-1] > 0)).sum(axis=-1)
