"""ECGs -> their parts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.signal import resample_poly

from ecgveil.complexes.odd import Oddities, odd_beats, odd_stretches, taken
from ecgveil.complexes.parts import (
    BANDS,
    BURSTS_HZ,
    EDGES_HZ,
    LENGTH,
    RATE_HZ,
    Parts,
    bands_of,
    coming,
    electrodes,
    places,
)
from ecgveil.complexes.variation import LEAST_BEATS, QRS_S, TIME_S, Beat, alone, inside, together, variation
from ecgveil.ecg import ECGSet
from ecgveil.measure.beats import r_peaks
from ecgveil.rhythm import rhythm_statistics
from ecgveil.threads import side_by_side

_WANDER_HZ = 0.6  # up to which a beat may lie on a slow wave of its own
_SMOOTH = 0.05  # weight of a complex's second difference
# Weight of its size: larger after T, so that in a steady rhythm P is the coming beat's, not the tail of the last one;
# and before P, so that what is constant is wander and the complex begins at 0.
_SMALL = 0.01 + 3 / (1 + np.exp(-(TIME_S - 0.5) / 0.015)) + 2 / (1 + np.exp((TIME_S + 0.3) / 0.01))
_ROUNDS = 2  # of moving R peaks to where the complex fits best
_FARTHEST_S = 0.008  # that an R peak moves in a round
_SECOND = np.diff(np.eye(LENGTH), 2, axis=0)  # second differences of a complex
_NEAR = (TIME_S[1:-1] - 0.01) / 0.035
_BEND = 0.008 + 0.35 * np.exp(-0.5 * _NEAR**2) + 0.06 * np.exp(-0.5 * (_NEAR / 2) ** 2)  # how large these usually are
_STIFF = (_SECOND.T / _BEND**2) @ _SECOND
_LOUD_S = (-0.08, 0.12)  # around R, where beats never fit so well that what is left over would be noise
_WAVES_HZ = 30.0  # up to which P, ST and T may vary
_HELD_HZ = 110.0  # up to which a signal at RATE_HZ holds all that was there
_SLOW_HZ = 4.0  # a band that begins above it is looked at between QRS complexes only
_MUSCLE_HZ = 8.0  # from where on what a complex leaves over is noise, and none of it slow enough for P or T


Progress = Callable[[int, int], object]


def silent(done: int, total: int) -> None:
    """No progress told."""


def readable(ecgs: ECGSet) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of the ECGs that have `LEAST_BEATS` beats and a rhythm that can be read, and their R times in s."""
    times = [peaks / ecgs.fs for peaks in r_peaks(ecgs)]
    rows = [row for row, r in enumerate(times) if len(r) >= LEAST_BEATS and rhythm_statistics(np.diff(r)) is not None]
    return np.array(rows, int), [times[row] for row in rows]


class Taken(NamedTuple):
    """What was found in ECGs.

    Parameters
    ----------
    parts : of the ECGs
    times : their R times, s, where the complex fits best, each with one beat more at either end
    odd : of each its odd beats, which are in no part
    """

    parts: Parts
    times: list[np.ndarray]
    odd: list[Oddities]


def analyse(
    ecgs: ECGSet, times: list[np.ndarray], progress: Progress = silent, scale: np.ndarray | float = 1.0
) -> Taken:
    """Take ECGs apart.

    Parameters
    ----------
    ecgs : at any rate; what lies above 125 Hz is noise, and of low rates complexes are smooth
    times : R times of each in s, as `readable` gives them; of one ECG at least
    progress : called with (done, total)
    scale : what leads are divided by first, (C,)
    """
    per_lead = np.broadcast_to(np.asarray(scale, np.float32), len(ecgs.leads))[:, None]
    mix = electrodes(ecgs.leads)

    def taken_apart(row: int) -> tuple[tuple[np.ndarray, ...], np.ndarray, Oddities]:
        return _one((ecgs.signal[row] / per_lead).astype(float), ecgs.fs, times[row], mix)

    every = []
    for row, each in enumerate(side_by_side(taken_apart, range(len(times)))):
        every.append(each)
        progress(row + 1, len(times))
    found, refined, odd = zip(*every, strict=True)
    columns = [np.array(each, np.float32) for each in zip(*found, strict=True)]
    return Taken(Parts(*columns), list(refined), list(odd))


