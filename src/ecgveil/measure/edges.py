"""Probabilities of being in a wave -> where the wave begins and ends, finer than a sample."""

from __future__ import annotations

import numpy as np

PRESENT = 0.5  # a wave is there where it is likelier than not
_FADED = 0.03  # beyond where p falls below it, what is left belongs to something else


def edges(
    p: np.ndarray, first: np.ndarray, last: np.ndarray, low: np.ndarray, high: np.ndarray, *, expected: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Onset and offset of one wave in each row: where its probability crosses a half, on both sides of its core.

    p(t) is the probability that t lies in the wave, so before the core it is the probability that the wave has begun by
    t, and the expected onset is the core less the sum of p from there outwards; likewise the offset. The expected place
    has the least squared error for a single wave, but draws what it is unsure of towards the usual durations, and with
    it the spread of a set's durations.

    Parameters
    ----------
    p : (R, T)
    first, last : (R,) the core is sought in first <= t < last
    low, high : (R,) the wave lies in low <= t < high
    expected : the expected places instead of the crossings

    Returns
    -------
    onset, offset : (R,) in samples, NaN where there is no wave
    """
    n, size = p.shape
    if not n or not size:
        return np.full(n, np.nan), np.full(n, np.nan)
    t, row = np.arange(size), np.arange(n)
    inside = np.where((t >= first[:, None]) & (t < last[:, None]), p, 0.0)
    present = inside.max(axis=1) >= PRESENT
    mass = inside.sum(axis=1)
    core = np.rint((inside * t).sum(axis=1) / np.where(mass > 0, mass, 1)).astype(int)
    core = np.where(p[row, core] >= PRESENT, core, inside.argmax(axis=1))
    out = (p < (_FADED if expected else PRESENT)) | (t < low[:, None]) | (t >= high[:, None])
    before = np.where(out & (t < core[:, None]), t, -1).max(axis=1)
    after = np.where(out & (t > core[:, None]), t, size).min(axis=1)
    if expected:
        onset = core - 0.5 - np.where((t > before[:, None]) & (t < core[:, None]), p, 0).sum(axis=1)
        offset = core + 0.5 + np.where((t < after[:, None]) & (t > core[:, None]), p, 0).sum(axis=1)
        return np.where(present, onset, np.nan), np.where(present, offset, np.nan)
    onset = before + _part(p[row, np.maximum(before, 0)], p[row, np.minimum(before + 1, size - 1)])
    offset = after - _part(p[row, np.minimum(after, size - 1)], p[row, np.maximum(after - 1, 0)])
    return np.where(present, onset, np.nan), np.where(present, offset, np.nan)


def _part(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """How far the crossing lies from the sample without towards the one within."""
    return np.clip((PRESENT - outer) / np.maximum(inner - outer, 1e-6), 0, 1)
