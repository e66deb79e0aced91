"""How the beats of a record differ from each other, apart from noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import toeplitz

from ecgveil.complexes.parts import BEFORE_S, LENGTH, RATE_HZ, waves

LEAST_BEATS = 4
TIME_S = np.arange(LENGTH) / RATE_HZ - BEFORE_S
QRS_S, _T_S, _P_S = (-0.06, 0.08), (0.12, 0.50), (-0.22, -0.08)  # where beats are compared
_MEDIAN_SQUARE = 0.455  # of a standard normal number
_MOST_UNTOLD = 4.0  # times the variance that forms account for
_STILL_S, _BUSY_S = (-0.35, -0.23), ((0.14, 0.26), (0.26, 0.38), (0.38, 0.50))  # before P; ST and T
_STILL_FROM_S, _ALONE = 0.65, (0.3, 1.2)  # RR; shares that are believed


class Beat(NamedTuple):
    """Of one beat: samples it covers, the place in the complex before each, and how far behind it the sample lies."""

    covered: np.ndarray
    before: np.ndarray
    behind: np.ndarray

    @property
    def whole(self) -> bool:
        """Whether none of it lies outside the record."""
        return len(self.before) > 0 and self.before[0] == 0 and self.before[-1] >= LENGTH - 3


def variation(
    complex_: np.ndarray, rest: np.ndarray, beats: list[Beat], noise: np.ndarray, alike: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How beats differ, as `Parts` has it, (4, C) and (3,): beyond noise of these autocovariances."""
    whole = [beat for beat in beats if beat.whole]
    channels = complex_.shape[1]
    if len(whole) < 2:
        return np.zeros((4, channels)), np.zeros(3)
    profiles = waves(TIME_S)
    slope = np.gradient(complex_, axis=0) * profiles[0][:, None]
    found: list[np.ndarray] = []
    common = []
    for (start, stop), profile in zip((QRS_S, _T_S, _P_S), profiles, strict=True):
        stretch = inside(start, stop)
        shifts = [] if found else [slope]
        forms = np.stack([each[stretch] for each in (complex_ * profile[:, None], *shifts)])  # (k, samples, C)
        left = np.stack([at_places(rest, beat, stretch) for beat in whole])  # (beats, samples, C)
        forms, left = (each - each.mean(axis=1, keepdims=True) for each in (forms, left))
        left = (left - left.mean(axis=0)) * np.sqrt(len(whole) / (len(whole) - 1))
        sizes, shared = _sizes(forms, left, noise[: stretch.sum()], alike)
        found.append(sizes)
        common.append(shared)
    shift = found[0][1]
    return np.stack([each[0] for each in found] + [shift]), np.array(common)


def _sizes(forms: np.ndarray, left: np.ndarray, together: np.ndarray, alike: np.ndarray) -> tuple[np.ndarray, float]:
    """Standard deviations of how much of each form is in a beat, (k, C), and of what leads share of the first.

    From forms (k, samples, C), what is left of beats (beats, samples, C), the noise's autocovariances (samples, C) and
    its correlations of leads (C, C).
    What no form accounts for and noise does not either is added to all forms alike.
    """
    k, samples, channels = forms.shape
    take = np.empty((channels, k, samples))
    noise = np.empty((channels, k))
    power = np.empty(channels)  # of noise in the stretch, whose mean is taken off
    centre = np.eye(samples) - 1 / samples
    for c in range(channels):
        form = forms[:, :, c]
        take[c] = np.linalg.solve(form @ form.T + 1e-2 * np.diag([1.0, 0.05][:k]), form)
        covariance = centre @ toeplitz(together[:, c]) @ centre
        noise[c] = np.einsum("ks,st,kt->k", take[c], covariance, take[c])
        power[c] = np.trace(covariance)
    noise = np.maximum(noise, 0.0)  # covariances of few samples need not be possible ones
    much = np.einsum("cks,bsc->bkc", take, left)
    variance = np.maximum(_typical(much) - noise.T, 0.0)  # (k, C)
    told = (variance * (forms**2).sum(axis=1)).sum(axis=0)
    there = np.maximum(np.median((left**2).sum(axis=1), axis=0) - power, 0.0)
    scale = np.clip(there / np.maximum(told, 1e-9), 1.0, _MOST_UNTOLD)
    if channels == 1:
        return np.sqrt(variance * scale), 0.0
    first = take[:, 0] / (np.linalg.norm(take[:, 0], axis=1, keepdims=True) + 1e-30)
    by_noise = alike * (first @ first.T) * np.sqrt(np.outer(noise[:, 0], noise[:, 0]))
    pairs = much[:, 0].T @ much[:, 0] / len(much) - by_noise
    shared = pairs[~np.eye(channels, dtype=bool)].mean() * scale.mean()
    return np.sqrt(variance * scale), float(np.sqrt(max(shared, 0.0)))


def _typical(x: np.ndarray) -> np.ndarray:
    """Variances over the first axis, by medians: of most beats, whatever a few of them do."""
    return np.median(x**2, axis=0) / _MEDIAN_SQUARE


def alone(rest: np.ndarray, beats: list[Beat], rr: float) -> float:
    """Which share of what complexes leave over between QRS is noise: as much as before P, where the heart is still.

    As 0.12 s tell it, thus above about 8 Hz: of slower noise it is an assumption.
    """
    whole = [beat for beat in beats if beat.whole]
    if len(whole) < LEAST_BEATS or rr < _STILL_FROM_S:  # T lies where the heart would be still
        return 1.0
    power: list[float] = []
    for start, stop in (_STILL_S, *_BUSY_S):
        left = np.stack([at_places(rest, beat, inside(start, stop)) for beat in whole])
        left = left - left.mean(axis=1, keepdims=True)
        power.append(float(np.median(((left - left.mean(axis=0)) ** 2).mean(axis=(1, 2)))))
    return float(np.clip(power[0] / max(float(np.mean(power[1:])), 1e-12), *_ALONE))


def inside(start: float, stop: float) -> np.ndarray:
    """Samples of a complex from `start` to `stop`, s from R, (LENGTH,) bool."""
    return np.asarray((start <= TIME_S) & (stop > TIME_S))


def at_places(rest: np.ndarray, beat: Beat, stretch: np.ndarray) -> np.ndarray:
    """What is left over at the places `stretch` of a whole beat, (places, C)."""
    at = np.interp(np.flatnonzero(stretch), beat.before + beat.behind, beat.covered)
    low = np.minimum(at.astype(int), len(rest) - 2)
    part = (at - low)[:, None]
    return rest[low] * (1 - part) + rest[low + 1] * part


def together(x: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Autocovariances of x, (T, C), where it is kept; (LENGTH, C) by lag."""
    n = 2 * len(x)
    spectrum = np.fft.rfft(np.where(kept[:, None], x, 0.0), n, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, n, axis=0)[:LENGTH]
    pairs = np.fft.irfft(np.abs(np.fft.rfft(kept.astype(float), n)) ** 2, n)[:LENGTH]
    return products / np.maximum(pairs, 1.0)[:, None]
