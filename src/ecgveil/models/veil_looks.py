"""What tells one heart's complexes from another's: the views and simple features that the veil critic judges.

Whoever compares ECGs looks at more than millivolts: how steep, in which band how strong, how one lead goes with the
next. A critic that has to find these by itself needs more records than a clinic has. Complexes are in usual spreads of
their leads, so that 1 is about what a lead varies by.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ecgveil.complexes.parts import BEFORE_S, LENGTH, RATE_HZ
from ecgveil.rhythm import STATISTICS

_BANDS_HZ = np.geomspace(2.0, RATE_HZ / 2 + 0.1, 13)
_LEVELS, _SLOPES = (3, 12, 25, 64, 128, 192, 230, 243, 252), (64, 128, 192, 230, 243, 252)  # of LENGTH, sorted
# From R; beside QRS the others would hardly be seen, and a little of it would outweigh P.
_P_S, _QRS_S, _T_S = (-0.3, -0.07), (-0.06, 0.1), (0.1, 0.56)
_WAVE_LEVELS, _WAVE_SLOPES = (0.02, 0.25, 0.5, 0.75, 0.98), (0.5, 0.8, 0.98)  # shares of a wave's samples, sorted
# Of the QRS complex by its own time: where it has run through these shares of its slopes, those that are steep.
_COMPLEX_S, _STEEP = (-0.12, 0.18), 0.05
_ALONG = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CONSTANT = 1e-3
_TAPER = 20  # samples at either end
_R = int(BEFORE_S * RATE_HZ)
_T_ENDS = (3, 109)  # of the samples of T, sorted
_PART = 0.5  # share of samples that a change is made to: what is sometimes absent cannot leak (Karras 2020)


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C LENGTH + m) -> complexes (B, C, LENGTH) and numbers (B, m), m < LENGTH."""
    n = x.shape[1] // LENGTH
    return x[:, : n * LENGTH].unflatten(1, (n, LENGTH)), x[:, n * LENGTH :]


def views(complexes: Tensor) -> Tensor:
    """(B, C, LENGTH) -> (B, 3 C, LENGTH): as they are; compressed, as P is a twentieth of R; their bends."""
    return torch.cat([complexes / 3, torch.asinh(5 * complexes) / 2, torch.asinh(40 * _bends(complexes)) / 2], dim=1)


def _bends(complexes: Tensor) -> Tensor:
    return F.pad(complexes[:, :, 2:] - 2 * complexes[:, :, 1:-1] + complexes[:, :, :-2], (1, 1))


def simple_features(complexes: Tensor) -> Tensor:
    """Of whole complexes and of their waves, first what each lead has: (B, C, LENGTH) -> (B, k)."""
    (whole, correlation), (waves, times) = _of_wholes(complexes), _of_waves(complexes)
    return _flat(torch.cat([whole, waves], dim=2), torch.cat([correlation, times], dim=1))


def _of_wholes(complexes: Tensor) -> tuple[Tensor, Tensor]:
    """Of each lead log power in bands, levels, log slopes, log size, (B, C, any); of pairs correlation, (B, pairs)."""
    device = complexes.device
    freqs = np.fft.rfftfreq(LENGTH, 1 / RATE_HZ)
    bands = torch.tensor(
        (freqs[:, None] >= _BANDS_HZ[:-1]) & (freqs[:, None] < _BANDS_HZ[1:]), dtype=torch.float32, device=device
    )
    taper = torch.ones(LENGTH, device=device)
    taper[:_TAPER] = torch.hann_window(2 * _TAPER, device=device)[:_TAPER]
    taper[-_TAPER:] = taper[:_TAPER].flip(0)
    centred = complexes - complexes.mean(dim=2, keepdim=True)
    power = torch.log(torch.fft.rfft(centred * taper).abs().square() @ bands + 1e-4)
    size = centred.norm(dim=2, keepdim=True) + 0.05
    unit = centred / size
    above = np.triu_indices(complexes.shape[1], 1)
    correlation = (unit @ unit.transpose(1, 2))[:, *above]
    return torch.cat([power, _levels_and_slopes(complexes, _LEVELS, _SLOPES), torch.log(size)], dim=2), correlation