def _one(
    signal: np.ndarray, fs: float, r: np.ndarray, mix: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray, Oddities]:
    """The parts of one ECG, (C, T), its refined R times and its odd beats."""
    ratio = Fraction(RATE_HZ / fs).limit_denominator(1000)
    usual = float(np.median(np.diff(r)))
    r = np.concatenate([[r[0] - usual], r, [r[-1] + usual]])  # a beat may reach in from either side
    found = r
    slow = resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line").T  # (T', C), at RATE_HZ
    odd = np.zeros(len(r), bool)
    for _ in range(_ROUNDS):
        complex_, wander, rest, beats = _fitted(slow, r, odd)
        odd = odd_beats(complex_, rest, beats)
        r = r + np.where(odd, 0.0, _shifts(complex_, rest, beats))
    if rhythm_statistics(np.diff(r[1:-1])) is None:
        r = found
    complex_, wander, rest, beats = _fitted(slow, r, odd)
    even = ~odd_stretches(odd, beats, len(rest))
    alike_beats = [beat for beat, strange in zip(beats, odd, strict=True) if not strange]
    quiet = _outside_qrs(beats, even)
    calm = _calmed(complex_, rest, min(fs, RATE_HZ), alike_beats, quiet)
    oddities = taken(odd, r, calm, rest, beats)
    rest = rest + _drawn(complex_ - calm, beats, len(rest))
    noise, bursts = _noise(rest + wander, signal.T, fs, even, quiet, mix)
    share = alone(rest, alike_beats, usual)
    noise[:, (EDGES_HZ[:-1] >= _WANDER_HZ) & (EDGES_HZ[1:] < _WAVES_HZ)] *= share
    with np.errstate(invalid="ignore", divide="ignore"):  # a flat lead is like no other
        alike = np.corrcoef(rest[quiet].T) if rest.shape[1] > 1 else np.ones((1, 1))
    apart = [beat for beat in alike_beats if even[beat.covered].all()]  # no odd one lies on their P or T
    varying = apart if sum(beat.whole for beat in apart) >= LEAST_BEATS else alike_beats
    vary = variation(calm, rest, varying, share * together(rest, quiet), np.nan_to_num(alike))
    return (calm.T, noise, *vary, bursts), r, oddities


def _design(length: int, r: np.ndarray) -> list[Beat]:
    time = np.arange(length) / RATE_HZ
    beats = []
    for at, rr in zip(r, coming(r), strict=True):
        place = places(time - at, np.array(rr))
        covered = np.flatnonzero((place >= 0) & (place < LENGTH - 1))
        before = place[covered].astype(int)
        beats.append(Beat(covered, before, place[covered] - before))
    return beats


def _fitted(
    signal: np.ndarray, r: np.ndarray, odd: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Beat]]:
    """Complex (LENGTH, C), wander and rest (T, C) by least squares where no beat is odd, and the beats."""
    length = len(signal)
    beats = _design(length, r)
    cosines = 1 + round(2 * _WANDER_HZ * length / RATE_HZ)
    design = np.zeros((length, LENGTH + cosines))
    for covered, before, behind in beats:
        design[covered, before] += 1 - behind
        design[covered, before + 1] += behind
    design[:, LENGTH:] = np.cos(np.pi * np.arange(cosines) * (np.arange(length)[:, None] + 0.5) / length)
    known = ~odd_stretches(odd, beats, length)
    normal = design[known].T @ design[known]
    normal[:LENGTH, :LENGTH] += _SMOOTH * _SECOND.T @ _SECOND + np.diag(_SMALL)
    normal[LENGTH:, LENGTH:] += 1e-6 * np.eye(cosines)
    solved = np.linalg.solve(normal, design[known].T @ signal[known])
    return solved[:LENGTH], design[:, LENGTH:] @ solved[LENGTH:], signal - design @ solved, beats


def _calmed(complex_: np.ndarray, rest: np.ndarray, fs: float, beats: list[Beat], quiet: np.ndarray) -> np.ndarray:
    """The complex without the noise that the mean of a few beats still holds.

    The most probable one where noise is as strong as what is left over between QRS complexes, and where bends are as
    strong as hearts make them: sharp in QRS, in P, ST and T no sharper than a wave of 20 to 30 ms. Otherwise a
    generator has to learn noise as if it were form.
    """
    noise = _band(_spectrum(_bridged(rest, quiet)), _MUSCLE_HZ, RATE_HZ, RATE_HZ, len(rest))
    # As white noise would have it up to half of RATE_HZ; what was recorded at a lower rate has none above.
    share = (fs / 2 - _MUSCLE_HZ) / (RATE_HZ / 2)
    power = (noise[quiet] ** 2).mean(axis=0) / share + 1e-5  # (C,)
    whole = max(1, sum(beat.whole for beat in beats))
    return np.column_stack(
        [np.linalg.solve(np.eye(LENGTH) + p / whole * _STIFF, y) for p, y in zip(power, complex_.T, strict=True)]
    )


def _drawn(complex_: np.ndarray, beats: list[Beat], length: int) -> np.ndarray:
    """A complex (LENGTH, C) at each beat, (length, C)."""
    y = np.zeros((length, complex_.shape[1]))
    for covered, before, behind in beats:
        y[covered] += complex_[before] * (1 - behind)[:, None] + complex_[before + 1] * behind[:, None]
    return y


def _outside_qrs(beats: list[Beat], even: np.ndarray) -> np.ndarray:
    """Of the `even` samples, (T,) bool, those outside QRS complexes; all of them where these leave too few."""
    quiet = even.copy()
    for covered, before, _ in beats:
        quiet[covered[inside(*_LOUD_S)[before]]] = False
    return quiet if quiet.sum() > len(quiet) / 5 else even


