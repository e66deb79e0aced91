"""ECGs -> their parts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
from scipy.optimize import nnls
from scipy.signal import resample_poly

from ecgveil.complexes.parts import (
    BANDS,
    BEFORE_S,
    BURSTS_HZ,
    EDGES_HZ,
    LENGTH,
    QRS_S,
    RATE_HZ,
    T_S,
    Parts,
    electrodes,
    places,
)
from ecgveil.ecg import ECGSet
from ecgveil.measure.beats import r_peaks

LEAST_BEATS = 4
_WANDER = 13  # cosines, up to 0.6 Hz in 10 s
_SMOOTH, _SMALL = 0.05, 1e-2  # weights of the second difference and of the size of a complex
_ROUNDS = 2  # of moving R peaks to where the complex fits best
_FARTHEST_S = 0.008  # that an R peak moves in a round
_TIME_S = np.arange(LENGTH) / RATE_HZ - BEFORE_S


def analyse(
    ecgs: ECGSet, progress: Callable[[int, int], object] = lambda done, total: None
) -> tuple[Parts, np.ndarray, list[np.ndarray]]:
    """Take ECGs apart.

    Parameters
    ----------
    ecgs : of 250 Hz or more; lower rates give smooth complexes
    progress : called with (done, total)

    Returns
    -------
    parts : of the ECGs that have `LEAST_BEATS` beats
    rows : which these are, (n,)
    times : their R times, s, each with one beat more at either end
    """
    mix = electrodes(ecgs.leads)
    found, rows, times = [], [], []
    for row, peaks in enumerate(r_peaks(ecgs)):
        if len(peaks) >= LEAST_BEATS:
            one, r = _one(ecgs.signal[row].astype(float), ecgs.fs, peaks / ecgs.fs, mix)
            found.append(one)
            rows.append(row)
            times.append(r)
        progress(row + 1, len(ecgs))
    columns = [np.array(each, np.float32) for each in zip(*found, strict=True)] if found else [np.empty(0)] * 5
    return Parts(*columns), np.array(rows, int), times


def _one(signal: np.ndarray, fs: float, r: np.ndarray, mix: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """The parts of one ECG, (C, T), and its refined R times."""
    ratio = min(Fraction(1), Fraction(RATE_HZ / fs).limit_denominator(1000))
    slow = resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line").T  # (T', C)
    usual = float(np.median(np.diff(r)))
    r = np.concatenate([[r[0] - usual], r, [r[-1] + usual]])  # a beat may reach in from either side
    for _ in range(_ROUNDS):
        complex_, wander, rest, beats = _fitted(slow, float(fs * ratio), r, usual)
        r = r + _shifts(complex_, rest, beats)
    complex_, wander, rest, beats = _fitted(slow, float(fs * ratio), r, usual)
    amplitudes = _amplitudes(complex_, rest, beats)
    noise, bursts = _noise(rest + wander, float(fs * ratio), beats, mix)
    common = amplitudes.mean(axis=2).std(axis=0)
    return (complex_.T, noise, amplitudes.std(axis=0), common, bursts), r


def _design(length: int, fs: float, r: np.ndarray, usual: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each beat: samples it covers, the place in the complex before each, and how far behind it the sample lies."""
    time = np.arange(length) / fs
    coming = np.append(np.diff(r), usual)
    beats = []
    for at, rr in zip(r, coming, strict=True):
        place = places(time - at, rr, np.array(usual))
        covered = np.flatnonzero((place >= 0) & (place < LENGTH - 1))
        before = place[covered].astype(int)
        beats.append((covered, before, place[covered] - before))
    return beats


def _fitted(
    signal: np.ndarray, fs: float, r: np.ndarray, usual: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray, np.ndarray]]]:
    """Complex (LENGTH, C), wander and rest (T, C) by least squares, and the beats."""
    length = len(signal)
    beats = _design(length, fs, r, usual)
    design = np.zeros((length, LENGTH + _WANDER))
    for covered, before, behind in beats:
        design[covered, before] += 1 - behind
        design[covered, before + 1] += behind
    design[:, LENGTH:] = np.cos(np.pi * np.arange(_WANDER) * (np.arange(length)[:, None] + 0.5) / length)
    second = np.diff(np.eye(LENGTH), 2, axis=0)
    normal = design.T @ design
    normal[:LENGTH, :LENGTH] += _SMOOTH * second.T @ second + _SMALL * np.eye(LENGTH)
    normal[LENGTH:, LENGTH:] += 1e-6 * np.eye(_WANDER)
    solved = np.linalg.solve(normal, design.T @ signal)
    return solved[:LENGTH], design[:, LENGTH:] @ solved[LENGTH:], signal - design @ solved, beats


