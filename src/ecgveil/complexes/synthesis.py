"""Parts and R times -> ECGs: in float32, in few large operations that leave Python's lock alone.

What is drawn for a record comes from its own stream; how many are made at a time changes nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy import fft
from torch import Tensor
from torch.nn import functional as F

from ecgveil.complexes.odd import Odd
from ecgveil.complexes.parts import (
    BEFORE_S,
    BURSTS_HZ,
    EDGES_HZ,
    LENGTH,
    RATE_HZ,
    SHIFT,
    SIZES,
    Parts,
    bands_of,
    coming,
    electrodes,
    places,
    waves,
)

_REACH_S = 0.9  # after R, of the longest beat
_ROWS = 8  # records at a time: what is at work stays near the processor
_HEAVY = 8.0  # degrees of freedom of Student's t, by which beats vary
_BREATH_S = (2.5, 6.0)
_MOST = 0.5  # share by which a beat may be larger or smaller
_MOST_SHIFT = 2.0  # samples at RATE_HZ
_KNOT_S = 0.2  # of the noise's bursts
_FINER = 2  # samples of the fine complex for one: between them a straight line is good enough
_FINE = LENGTH * _FINER
_BYTE_SD = float(np.sqrt((2**16 - 1) / 12))  # of whole numbers from -128 to 127


def synthesise(
    parts: Parts,
    times: list[np.ndarray],
    leads: tuple[str, ...],
    fs: float,
    n_samples: int,
    rngs: list[np.random.Generator],
    odd: Odd | None = None,
) -> np.ndarray:
    """Put ECGs together: (n, C, n_samples) float32.

    Parameters
    ----------
    parts : of n ECGs
    times : R times of each, s, from before the record to after its end
    leads, fs, n_samples : of the ECGs
    rngs : of each, for its beats and its noise
    odd : odd beats of the population; None for none
    """
    mix = torch.from_numpy(electrodes(leads).astype(np.float32))
    made = np.empty((len(times), len(leads), n_samples), np.float32)
    for start in range(0, len(times), _ROWS):
        # Always as many: the last bit of a matrix product may depend on how many rows there are.
        rows = np.minimum(np.arange(start, start + _ROWS), len(times) - 1)
        mine = rngs[start : start + _ROWS]
        spare = [np.random.default_rng(0) for _ in range(_ROWS - len(mine))]
        some = parts.take(rows)
        hearts = _hearts(some, times[start : start + _ROWS], fs, n_samples, mine, odd or Odd())
        noises = _noises(some, mix, fs, n_samples, mine + spare).numpy()
        for heart, noise, out in zip(hearts, noises, made[start:], strict=False):
            np.add(heart.T, noise, out=out)
    return made


def _hearts(
    parts: Parts, times: list[np.ndarray], fs: float, n_samples: int, rngs: list[np.random.Generator], odd: Odd
) -> np.ndarray:
    """Complexes of records at their R peaks, (n, n_samples, C): all beats of all records at once.

    In sums and products of NumPy alone, whose last bits do not depend on what is computed beside them.
    """
    channels = parts.complexes.shape[1]
    of, first, delay, rr, more, strange = _beats(parts, times, fs, n_samples, rngs, odd)
    place, length = _places(delay, rr, fs)  # (beats, samples)
    before = place.astype(np.int32)
    rows = before + (of * (_FINE + 1))[:, None]

    def wide(each: np.ndarray) -> np.ndarray:
        """(beats, C) -> (beats, samples, C), whole: NumPy is slow where it has to spread a short row itself."""
        return np.tile(each, (1, length)).reshape(len(each), length, channels)

    value, slope = (np.take(table, rows, axis=0) for table in _tables(parts.complexes))  # (beats, samples, C)
    much = [np.take(_profile(k, channels), before, axis=0) for k in SIZES]
    ahead = np.repeat(place - before, channels, axis=1).reshape(value.shape)
    ahead -= much[SIZES[0]] * wide(_FINER * more[:, SHIFT])
    value += np.multiply(slope, ahead, out=slope)
    larger = np.ones_like(value)
    for k in SIZES:
        larger += np.multiply(much[k], wide(more[:, k]), out=much[k])
    value *= larger
    for beat in np.flatnonzero([each is not None for each in strange]):
        beyond, steps = (np.take(table, before[beat], axis=0) for table in _tables(strange[beat][None]))
        value[beat] += beyond + steps * (place[beat] - before[beat])[:, None]
    y = np.zeros((len(times), n_samples + 2 * length, channels), np.float32)
    for i, begin, drawn in zip(of.tolist(), first.tolist(), value, strict=True):
        if -length < begin < n_samples:
            y[i, length + begin : 2 * length + begin] += drawn
    return y[:, length : length + n_samples]


class _Beats(NamedTuple):
    """Beats that reach into their records: which record's each is, number of its first sample, how long after R that
    is, s, the RR that follows, s, how it differs (beats, 4, C), and what an odd one has beyond (C, LENGTH), None for
    others."""

    of: np.ndarray
    first: np.ndarray
    delay: np.ndarray
    rr: np.ndarray
    more: np.ndarray
    strange: np.ndarray


def _beats(
    parts: Parts, times: list[np.ndarray], fs: float, n_samples: int, rngs: list[np.random.Generator], odd: Odd
) -> _Beats:
    """Those of all records."""
    of = np.repeat(np.arange(len(times)), [len(each) for each in times])
    r, rr = np.concatenate(times), np.concatenate([coming(each) for each in times])
    strange = np.full(len(r), None, object)
    first = 0
    for i, (each, rng) in enumerate(zip(times, rngs, strict=True)):
        for number, form in odd.draw(each, parts.complexes[i], rng).items():
            strange[first + number] = form
        first += len(each)
    more = _larger(parts, of, r, rngs)
    kept = (r > -_REACH_S) & (r < n_samples / fs + BEFORE_S)
    first_sample = np.ceil((r - BEFORE_S) * fs).astype(int)
    return _Beats(*(each[kept] for each in (of, first_sample, first_sample / fs - r, rr, more, strange)))


def _places(delay: np.ndarray, rr: np.ndarray, fs: float) -> tuple[np.ndarray, int]:
    """Places in a fine complex of beats whose first sample comes `delay` s after R: (beats, samples), and how many
    samples these are; places beyond its end are at its end."""
    time = (delay[:, None] + np.arange(int(np.ceil((BEFORE_S + _REACH_S) * fs))) / fs).astype(np.float32)
    place = places(time, rr[:, None].astype(np.float32)) * np.float32(_FINER)
    longest = int((place < _FINE).any(axis=0).sum())
    return np.clip(place[:, :longest], 0, np.float32(_FINE)), longest


def _tables(complexes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Complexes (n, C, LENGTH) -> at a finer rate, fading to 0 at both ends, what they are, and how much the next
    sample adds, both (n (_FINE + 1), C)."""
    n, channels, _ = complexes.shape
    fine = (torch.from_numpy(np.ascontiguousarray(complexes, np.float32)) @ _profiles()[0]).numpy()
    values, slopes = np.zeros((2, n, _FINE + 1, channels), np.float32)
    values[:, :_FINE] = fine.transpose(0, 2, 1)
    np.subtract(values[:, 1:], values[:, :-1], out=slopes[:, :-1])
    return values.reshape(-1, channels), slopes.reshape(-1, channels)


