"""What a network that learned from real ECGs alone sees in ECGs: the second representation for `distribution`.

The encoder learns without labels, from half of the train part's patients. Two tasks: two stretches of one record shall
look alike, with numbers that do not repeat each other (Barlow Twins; Zbontar et al., ICML 2021), so that it sees what
tells people's ECGs apart; and it shall name what was done to a damaged ECG, so that it sees what no heart does. The
other half of the train part makes the floor: a network packs the records it learned from more tightly than new ones,
which would make them lie apart from holdout ECGs, and a floor of them too lenient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor, nn
from torch.nn import functional as F

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.distribution import FARTHEST, Sets, distribution_metrics
from ecgveil.evaluation.metric import LEAST_N, Metric
from ecgveil.evaluation.network import Progress, ResNet1d, descent
from ecgveil.leads import DERIVED, LEADS_12, pick

FS_HZ = 250.0
LONGEST_S = 10.0  # of a record that is looked at
CROP_S = 5.0  # that the encoder sees at once
DIMENSIONS = 16  # few, so that their covariance can be estimated from a hundred ECGs
STEPS, BATCH = 200, 64
REDUNDANCY = 0.3  # weight of correlations between the numbers
DITHER = 0.005  # of a lead's spread: damaging an ECG destroys the grid of its converter, which is not to be seen
MOST = 20.0  # scaled samples end here
LEAST_VARIANCE = 1e-3  # of the largest: directions with less are not blown up to it
_ROWS = 64

Corruption = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def prepare(ecgs: ECGSet) -> np.ndarray:
    """ECGs as the encoder takes them: leads that do not follow from others, in standard order, 250 Hz, mean 0.

    Returns
    -------
    float32 (n, C, T), at most the first 10 s, in the set's unit
    """
    free = [lead for lead in LEADS_12 if lead in ecgs.leads]
    if {"I", "II"} <= set(free):
        free = [lead for lead in free if lead not in DERIVED]
    ratio = Fraction(FS_HZ / ecgs.fs).limit_denominator(1000)
    blocks = []
    for start in range(0, len(ecgs), _ROWS):
        signal = ecgs.signal[start : start + _ROWS, :, : round(LONGEST_S * ecgs.fs)]
        signal = pick(signal, ecgs.leads, tuple(free))
        if ratio != 1:
            signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
        blocks.append((signal - signal.mean(axis=-1, keepdims=True)).astype(np.float32))
    if not blocks:
        raise EvaluationError("a set has no ECGs; give at least one")
    return np.concatenate(blocks)


class _Network(nn.Module):
    """(B, 2 C, T) -> (B, DIMENSIONS) by `embed`; and from there the logits of what was done to the ECG."""

    def __init__(self, channels: int, kinds: int):
        super().__init__()
        self.embed = ResNet1d(channels, DIMENSIONS)
        self.name = nn.Sequential(nn.BatchNorm1d(DIMENSIONS), nn.Linear(DIMENSIONS, kinds))


@dataclass(frozen=True, eq=False)
class Encoder:
    """A fitted encoder.

    Parameters
    ----------
    network : (B, 2 C, T) -> (B, DIMENSIONS)
    spread : (2, C, 1) of the leads and of their second differences, in the records it learned from
    crop : samples it saw at once
    mean : (DIMENSIONS,) of those records' features
    root : (DIMENSIONS, DIMENSIONS) what makes those features uncorrelated, each of variance 1
    """

    network: ResNet1d
    spread: np.ndarray
    crop: int
    mean: np.ndarray
    root: np.ndarray


def fit_encoder(train: np.ndarray, *, seed: int, steps: int = STEPS, progress: Progress | None = None) -> Encoder:
    """Train an encoder on real ECGs, without labels.

    Parameters
    ----------
    train : float32 (n, C, T) of `prepare`, n at least 2
    seed : of initial weights, batches, crops and damage
    steps : batches of 64 records; the learning rate rises and falls over them (AdamW, one cycle)
    progress : called with (done, total) steps

    Raises
    ------
    EvaluationError
        `train` is no such array, or has less than 2 records.
    """
    _check(train, least=2)
    rng = np.random.default_rng([seed, 40])
    spread, crop = _spread(train), min(round(CROP_S * FS_HZ), train.shape[2])
    kinds = CORRUPTIONS if train.shape[1] > 1 else CORRUPTIONS[:-2]  # the last two need several leads
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _Network(2 * train.shape[1], 1 + len(kinds))
    descend = descent(network, steps)
    network.train()
    batch, waiting = min(BATCH, len(train)), np.empty(0, int)
    for step in range(steps):
        if len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(len(train))])
        rows, waiting = waiting[:batch], waiting[batch:]
        one, two, third = (_crops(train, rows, crop, rng) / spread[0] for _ in range(3))
        done = rng.integers(len(kinds), size=batch)
        loss = _loss(network, (one, two, _damaged(third, [kinds[i] for i in done], rng)), done, spread, rng)
        descend(loss)
        if progress:
            progress(step + 1, steps)
    return _whitened(network.embed.eval(), spread, crop, train)


def embed(encoder: Encoder, x: np.ndarray) -> np.ndarray:
    """Features of ECGs, scaled as the ECGs ask that the encoder learned from; means over stretches of 5 s.

    Parameters
    ----------
    x : float32 (n, C, T) of `prepare`

    Returns
    -------
    (n, DIMENSIONS), finite
    """
    _check(x, least=1)
    if x.shape[1] != encoder.spread.shape[1]:
        raise EvaluationError(f"ECGs have {x.shape[1]} leads, the encoder learned from {encoder.spread.shape[1]}")
    scaled = (_raw(encoder.network, encoder.spread, encoder.crop, x) - encoder.mean) @ encoder.root
    return np.clip(scaled, -FARTHEST, FARTHEST)


def encoder_metrics(
    train: np.ndarray,
    holdout: np.ndarray,
    synthetic: np.ndarray,
    patient_id: Sets,
    *,
    seed: int,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> list[Metric]:
    """`distribution_metrics` of what an encoder sees: half of the train patients to learn from, the others for a floor.

    Parameters
    ----------
    train, holdout, synthetic : float32 (n, C, T) of `prepare`; of records longer than others the start is taken
    patient_id : (n,) of each of the three
    seed, steps, progress : of `fit_encoder`; the seed also of the halves and the draws

    Returns
    -------
    list of Metric
        Without values where less than `LEAST_N` patients are on a side, so with less than twice as many in train.

    Raises
    ------
    EvaluationError
        Arrays do not fit each other, or a set has not one patient for each record.
    """
    _check_sets((train, holdout, synthetic), patient_id)
    people = np.unique(patient_id[0])
    kept = np.random.default_rng([seed, 41]).permutation(people)[: max(1, len(people) // 2)]
    learns = ~np.isin(patient_id[0], kept)
    persons = (np.asarray(patient_id[0])[~learns], *patient_id[1:])
    length = min(each.shape[2] for each in (train, holdout, synthetic))
    shown = tuple(each[:, :, :length] for each in (train[~learns], holdout, synthetic))
    if min(len(np.unique(each)) for each in persons) < LEAST_N:
        features = [np.zeros((len(each), DIMENSIONS)) for each in shown]  # nothing is computed from so few
    else:
        encoder = fit_encoder(train[learns, :, :length], seed=seed, steps=steps, progress=progress)
        features = [embed(encoder, each) for each in shown]
    return distribution_metrics(features[0], features[1], features[2], persons, seed=seed, representation="encoder")


def _loss(network: _Network, crops: Sets, done: np.ndarray, spread: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Of three batches in the same order of records: two stretches, and a damaged one of which `done` says how."""
    n = len(done)
    x = np.concatenate(crops).astype(np.float32)
    x += DITHER * rng.standard_normal(x.shape, dtype=np.float32)
    features = network.embed(torch.from_numpy(_channels(x, spread)))
    one, two, damaged = features.split(n)
    target = np.concatenate([np.zeros(n, int), 1 + done])
    named = F.cross_entropy(network.name(torch.cat([one, damaged])), torch.from_numpy(target))
    return named + _redundancy(one, two)