def _of_waves(complexes: Tensor) -> tuple[Tensor, Tensor]:
    """Levels and log slopes of P and T alone in each lead, (B, C, any); of P, QRS and T when and how long, (B, 6)."""
    p, qrs, t = (complexes[:, :, _sample(start) : _sample(stop)] for start, stop in (_P_S, _QRS_S, _T_S))
    of_leads = [
        _levels_and_slopes(wave, _places(_WAVE_LEVELS, wave.shape[2]), _places(_WAVE_SLOPES, wave.shape[2] - 1))
        for wave in (p, t)
    ]
    return torch.cat(of_leads, dim=2), torch.cat([_when(wave) for wave in (p, qrs, t)], dim=1)


def _levels_and_slopes(x: Tensor, levels: tuple[int, ...], slopes: tuple[int, ...]) -> Tensor:
    """Of x, (B, C, T), its levels and log slopes at these places, sorted: (B, C, k)."""
    steep = _sorted_at(x.diff(dim=2).abs(), slopes)
    return torch.cat([_sorted_at(x, levels), torch.log(steep + 1e-3)], dim=2)


def _sample(time: float) -> int:
    """Which sample of a complex is `time` s after R."""
    return round((time + BEFORE_S) * RATE_HZ)


def _places(shares: tuple[float, ...], length: int) -> tuple[int, ...]:
    return tuple(round(share * (length - 1)) for share in shares)


def _when(wave: Tensor) -> Tensor:
    """Where the slopes of all leads have their centre, and log how far they spread, s: (B, C, T) -> (B, 2)."""
    steep = wave.diff(dim=2).square().sum(dim=1) + 1e-6  # (B, T - 1)
    steep = steep / steep.sum(dim=1, keepdim=True)
    time = torch.arange(steep.shape[1], device=wave.device) / RATE_HZ
    centre = (steep * time).sum(dim=1, keepdim=True)
    spread_ = ((time - centre).square() * steep).sum(dim=1, keepdim=True).sqrt()
    return torch.cat([centre, torch.log(spread_)], dim=1)


def _of_qrs(complexes: Tensor) -> tuple[Tensor, Tensor]:
    """How far each lead is from its level before QRS as QRS goes on and ends, and at the ends of T, (B, C, any); when
    QRS begins, goes on and ends, samples, (B, len(_ALONG)).

    Where QRS is long it ends late, and ST begins at its end, wherever that is: levels at a fixed time after R, though
    each be as in the population, do not show whether the two go together.
    """
    start, stop = (_sample(time) for time in _COMPLEX_S)
    slopes = complexes[:, :, start:stop].diff(dim=2).square().sum(dim=1, keepdim=True).add(1e-8).sqrt()  # (B, 1, T - 1)
    slopes = F.avg_pool1d(slopes, 3, stride=1, padding=1).squeeze(1)
    steep = F.relu(slopes - _STEEP * slopes.amax(dim=1, keepdim=True))
    run = F.pad((steep / steep.sum(dim=1, keepdim=True)).cumsum(dim=1), (1, 0))  # (B, T), from 0 to 1
    shares = torch.tensor(_ALONG, device=run.device).repeat(len(run), 1)
    after = torch.searchsorted(run.detach(), shares).clamp(1, run.shape[1] - 1)
    low, high = run.gather(1, after - 1), run.gather(1, after)
    times = start + after - 1 + ((shares - low) / (high - low + 1e-6)).clamp(0, 1)
    levels = _at(complexes, times)
    t_ends = _sorted_at(complexes[:, :, _sample(_T_S[0]) : _sample(_T_S[1])], _T_ENDS)
    return torch.cat([levels[:, :, 1:], t_ends], dim=2) - levels[:, :, :1], times