@lru_cache
def _profile(k: int, channels: int) -> np.ndarray:
    """How much of wave k is where in a fine complex, the same for each channel, (_FINE + 1, C)."""
    return np.repeat(_profiles()[1][k][:, None], channels, axis=1)


@lru_cache
def _profiles() -> tuple[Tensor, np.ndarray]:
    """A complex to a fine one that fades at both ends, (LENGTH, _FINE); how much of QRS, T and P is where,
    (3, _FINE + 1)."""
    mirrored = np.concatenate([np.eye(LENGTH), np.eye(LENGTH)[:, ::-1]], axis=1)  # no jump at the end
    finer = fft.irfft(fft.rfft(mirrored, axis=1), n=2 * _FINE, axis=1)[:, :_FINE] * _FINER
    time = np.arange(_FINE) / (RATE_HZ * _FINER) - BEFORE_S
    end = LENGTH / RATE_HZ - BEFORE_S
    fade = 1 / ((1 + np.exp(-(time + BEFORE_S - 0.03) / 0.01)) * (1 + np.exp(-(end - 0.04 - time) / 0.012)))
    fade[[0, -1]] = 0
    much = np.array(waves(np.arange(_FINE + 1) / (RATE_HZ * _FINER) - BEFORE_S), np.float32)
    return torch.from_numpy((finer * fade).astype(np.float32)), much


def _larger(parts: Parts, of: np.ndarray, r: np.ndarray, rngs: list[np.random.Generator]) -> np.ndarray:
    """How each beat differs, (beats, 4, C), as `Parts.variation`: with each breath in all leads, and by chance.

    From R times of records in turn, (beats,), and `of` which record each is, (beats,).
    """
    channels, n = parts.variation.shape[2], len(SIZES)
    beats = np.bincount(of, minlength=len(rngs)).tolist()
    breathing = np.stack([rng.random(2) for rng in rngs])
    normal = np.concatenate(
        [rng.standard_normal((k, n + (n + 1) * channels), np.float32) for rng, k in zip(rngs, beats, strict=True)]
    )
    heavy = np.concatenate([rng.chisquare(_HEAVY, k) for rng, k in zip(rngs, beats, strict=True)])
    period = _BREATH_S[0] + (_BREATH_S[1] - _BREATH_S[0]) * breathing[:, 0]
    breath = np.sin(2 * np.pi * (r / period[of] + breathing[of, 1])) * np.sqrt(2)
    together = (breath[:, None] + normal[:, :n]) / np.sqrt(2)
    drawn = normal[:, n:].reshape(len(r), n + 1, channels)
    drawn = drawn * np.sqrt(_HEAVY / heavy).astype(np.float32)[:, None, None]  # some beats differ in all
    own = parts.variation.copy()
    own[:, SIZES] = np.sqrt(np.maximum(own[:, SIZES] ** 2 - parts.common[:, :, None] ** 2, 0))
    drawn *= own[of]
    drawn[:, SIZES] += (together * parts.common[of])[:, :, None]
    limit = np.full((n + 1, 1), _MOST, np.float32)
    limit[SHIFT] = _MOST_SHIFT
    return np.clip(drawn, -limit, limit, out=drawn)