def _redundancy(one: Tensor, two: Tensor) -> Tensor:
    """How far the correlations between the numbers of two stretches are from the identity (Barlow Twins)."""
    one, two = ((each - each.mean(dim=0)) / (each.std(dim=0) + 1e-4) for each in (one, two))
    correlation = one.T @ two / (len(one) - 1)
    own = correlation.diagonal()
    others = (correlation.pow(2).sum() - own.pow(2).sum()) / len(own)
    return (1 - own).pow(2).mean() + REDUNDANCY * others


def _whitened(network: ResNet1d, spread: np.ndarray, crop: int, x: np.ndarray) -> Encoder:
    features = _raw(network, spread, crop, x)
    mean = features.mean(axis=0)
    variance, directions = np.linalg.eigh(np.cov(features.T))
    root = directions / np.sqrt(np.maximum(variance, max(LEAST_VARIANCE * variance[-1], 1e-12)))
    return Encoder(network, spread, crop, mean, root)


@torch.no_grad()
def _raw(network: ResNet1d, spread: np.ndarray, crop: int, x: np.ndarray) -> np.ndarray:
    """Means over stretches of `crop` samples, (n, C, T) -> (n, DIMENSIONS); of one shorter stretch where T is less."""
    length = min(crop, x.shape[2])
    starts = range(0, x.shape[2] - length + 1, length)
    total = np.zeros((len(x), DIMENSIONS))
    for row in range(0, len(x), _ROWS):
        block = slice(row, row + _ROWS)
        for start in starts:
            seen = _channels(x[block, :, start : start + length] / spread[0], spread)
            total[block] += network(torch.from_numpy(seen)).numpy()
    return total / len(starts)


