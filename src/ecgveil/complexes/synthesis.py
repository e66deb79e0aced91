"""Parts and R times -> ECGs: in float32, in few large operations that leave Python's lock alone.

What is drawn for a record comes from its own stream; how many are made at a time changes nothing.
"""

from __future__ import annotations

from functools import lru_cache

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
# Where QRS, T and P vary, in samples of a fine complex.
_WHERE = [
    [round((BEFORE_S + each) * RATE_HZ) * _FINER for each in span] for span in ((-0.13, 0.15), (0.02, 1), (-1, 0))
]
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
        fine = _fine(some.complexes)
        hearts = [
            _heart(some, i, fine[i], times[start + i], fs, n_samples, rng, odd or Odd()) for i, rng in enumerate(mine)
        ]
        noises = _noises(some, mix, fs, n_samples, mine + spare).numpy()
        for heart, noise, out in zip(hearts, noises, made[start:], strict=False):
            np.add(heart.T, noise, out=out)
    return made


def _heart(
    parts: Parts, i: int, fine: Tensor, r: np.ndarray, fs: float, n_samples: int, rng: np.random.Generator, odd: Odd
) -> np.ndarray:
    """Complexes of record i at its R peaks, (n_samples, C)."""
    strange = odd.draw(r, parts.complexes[i], rng)
    reach = (r > -_REACH_S) & (r < n_samples / fs + BEFORE_S)
    rr, r = coming(r)[reach], r[reach]
    if not len(r):
        return np.zeros((n_samples, fine.shape[1]), np.float32)
    more = torch.from_numpy(_larger(parts, i, r, rng))
    first = np.ceil((r - BEFORE_S) * fs).astype(int)
    place = _places(first / fs - r, rr, fs)  # (beats, samples)
    drawn = _drawn(fine, place)
    first_place, last_place = place.amin(dim=0), place.amax(dim=0)
    for k, (wave, (start, stop)) in enumerate(zip(_profiles()[1:], _WHERE, strict=True)):
        columns = ((last_place >= start) & (first_place < stop)).nonzero()  # samples that follow each other
        near = slice(int(columns[0]), int(columns[-1]) + 1)
        much = wave[place[:, near].int()][:, :, None]  # (beats, samples, 1)
        if k == SIZES[0]:
            drawn[:, near].addcmul_(_drawn(_slope(fine), place[:, near]) * much, more[:, None, SHIFT], value=-_FINER)
        drawn[:, near].addcmul_(drawn[:, near] * much, more[:, None, k])
    numbers = np.flatnonzero(reach).tolist()
    for number in strange.keys() & set(numbers):
        k = numbers.index(number)
        drawn[k] += _drawn(_fine(strange[number][None])[0], place[k : k + 1])[0]
    length = place.shape[1]
    y = np.zeros((n_samples + 2 * length, fine.shape[1]), np.float32)
    for beat, start in zip(drawn.numpy(), first.tolist(), strict=True):
        if -length < start < n_samples:
            y[length + start : 2 * length + start] += beat
    return y[length : length + n_samples]


def _places(delay: np.ndarray, rr: np.ndarray, fs: float) -> Tensor:
    """Places in a fine complex of beats whose first sample comes `delay` s after R: (beats, samples)."""
    time = (delay[:, None] + np.arange(int(np.ceil((BEFORE_S + _REACH_S) * fs))) / fs).astype(np.float32)
    place = torch.from_numpy(places(time, rr[:, None].astype(np.float32)) * np.float32(_FINER))
    longest = int((place < _FINE).any(dim=0).sum())
    return place[:, :longest].clamp(0, _FINE - 1.001)  # at whose ends a complex is 0


def _drawn(fine: Tensor, place: Tensor) -> Tensor:
    """Of a fine complex (_FINE, C) what is at places (beats, samples) between its samples: (beats, samples, C)."""
    row = torch.empty(*place.shape, 2, dtype=torch.int32)
    row[..., 0] = place
    torch.add(row[..., 0], 1, out=row[..., 1])
    share = torch.empty(*place.shape, 2)
    torch.frac(place, out=share[..., 1])
    torch.sub(1, share[..., 1], out=share[..., 0])
    bags = F.embedding_bag(row.view(-1, 2), fine, mode="sum", per_sample_weights=share.view(-1, 2))
    return bags.view(*place.shape, -1)


def _slope(fine: Tensor) -> Tensor:
    """From each sample of a fine complex to the next, (_FINE, C)."""
    return fine.diff(dim=0, append=fine[-1:])


def _fine(complexes: np.ndarray) -> Tensor:
    """Complexes (n, C, LENGTH) at a finer rate, fading at both ends, (n, _FINE, C)."""
    return (torch.from_numpy(np.ascontiguousarray(complexes, np.float32)) @ _profiles()[0]).transpose(1, 2).contiguous()


@lru_cache
def _profiles() -> tuple[Tensor, ...]:
    """A complex to a fine one that fades at both ends, (LENGTH, _FINE); how much of QRS, T and P is where, (_FINE,)."""
    mirrored = np.concatenate([np.eye(LENGTH), np.eye(LENGTH)[:, ::-1]], axis=1)  # no jump at the end
    finer = fft.irfft(fft.rfft(mirrored, axis=1), n=2 * _FINE, axis=1)[:, :_FINE] * _FINER
    time = np.arange(_FINE) / (RATE_HZ * _FINER) - BEFORE_S
    end = LENGTH / RATE_HZ - BEFORE_S
    fade = 1 / ((1 + np.exp(-(time + BEFORE_S - 0.03) / 0.01)) * (1 + np.exp(-(end - 0.04 - time) / 0.012)))
    fade[[0, -1]] = 0
    return tuple(torch.from_numpy(each.astype(np.float32)) for each in (finer * fade, *waves(time)))


def _larger(parts: Parts, i: int, r: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How each beat differs, (beats, 4, C), as `Parts.variation`: with each breath in all leads, and by chance."""
    breath = np.sin(2 * np.pi * (r / rng.uniform(*_BREATH_S) + rng.random())) * np.sqrt(2)
    together = (breath[:, None] + rng.standard_normal((len(r), len(SIZES)))) / np.sqrt(2)
    drawn = rng.standard_normal((len(r), *parts.variation.shape[1:]), dtype=np.float32)
    drawn *= np.sqrt(_HEAVY / rng.chisquare(_HEAVY, (len(r), 1, 1))).astype(np.float32)  # some beats differ in all
    common, own = parts.common[i], parts.variation[i].copy()
    own[list(SIZES)] = np.sqrt(np.maximum(own[list(SIZES)] ** 2 - common[:, None] ** 2, 0))
    drawn *= own
    drawn[:, SIZES] += (together * common)[:, :, None]
    limit = np.full((len(drawn[0]), 1), _MOST, np.float32)
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
