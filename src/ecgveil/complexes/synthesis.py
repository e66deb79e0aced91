"""Parts and R times -> ECGs, a block of records at a time."""

from __future__ import annotations

import numpy as np

from ecgveil.complexes.parts import (
    BEFORE_S,
    BURSTS_HZ,
    EDGES_HZ,
    LENGTH,
    RATE_HZ,
    Parts,
    electrodes,
    places,
)

_BREATH_S = (2.5, 6.0)
_QRS_CENTRE_S, _QRS_WIDTH_S = 0.01, 0.045  # where the amplitude of QRS varies
_T_FROM_S, _T_WITHIN_S = 0.12, 0.02
_MOST = 0.5  # share by which a beat may be larger or smaller
_KNOT_S = 0.2  # of the noise's bursts
_FINER = 2  # samples of the fine complex for one: between them a straight line is good enough


def synthesise(
    parts: Parts,
    times: list[np.ndarray],
    leads: tuple[str, ...],
    fs: float,
    n_samples: int,
    rngs: list[np.random.Generator],
) -> np.ndarray:
    """Put ECGs together: (n, C, n_samples) float32.

    Parameters
    ----------
    parts : of n ECGs
    times : R times of each, s, from before the record to after its end
    leads, fs, n_samples : of the ECGs
    rngs : of each, for its beats and its noise
    """
    mix = electrodes(leads).astype(np.float32)
    made = np.empty((len(times), len(leads), n_samples), np.float32)
    for i, (r, rng) in enumerate(zip(times, rngs, strict=True)):
        heart = _heart(parts, i, r, fs, n_samples, rng)
        made[i] = heart + mix @ _noise(parts, i, fs, n_samples, rng)
    return made


def _heart(parts: Parts, i: int, r: np.ndarray, fs: float, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Complexes at their R peaks, (C, n_samples)."""
    fine, fade, qrs, t_wave = _fine(parts.complexes[i])
    usual = float(np.median(np.diff(r)))
    coming = np.append(np.diff(r), usual)
    more = _larger(parts, i, r, rng)  # (beats, 2, C)
    y = np.zeros((len(fine), n_samples), np.float32)
    for beat, (at, rr) in enumerate(zip(r, coming, strict=True)):
        first = max(0, int(np.ceil((at - BEFORE_S) * fs)))
        last = min(n_samples, int((at + 1.5 * LENGTH / RATE_HZ) * fs))
        if last <= first:
            continue
        place = places(np.arange(first, last) / fs - at, np.array(rr), np.array(usual)) * _FINER
        inside = np.flatnonzero((place >= 0) & (place < fine.shape[1] - 1))
        before = place[inside].astype(int)
        behind = (place[inside] - before).astype(np.float32)
        own = fine * fade * (1 + more[beat, 0][:, None] * qrs + more[beat, 1][:, None] * t_wave)
        y[:, first + inside] += own[:, before] * (1 - behind) + own[:, before + 1] * behind
    return y


def _fine(complex_: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A complex at a finer rate (C, _FINER LENGTH), its fading at both ends, and where QRS and T are."""
    n = LENGTH * _FINER
    spectrum = np.fft.rfft(
        np.concatenate([complex_, complex_[:, ::-1]], axis=1), axis=1
    )  # mirrored: no jump at the end
    fine = np.fft.irfft(spectrum, n=2 * n, axis=1)[:, :n].astype(np.float32) * _FINER
    time = np.arange(n) / (RATE_HZ * _FINER) - BEFORE_S
    end = LENGTH / RATE_HZ - BEFORE_S
    fade = 1 / ((1 + np.exp(-(time + BEFORE_S - 0.03) / 0.01)) * (1 + np.exp(-(end - 0.04 - time) / 0.012)))
    qrs = np.exp(-0.5 * ((time - _QRS_CENTRE_S) / _QRS_WIDTH_S) ** 2)
    t_wave = 1 / (1 + np.exp(-(time - _T_FROM_S) / _T_WITHIN_S))
    return fine, *(each.astype(np.float32) for each in (fade, qrs, t_wave))


def _larger(parts: Parts, i: int, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share by which QRS and T of each beat are larger, (beats, 2, C): with each breath in all leads, and by chance."""
    breath = np.sin(2 * np.pi * (r / rng.uniform(*_BREATH_S) + rng.random())) * np.sqrt(2)
    common, spread = parts.common[i], parts.spread[i]  # (2,), (2, C)
    shared = breath[:, None, None] * (np.array([0.6, 0.35]) * common)[None, :, None]
    rest = np.sqrt(np.maximum(spread**2 - (0.8 * common[:, None]) ** 2, 0)) * np.array([[0.7], [0.4]])
    return np.clip(shared + rest * rng.standard_normal((len(r), *rest.shape)), -_MOST, _MOST).astype(np.float32)


def _noise(parts: Parts, i: int, fs: float, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Of the electrodes, (E, n_samples)."""
    power = parts.noise[i]
    freqs = np.fft.rfftfreq(n_samples, 1 / fs)
    centre = np.sqrt(EDGES_HZ[:-1] * EDGES_HZ[1:])
    known = np.isfinite(power).all(axis=0)
    where = np.log(np.maximum(freqs, EDGES_HZ[0]))
    gain = np.stack([np.interp(where, np.log(centre[known]), np.log(each[known] + 1e-12)) for each in power])
    gain = np.exp(0.5 * gain) * np.sqrt(n_samples * fs) / 2  # power per Hz -> amplitude of a coefficient
    gain[:, freqs < EDGES_HZ[0]] = 0
    drawn = rng.standard_normal((2, *gain.shape))
    spectrum = (drawn[0] + 1j * drawn[1]) * gain
    slow = freqs < BURSTS_HZ
    time = np.arange(n_samples) / fs
    made = np.zeros((len(power), n_samples))
    for part, burst in zip((spectrum * slow, spectrum * ~slow), parts.bursts[i], strict=True):
        knots = rng.standard_normal(int(time[-1] / _KNOT_S) + 3)
        level = np.interp(time, np.arange(len(knots)) * _KNOT_S, knots)
        made += np.fft.irfft(part, n=n_samples, axis=1) * np.exp(0.5 * (burst * level - 0.5 * burst**2))
    return made.astype(np.float32)