def _channels(x: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Scaled leads, and their second differences, scaled too, as what is fast is small: (n, C, T) -> (n, 2 C, T)."""
    both = np.concatenate([x, _sharp(x) / spread[1]], axis=1)
    return np.clip(both, -MOST, MOST).astype(np.float32)


def _sharp(x: np.ndarray) -> np.ndarray:
    return np.pad(np.diff(x, 2, axis=2), ((0, 0), (0, 0), (1, 1)))


def _spread(x: np.ndarray) -> np.ndarray:
    """(2, C, 1): median over the records of a lead's SD, and of the SD of its second difference once it is scaled."""
    level = np.median(x.std(axis=2), axis=0)[:, None]
    level = np.where(level > 0, level, 1.0)
    sharp = np.median([_sharp(each[None] / level).std(axis=2)[0] for each in x], axis=0)[:, None]
    return np.stack([level, np.where(sharp > 0, sharp, 1.0)]).astype(np.float32)


def _crops(x: np.ndarray, rows: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    starts = rng.integers(x.shape[2] - length + 1, size=len(rows))
    return np.stack([x[row, :, start : start + length] for row, start in zip(rows, starts, strict=True)])


# ---- damage, to scaled ECGs (C, T), with another record at hand


def _damaged(x: np.ndarray, kinds: list[Corruption], rng: np.random.Generator) -> np.ndarray:
    return np.stack([kind(x[i], x[i - 1], rng) for i, kind in enumerate(kinds)])


def _reversed(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x[:, ::-1]


def _smoothed(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Low-passed at 15 to 45 Hz."""
    relative = np.fft.rfftfreq(x.shape[1], 1 / FS_HZ) / rng.uniform(15, 45)
    return np.fft.irfft(np.fft.rfft(x) / (1 + relative**8), x.shape[1])


def _noisy(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With white noise of 0.05 to 1 of the leads' spread."""
    return x + np.exp(rng.uniform(np.log(0.05), 0)) * rng.standard_normal(x.shape)


def _stretched(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Faster or slower by 28 to 65 %; what is missing at the end is the record run backwards."""
    last = x.shape[1] - 1
    at = np.arange(last + 1) * np.exp(rng.choice([-1, 1]) * rng.uniform(0.25, 0.5))
    at = last - np.abs(at % (2 * last) - last)
    return np.stack([np.interp(at, np.arange(last + 1), lead) for lead in x])


def _spliced(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Going over into another record."""
    at = int(rng.uniform(0.25, 0.75) * x.shape[1])
    return np.concatenate([x[:, :at], other[:, at:]], axis=1)


def _shuffled(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """No lead stays in its place."""
    order, moved = rng.permutation(len(x)), np.empty_like(x)
    moved[order] = x[np.roll(order, 1)]
    return moved


def _mixed(x: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the leads from another record."""
    return np.where(rng.permutation(len(x))[:, None] < len(x) / 2, x, other)


CORRUPTIONS: tuple[Corruption, ...] = (_reversed, _smoothed, _noisy, _stretched, _spliced, _shuffled, _mixed)


def _check(x: np.ndarray, least: int) -> None:
    if x.ndim != 3 or len(x) < least or x.shape[1] < 1 or x.shape[2] < 2 * FS_HZ:
        raise EvaluationError(
            f"ECGs have shape {x.shape}; the encoder needs at least {least} records, one lead and 2 s at 250 Hz"
        )
    if not np.isfinite(x).all():
        raise EvaluationError("ECGs hold values that are not finite; repair or leave out those records")


def _check_sets(sets: Sets, patient_id: Sets) -> None:
    for name, each, who in zip(("train", "holdout", "synthetic"), sets, patient_id, strict=True):
        _check(each, least=1)
        if len(each) != len(who) or each.shape[1] != sets[0].shape[1]:
            raise EvaluationError(
                f"{name} has {len(each)} records of {each.shape[1]} leads and {len(who)} patients; give one patient "
                f"for each record, and the {sets[0].shape[1]} leads of train"
            )
