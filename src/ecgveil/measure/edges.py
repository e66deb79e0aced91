"""Probabilities of being in a wave -> where the wave begins and ends, finer than a sample."""

from __future__ import annotations

import numpy as np

PRESENT = 0.5  # a wave is there where it is the likelier
_FADED = 0.03  # below it, what lies further out belongs to something else


def edges(
    p: np.ndarray, first: np.ndarray, last: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Onset and offset of one wave in each row.

    p(t) is the probability that t lies in the wave. Left of the wave's core it is the probability that the wave has
    begun by t, so the expected onset is the core minus the sum of p from there outwards; likewise the offset. Unlike
    the place where p crosses a half, this has the least squared error that p allows.

    Parameters
    ----------
    p : (R, T)
    first, last : (R,) the core is sought in first <= t < last
    low, high : (R,) the wave lies in low <= t < high

    Returns
    -------
    onset, offset : (R,) in samples, NaN where there is no wave
    """
    n, size = p.shape
    if not n or not size:
        return np.full(n, np.nan), np.full(n, np.nan)
    t = np.arange(size)
    inside = np.where((t >= first[:, None]) & (t < last[:, None]), p, 0.0)
    present = inside.max(axis=1) >= PRESENT
    mass = inside.sum(axis=1)
    core = np.rint((inside * t).sum(axis=1) / np.where(mass > 0, mass, 1)).astype(int)
    row = np.arange(n)
    core = np.where(p[row, core] >= PRESENT, core, inside.argmax(axis=1))
    within = (p > _FADED) & (t >= low[:, None]) & (t < high[:, None])
    before, after = t < core[:, None], t > core[:, None]
    gap_before = np.where(before & ~within, t, -1).max(axis=1)
    gap_after = np.where(after & ~within, t, size).min(axis=1)
    onset = core - 0.5 - np.where(before & (t > gap_before[:, None]), p, 0).sum(axis=1)
    offset = core + 0.5 + np.where(after & (t < gap_after[:, None]), p, 0).sum(axis=1)
    return np.where(present, onset, np.nan), np.where(present, offset, np.nan)