def _at(complexes: Tensor, times: Tensor) -> Tensor:
    """Levels of all leads between samples: (B, C, LENGTH) at (B, k) -> (B, C, k)."""
    before = times.detach().long()
    behind = (times - before)[:, None]
    before = before[:, None].expand(-1, complexes.shape[1], -1)
    return complexes.gather(2, before) * (1 - behind) + complexes.gather(2, before + 1) * behind


def _sorted_at(x: Tensor, places: tuple[int, ...]) -> Tensor:
    """What stands at `places` of x, (B, C, T), sorted along time, (B, C, len(places))."""
    if x.device.type == "cpu":  # where NumPy sorts several times as fast
        order = torch.from_numpy(np.argsort(x.detach().numpy(), axis=2)[:, :, list(places)])
    else:
        order = x.detach().argsort(dim=2)[:, :, list(places)]
    return x.gather(2, order)


def spread(features: Tensor) -> Tensor:
    """Usual spreads of columns, (k,): half the way between what in a Gaussian are one standard deviation below and one
    above its middle, so that one artefact does not hide how all others vary. Infinite where a column does not vary."""
    ordered = features.sort(dim=0).values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (0.16, 0.84))
    usual, sd = (high - low) / 2, features.std(dim=0)
    return torch.where(usual > _CONSTANT, usual, torch.where(sd > _CONSTANT, sd, torch.inf))


def _flat(of_leads: Tensor, rest: Tensor) -> Tensor:
    return torch.cat([of_leads.flatten(1), rest], dim=1)


def groups(x: Tensor) -> dict[str, Tensor]:
    """What is to be distributed as in the population, by kind: each (B, any); and the mean RR, (B,)."""
    complexes, numbers = split(x)
    levels = F.avg_pool1d(complexes, 4).flatten(1)
    waves, times = _of_waves(complexes)
    qrs, qrs_times = _of_qrs(complexes)
    return {
        "levels": levels,
        "compressed": torch.asinh(5 * levels),
        "bends": torch.asinh(40 * _bends(complexes)).flatten(1),
        "features": _flat(*_of_wholes(complexes)),
        "waves": waves.flatten(1),
        "times": times,
        "qrs": qrs.flatten(1),
        "qrs times": qrs_times,
        "numbers": numbers,
        "pace": numbers[:, -len(STATISTICS)],
    }


def changed(x: Tensor, gain: float, rng: torch.Generator) -> Tensor:
    """As another recording might have been: gains, leads a little moved, time shifted and stretched, offsets.

    Each change is made to half of the samples, real and synthetic ones alike, so that it cannot leak into what the
    generator makes.
    """
    if not gain:
        return x
    complexes, numbers = split(x)
    b, leads, _ = complexes.shape

    def drawn(*shape: int) -> Tensor:
        return torch.randn(b, *shape, generator=rng)

    def sometimes(*shape: int) -> Tensor:
        return (torch.rand(b, *[1] * len(shape), generator=rng) < _PART) * drawn(*shape)

    gains = torch.exp(gain * (sometimes(1, 1) + sometimes(leads, 1)))
    moved = torch.eye(leads) + 0.08 * sometimes(leads, leads)
    shift, stretch = 1.5 * sometimes(1), torch.exp(0.05 * sometimes(1))  # samples, share
    place = ((torch.arange(LENGTH) - _R) * stretch + _R + shift).clamp(0, LENGTH - 1.001)  # (B, LENGTH)
    offset, grain = 0.02 * drawn(leads, 1), 0.005 * drawn(leads, LENGTH)
    louder = 0.05 * drawn(numbers.shape[1] - len(STATISTICS)) * (1 + 4 * (torch.rand(b, 1, generator=rng) < _PART))
    gains, moved, place, offset, grain, louder = (
        each.to(x.device) for each in (gains, moved, place, offset, grain, louder)
    )

    complexes = _at(moved @ (complexes * gains), place)
    numbers = numbers + F.pad(louder, (0, len(STATISTICS)))  # the rhythm is given, not learned
    return torch.cat([(complexes + offset + grain).flatten(1), numbers], dim=1)