def _bridged(rest: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """The rest with a straight line across what is not quiet: else a filter spreads QRS into what is, (T, C)."""
    at = np.arange(len(rest))
    return np.column_stack([np.interp(at, at[quiet], each[quiet]) for each in rest.T])


def _shifts(complex_: np.ndarray, rest: np.ndarray, beats: list[Beat]) -> np.ndarray:
    """By how much each R peak is to move, s: the rest against the slope of the complex."""
    slope = np.gradient(complex_, 1 / RATE_HZ, axis=0)
    shifts = np.zeros(len(beats))
    for i, (covered, before, _) in enumerate(beats):
        qrs = inside(*QRS_S)[before]
        if qrs.sum() > 0.5 * (QRS_S[1] - QRS_S[0]) * RATE_HZ:
            d = slope[before[qrs]]
            shifts[i] = -(rest[covered[qrs]] * d).sum() / ((d * d).sum() + 1e-9)
    return np.clip(shifts, -_FARTHEST_S, _FARTHEST_S)


def _noise(
    rest: np.ndarray, signal: np.ndarray, fs: float, even: np.ndarray, quiet: np.ndarray, mix: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Power of each electrode in each band, (E, BANDS), and the burstiness below and above `BURSTS_HZ`, (2,).

    From what complexes leave over, (T', C) at RATE_HZ, where no beat is odd; above what that rate holds from the signal
    itself, (T, C) at fs, between QRS complexes, where nothing of a heart is so fast.
    """
    at = np.minimum((np.arange(len(signal)) / fs * RATE_HZ).astype(int), len(rest) - 1)
    whole = _spectrum(_bridged(rest, even)), RATE_HZ, even
    between = _spectrum(_bridged(rest, quiet)), RATE_HZ, quiet
    fastest = (_spectrum(_bridged(signal, quiet[at])), fs, quiet[at]) if fs > RATE_HZ else between
    upper = np.triu_indices(len(mix))
    outer = (mix[:, None] * mix[None])[upper]  # (pairs, E): what a unit of each electrode's power adds to each pair
    power = np.full((mix.shape[1], BANDS), np.nan)
    spreads: list[list[float]] = [[], []]
    for band in range(bands_of(fs)):
        low, high = EDGES_HZ[band], EDGES_HZ[band + 1]
        spectrum, rate, kept = fastest if high > _HELD_HZ else between if low > _SLOW_HZ else whole
        y = _band(spectrum, low, high, rate, len(kept))
        pairs = (y[kept].T @ y[kept])[upper] / kept.sum() / (high - low)
        size = np.trace(y[kept].T @ y[kept]) / kept.sum() / (high - low) / len(mix) + 1e-12
        power[:, band] = nnls(outer, pairs / size)[0] * size
        if low > 1.5:
            width = round(2 * rate / low)
            spreads[int(low >= BURSTS_HZ)].append(_burstiness(y, kept, width, 2 * (high - low) * width / rate))
    return power, np.array([np.nanmean(each) if np.isfinite(each).any() else 0.0 for each in spreads])


def _spectrum(x: np.ndarray) -> np.ndarray:
    """Of x, (T, C), mirrored at its end first: a jump there would lie in every band; (T + 1, C)."""
    return np.fft.rfft(np.concatenate([x, x[::-1]]), axis=0)


def _band(spectrum: np.ndarray, low: float, high: float, fs: float, length: int) -> np.ndarray:
    """What of the `length` samples that have this `_spectrum` lies from low to high Hz, (length, C)."""
    freqs = np.fft.rfftfreq(2 * length, 1 / fs)
    inside = (freqs >= low) & (freqs < high)
    return np.fft.irfft(spectrum * inside[:, None], n=2 * length, axis=0)[:length]


def _burstiness(y: np.ndarray, kept: np.ndarray, width: int, freedom: float) -> float:
    """Standard deviation of the logarithm of power along time, of y (T, C), by mean and median of windows.

    Without what chance adds: `freedom` is that of a window of one lead.
    """
    power = (y**2).sum(axis=1)
    n = len(power) // width
    inside = kept[: n * width].reshape(n, width)
    most = inside.mean(axis=1) > 0.5
    means = (power[: n * width].reshape(n, width) * inside)[most].sum(axis=1) / inside[most].sum(axis=1)
    if len(means) < 8:
        return float("nan")
    covariance = y[kept].T @ y[kept]
    freedom *= np.trace(covariance) ** 2 / max((covariance**2).sum(), 1e-30)  # leads go together
    chance = -3 * np.log(1 - 2 / (9 * max(freedom, 1.0)))  # of chi-squared (Wilson and Hilferty 1931)
    return float(np.sqrt(2 * max(0.0, np.log(means.mean() / max(np.median(means), 1e-12)) - chance)))
