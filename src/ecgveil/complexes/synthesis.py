"""Parts and R times -> ECGs: all beats of a record at once, in float32, about 2 ms a record of 10 s at 500 Hz."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from scipy import fft

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
_LONGEST_S = 1.5 * LENGTH / RATE_HZ  # after R that a stretched complex may reach


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
        made[i] = _heart(parts, i, r, fs, n_samples, rng).T
        made[i] += mix @ _noise(parts, i, fs, n_samples, rng)
    return made


def _heart(parts: Parts, i: int, r: np.ndarray, fs: float, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Complexes at their R peaks, (n_samples, C)."""
    fine = _fine(parts.complexes[i])
    _, qrs, t_wave = _places_of_waves()
    coming = np.append(np.diff(r), np.median(np.diff(r)))
    more = _larger(parts, i, r, rng)  # (beats, 2, C)
    first = np.ceil((r - BEFORE_S) * fs).astype(int)
    sample = first[:, None] + np.arange(int((BEFORE_S + _LONGEST_S) * fs))  # (beats, samples)
    place = places(sample / fs - r[:, None], coming[:, None]) * _FINER
    inside = (sample >= 0) & (sample < n_samples) & (place >= 0) & (place < len(fine) - 1)
    beat, _ = np.nonzero(inside)
    place, sample = place[inside], sample[inside]
    before = place.astype(np.intp)
    behind = (place - before).astype(np.float32)[:, None]
    drawn = fine[before] * (1 - behind) + fine[before + 1] * behind  # (samples of all beats, C)
    drawn *= 1 + more[beat, 0] * qrs[before, None] + more[beat, 1] * t_wave[before, None]
    y = np.zeros((n_samples, fine.shape[1]), np.float32)
    ends = np.searchsorted(beat, np.arange(len(r) + 1))
    for start, stop in itertools.pairwise(ends):  # the samples of one beat follow each other
        if stop > start:
            y[sample[start] : sample[start] + stop - start] += drawn[start:stop]
    return y


def _fine(complex_: np.ndarray) -> np.ndarray:
    """A complex (C, LENGTH) at a finer rate, fading at both ends, (_FINER LENGTH, C)."""
    mirrored = np.concatenate([complex_, complex_[:, ::-1]], axis=1)  # no jump at the end
    n = LENGTH * _FINER
    fine = fft.irfft(fft.rfft(mirrored, axis=1), n=2 * n, axis=1)[:, :n] * _FINER
    return np.ascontiguousarray((fine * _places_of_waves()[0]).T, dtype=np.float32)


@lru_cache
def _places_of_waves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a fine complex: its fading at both ends, and how much QRS and T are there, each (_FINER LENGTH,)."""
    time = np.arange(LENGTH * _FINER) / (RATE_HZ * _FINER) - BEFORE_S
    end = LENGTH / RATE_HZ - BEFORE_S
    fade = 1 / ((1 + np.exp(-(time + BEFORE_S - 0.03) / 0.01)) * (1 + np.exp(-(end - 0.04 - time) / 0.012)))
    qrs = np.exp(-0.5 * ((time - _QRS_CENTRE_S) / _QRS_WIDTH_S) ** 2)
    t_wave = 1 / (1 + np.exp(-(time - _T_FROM_S) / _T_WITHIN_S))
    return fade.astype(np.float32), qrs.astype(np.float32), t_wave.astype(np.float32)


def _larger(parts: Parts, i: int, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Share by which QRS and T of each beat are larger, (beats, 2, C): with each breath in all leads, and by chance."""
    breath = np.sin(2 * np.pi * (r / rng.uniform(*_BREATH_S) + rng.random())) * np.sqrt(2)
    common, spread = parts.common[i], parts.spread[i]  # (2,), (2, C)
    shared = breath[:, None, None] * (np.array([0.6, 0.35]) * common)[None, :, None]
    rest = np.sqrt(np.maximum(spread**2 - (0.8 * common[:, None]) ** 2, 0)) * np.array([[0.7], [0.4]])
    return np.clip(shared + rest * rng.standard_normal((len(r), *rest.shape)), -_MOST, _MOST).astype(np.float32)


def _noise(parts: Parts, i: int, fs: float, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Of the electrodes, (E, n_samples)."""
    power = parts.noise[i]  # (E, BANDS)
    known = int(np.isfinite(power).all(axis=0).sum())
    between, slow = _between_bands(known, fs, n_samples)
    # Power per Hz -> amplitude of a coefficient, whose real and imaginary parts are drawn.
    gain = np.exp(0.5 * (np.log(power[:, :known] + 1e-12).astype(np.float32) @ between))
    gain *= np.float32(np.sqrt(n_samples * fs) / 2)
    gain[:, 0] = 0
    drawn = rng.standard_normal((*gain.shape, 2), dtype=np.float32)
    drawn *= gain[:, :, None]
    spectrum = drawn.view(np.complex64)[:, :, 0]
    fast = spectrum.copy()
    fast[:, :slow] = 0
    spectrum[:, slow:] = 0
    time = np.arange(n_samples) / fs
    knots = np.arange(int(time[-1] / _KNOT_S) + 3) * _KNOT_S
    made = np.zeros(1, np.float32)
    for part, burst in zip((spectrum, fast), parts.bursts[i], strict=True):
        level = np.interp(time, knots, rng.standard_normal(len(knots)))
        strength = np.exp(0.5 * (burst * level - 0.5 * burst**2)).astype(np.float32)
        made = made + fft.irfft(part, n=n_samples, axis=1) * strength
    return made


@lru_cache(maxsize=4)
def _between_bands(known: int, fs: float, n_samples: int) -> tuple[np.ndarray, int]:
    """Weights of the first `known` bands at each frequency, (known, n_samples // 2 + 1), and how many of these are
    slow: linear in the logarithm of frequency between the bands' centres."""
    freqs = fft.rfftfreq(n_samples, 1 / fs)
    centre = np.log(np.sqrt(EDGES_HZ[:-1] * EDGES_HZ[1:]))[:known]
    where = np.log(np.maximum(freqs, EDGES_HZ[0]))
    weights = np.stack([np.interp(where, centre, each) for each in np.eye(known)])
    return weights.astype(np.float32), int((freqs < BURSTS_HZ).sum())