def _noises(parts: Parts, mix: Tensor, fs: float, n_samples: int, rngs: list[np.random.Generator]) -> Tensor:
    """Noise of leads whose electrodes add to them by `mix`, (C, E): (n, C, n_samples)."""
    known = bands_of(fs)
    between, slow = _between_bands(known, fs, n_samples)
    # Power per Hz -> amplitude of a coefficient, whose real and imaginary parts are drawn.
    size = torch.from_numpy(0.5 * np.log(parts.noise[:, :, :known] + 1e-12)).float()
    gain = torch.exp_(size @ between).mul_(float(np.sqrt(n_samples * fs) / 2))  # (n, E, frequencies)
    gain[:, :, 0] = 0
    sensors, fast = gain.shape[1], gain.shape[2] - slow
    strength = _strength(parts.bursts, fs, n_samples, rngs)
    drawn = torch.from_numpy(np.stack([rng.standard_normal((sensors, slow, 2), dtype=np.float32) for rng in rngs]))
    made = torch.fft.irfft(_of_leads(drawn, gain[:, :, :slow], mix), n=n_samples).mul_(strength[:, :1])
    # The fast ones evenly, from bytes, which is quick: in time, where thousands add up, as good as Gaussian; the
    # periodogram of a whole record without bursts is smoother than it would be.
    even = np.frombuffer(b"".join(rng.bytes(sensors * fast * 2) for rng in rngs), np.int8).astype(np.float32)
    drawn = torch.from_numpy(even).add_(0.5).mul_(1 / _BYTE_SD).view(len(rngs), sensors, fast, 2)
    spectrum = F.pad(_of_leads(drawn, gain[:, :, slow:], mix), (slow, 0))
    return made.addcmul_(torch.fft.irfft(spectrum, n=n_samples), strength[:, 1:])


def _of_leads(drawn: Tensor, gain: Tensor, mix: Tensor) -> Tensor:
    """Of electrodes (n, E, f, 2), by how much (n, E, f), mixed (C, E) -> coefficients of leads, complex (n, C, f)."""
    return torch.view_as_complex((mix @ (drawn * gain[..., None]).flatten(2)).unflatten(2, (-1, 2)))


def _strength(bursts: np.ndarray, fs: float, n_samples: int, rngs: list[np.random.Generator]) -> Tensor:
    """How loud noise is along time, slow and fast, (n, 2, n_samples), from burstinesses (n, 2)."""
    weights = _knots(fs, n_samples)
    each = bursts.astype(np.float32)[:, :, None]
    drawn = each * np.stack([rng.standard_normal((2, len(weights)), dtype=np.float32) for rng in rngs])
    return torch.exp_((torch.from_numpy(drawn) @ weights).sub_(torch.from_numpy(0.5 * each**2)).mul_(0.5))


@lru_cache(maxsize=4)
def _knots(fs: float, n_samples: int) -> Tensor:
    """Of levels drawn at knots how much each is of the level at each sample, as strong there as at a knot."""
    place = np.arange(n_samples) / fs / _KNOT_S
    weights = np.maximum(1 - np.abs(place - np.arange(int(place[-1]) + 2)[:, None]), 0)
    return torch.from_numpy((weights / np.sqrt((weights**2).sum(axis=0))).astype(np.float32))


@lru_cache(maxsize=4)
def _between_bands(known: int, fs: float, n_samples: int) -> tuple[Tensor, int]:
    """Weights of the first `known` bands at each frequency, (known, n_samples // 2 + 1), and how many of these are
    slow: linear in the logarithm of frequency between the bands' centres."""
    freqs = fft.rfftfreq(n_samples, 1 / fs)
    centre = np.log(np.sqrt(EDGES_HZ[:-1] * EDGES_HZ[1:]))[:known]
    where = np.log(np.maximum(freqs, EDGES_HZ[0]))
    weights = np.stack([np.interp(where, centre, each) for each in np.eye(known)])
    return torch.from_numpy(weights.astype(np.float32)), int((freqs < BURSTS_HZ).sum())
