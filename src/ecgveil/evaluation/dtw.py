"""Dynamic time warping of single waves, many pairs at once."""

from __future__ import annotations

import numpy as np

from ecgveil.errors import EvaluationError

_PAIRS = 2**12  # compared at once: what one anti-diagonal needs of them stays in the processor's cache


def dtw(x: np.ndarray, y: np.ndarray, band: int) -> np.ndarray:
    """Root mean square difference of two waves along the best warping of time, in their unit.

    The least sum of squared differences over warping paths (Sakoe and Chiba, IEEE Trans ASSP 26:43, 1978: steps of one
    sample in either or both, no slope weights) that stay within `band` samples of the diagonal, divided by the waves'
    length, under the root. So it is at most the plain root mean square difference, which it equals for a band of 0.

    Computed by anti-diagonals of the cost matrix, each for all pairs at once.

    Parameters
    ----------
    x, y : (..., T), of equal T; what is before T is broadcast, as (n, 1, T) and (m, T) give all pairs
    band : samples, 0 or more

    Returns
    -------
    (...)

    Raises
    ------
    EvaluationError
        Lengths differ, are 0, the band is negative, or values are not finite.

    >>> [round(float(dtw([0.0, 0, 1, 0, 0], [0.0, 0, 0, 1, 0], band)), 3) for band in (0, 1)]
    [0.632, 0.0]
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    _check(x, y, band)
    length = x.shape[-1]
    rank = max(x.ndim, y.ndim)
    x, y = (np.moveaxis(each.reshape((1,) * (rank - each.ndim) + each.shape), -1, 0).copy() for each in (x, y))
    y = y[::-1].copy()  # along an anti-diagonal x goes up and y goes down
    shape = np.broadcast_shapes(x.shape[1:], y.shape[1:])
    # Of the last two anti-diagonals, at row i + 1 of the matrix; what is outside the band stays infinite.
    before, last, new = (np.full((length + 1, *shape), np.inf) for _ in range(3))
    before[0] = 0.0
    for total in range(2 * length - 1):
        low = max(0, total - length + 1, (total - band + 1) // 2)
        high = min(total, length - 1, (total + band) // 2)
        if low > high:  # band 0: every other anti-diagonal is empty
            before, last, new = last, new, before
            new.fill(np.inf)
            last.fill(np.inf)
            continue
        rows = slice(low + 1, high + 2)
        cost = x[low : high + 1] - y[length - 1 - total + low : length - total + high]
        cost *= cost
        reached = np.minimum(last[low : high + 1], last[rows])
        np.minimum(reached, before[low : high + 1], out=reached)
        new[rows] = reached + cost
        new[low] = np.inf
        new[high + 2 : high + 3] = np.inf
        before, last, new = last, new, before
    return np.sqrt(last[length] / length)[()]


def dtw_matrix(x: np.ndarray, y: np.ndarray, band: int) -> np.ndarray:
    """`dtw` of every wave of x with every wave of y, (n, T) and (m, T) -> (n, m)."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2:
        raise EvaluationError(f"waves have shapes {x.shape} and {y.shape}; give (waves, samples)")
    step = max(1, _PAIRS // max(1, len(y)))
    blocks = [dtw(x[start : start + step, None], y[None], band) for start in range(0, len(x), step)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(y)))


def _check(x: np.ndarray, y: np.ndarray, band: int) -> None:
    if not x.ndim or not y.ndim or x.shape[-1] != y.shape[-1] or not x.shape[-1]:
        raise EvaluationError(f"waves have shapes {x.shape} and {y.shape}; give waves of one length, over 0")
    if band < 0:
        raise EvaluationError(f"band is {band}; it must be 0 samples or more")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise EvaluationError("waves hold values that are not finite; repair or leave out those records")