def _shifts(complex_: np.ndarray, rest: np.ndarray, beats: list) -> np.ndarray:
    """By how much each R peak is to move, s: the rest against the slope of the complex."""
    slope = np.gradient(complex_, 1 / RATE_HZ, axis=0)
    shifts = np.zeros(len(beats))
    for i, (covered, before, _) in enumerate(beats):
        qrs = (_TIME_S[before] >= QRS_S[0]) & (_TIME_S[before] < QRS_S[1])
        if qrs.sum() > 0.5 * (QRS_S[1] - QRS_S[0]) * RATE_HZ:
            d = slope[before[qrs]]
            shifts[i] = -(rest[covered[qrs]] * d).sum() / ((d * d).sum() + 1e-9)
    return np.clip(shifts, -_FARTHEST_S, _FARTHEST_S)


def _amplitudes(complex_: np.ndarray, rest: np.ndarray, beats: list) -> np.ndarray:
    """Share by which QRS and T of each whole beat are larger than usual in each lead, (beats, 2, C)."""
    shares = []
    for covered, before, _ in beats:
        if len(covered) and before[0] == 0 and before[-1] == LENGTH - 2:
            shares.append([])
            for start, stop in (QRS_S, T_S):
                inside = (_TIME_S[before] >= start) & (_TIME_S[before] < stop)
                usual, more = complex_[before[inside]], rest[covered[inside]]
                usual, more = usual - usual.mean(axis=0), more - more.mean(axis=0)
                shares[-1].append((more * usual).sum(axis=0) / ((usual * usual).sum(axis=0) + 1e-2))
    return np.array(shares) if shares else np.zeros((1, 2, complex_.shape[1]))


def _noise(rest: np.ndarray, fs: float, beats: list, mix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of each electrode in each band, (E, BANDS), and the burstiness below and above `BURSTS_HZ`, (2,)."""
    length = len(rest)
    quiet = np.ones(length, bool)  # beats never fit so well that the rest of a QRS would be noise
    for covered, before, _ in beats:
        quiet[covered[(_TIME_S[before] >= QRS_S[0]) & (_TIME_S[before] < QRS_S[1])]] = False
    freqs, spectrum = np.fft.rfftfreq(length, 1 / fs), np.fft.rfft(rest - rest.mean(axis=0), axis=0)
    upper = np.triu_indices(len(mix))
    outer = (mix[:, None] * mix[None])[upper]  # (pairs, E): what a unit of each electrode's power adds to each pair
    power = np.full((mix.shape[1], BANDS), np.nan)
    spreads: list[list[float]] = [[], []]
    for band, (low, high) in enumerate(zip(EDGES_HZ[:-1], EDGES_HZ[1:], strict=True)):
        inside = (freqs >= low) & (freqs < high)
        if not inside.any():
            continue
        y = np.fft.irfft(spectrum * inside[:, None], n=length, axis=0)
        kept = quiet if low > 4 and quiet.sum() > length / 5 else np.ones(length, bool)
        pairs = (y[kept].T @ y[kept])[upper] / kept.sum() / (high - low)
        size = np.trace((y[kept].T @ y[kept])) / kept.sum() / (high - low) / len(mix) + 1e-12
        power[:, band] = nnls(outer, pairs / size)[0] * size
        if low > 1.5:
            spreads[int(low >= BURSTS_HZ)].append(_burstiness((y**2).sum(axis=1), kept, round(2 * fs / low)))
    return power, np.array([np.nanmean(each) if np.isfinite(each).any() else 0.0 for each in spreads])


def _burstiness(power: np.ndarray, kept: np.ndarray, width: int) -> float:
    """Standard deviation of the logarithm of what the power would be without chance, by mean and median of windows."""
    n = len(power) // width
    inside = kept[: n * width].reshape(n, width)
    means = (power[: n * width].reshape(n, width) * inside).sum(axis=1)[inside.mean(axis=1) > 0.5]
    if len(means) < 8:
        return float("nan")
    return float(np.sqrt(2 * np.log(max(1.0, means.mean() / max(np.median(means), 1e-12)))))
