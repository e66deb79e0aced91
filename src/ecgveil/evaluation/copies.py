"""Which synthetic ECGs are copies of real ones, whole or in part, under what a copy can undergo.

No two recordings run alike for several seconds: the times between the beats, the shape of each single beat and the
noise along them are a signature. So a copy is sought as a stretch of 2 to 9 s that a synthetic and a real ECG share, at
any shift, gain and sign, in any of three groups of leads: I and II (which hold all limb leads), V1-V3, V4-V6. Compared
is what lies within 2 and 25 Hz: above baseline wander, below most of the noise.

First pass: each beat with what follows it (2 s, from 300 ms before it) is a point among the whitened principal
components of such windows of real ECGs; the real windows nearest to it, in any order of time, are candidates. Second
pass: each candidate is compared sample by sample, the shift refined to 2 ms. In each stretch of T seconds a share u of
the energy stays unexplained by the real ECG at its best gain, and the score is -T log u: a long stretch alike says as
much as a short one that is nearly the same. (For Gaussian signals this is proportional to the log likelihood ratio of
'correlated' against 'independent'.) What unrelated ECGs score is learned from real ECGs of other patients; a copy lies
beyond it, with a margin for the size of the sets.

One beat alone is no signature: a single copied beat among others is not sought. Another recording of the same person is
no copy, and rarely looks like one; other seconds of the same recording, in a regular rhythm, sometimes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.signal import butter, find_peaks, resample_poly, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.metric import LEAST_N
from ecgveil.leads import LEADS_8, LEADS_12

FINE_HZ, STEP = 500, 4  # synthetic ECGs at 500 Hz, for shifts of 2 ms; real ones at every fourth sample, 125 Hz
BAND_HZ = (2.0, 25.0)
LEAST_SECONDS = 3.0
EQUIVALENT_S = 5.0  # the distance is the unexplained share of energy as though the stretch had this length

_FROM, _TO, _EVERY = -150, 850, 10  # a window around a beat, fine samples; 50 Hz in the first pass
_COMPONENTS, _RIDGE, _BASIS_ECGS = 96, 0.1, 500
_NEAREST, _CANDIDATES, _TILE = 4, 12, 32  # real windows kept of each window, and then of each ECG and group
_REACH = 12  # fine samples, either side, within which the two passes' beats agree
_HOP = 25  # samples at 125 Hz, 0.2 s: where stretches begin
_HOPS = (10, 15, 20, 24, 30, 45)  # how long they are: 2, 3, 4, 4.8, 6, 9 s
_LEAST_ENERGY = 0.1  # of the record's mean: stretches with less are the line between two beats
_MOST_PEAK = 3.0  # times the median peak of a second: what is higher is an artefact, and is clipped
_LEAST_SHARE = 1e-6  # unexplained share below which float32 sees no difference
_ROWS, _PAIRS = 128, 64  # ECGs, and pairs of ECGs, at a time: bounds the memory

# The limit of the score is where, by real ECGs compared with those of others, 3 unrelated ECGs in 1000 are expected
# beyond it in a group of leads (fewer come: the fitted tail is the heavier one). However they look, it stays within
# reason: of 300 unrelated ECGs of a hospital two or three pass 14, while copies of 10 s with 30 uV of noise pass 30.
_EXPECTED_BEYOND = 0.003
_LOWEST_LIMIT, _USUAL_LIMIT, _HIGHEST_LIMIT = 15.0, 17.0, 30.0
_CALIBRATION_ECGS = 500

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class _Windows:
    """Windows around the beats of a set in one group of leads.

    Parameters
    ----------
    row : (n,) of the set
    at : (n,) fine sample of the beat
    shape : float32 (n, n_leads * n_samples), or (n, n_components) of unit length once embedded
    """

    row: np.ndarray
    at: np.ndarray
    shape: np.ndarray


@dataclass(frozen=True, eq=False)
class _Reference:
    """Real ECGs, ready to be compared with.

    Parameters
    ----------
    signal : float32 (n, n_leads, n_samples) at 125 Hz, zero beyond the end of a shorter record
    length : (n,) samples of each
    bases : for each group of leads its whitened principal components, (n_leads * n_samples, n_components)
    index : for each group the embedded windows
    """

    signal: np.ndarray
    length: np.ndarray
    bases: list[np.ndarray]
    index: list[_Windows]


def find_copies(
    train: ECGSet, holdout: ECGSet, synthetic: ECGSet, *, seed: int, progress: Progress | None = None
) -> pd.DataFrame:
    """The real ECG that each synthetic ECG is nearest to in part, and whether it is a copy of it.

    Parameters
    ----------
    train, holdout : real ECGs, of different patients; any rates, lengths and units
    synthetic : ECGs of at least 3 s, with leads that the real ones have or allow to compute
    seed : for the draws from large sets
    progress : called with (done, total) synthetic ECGs

    Returns
    -------
    DataFrame
        A row for each synthetic ECG: `record_name`, `nearest_record`, `part` ('train' or 'holdout'), `distance` (0 to
        1, the share of energy that the nearest record leaves unexplained in the stretch and leads where they agree
        best, as though it lasted 5 s: 0 for a copy), `flagged`. An ECG with no beat, or none whose window lies within
        it, has no nearest record and distance 1. `attrs['limits']` has for each group of leads the distance below
        which an ECG is flagged.

    Raises
    ------
    EvaluationError
        A set is empty or too short, the sets have no lead in common, or the real ECGs hold no beat.
    """
    leads = _check({"train": train, "holdout": holdout, "synthetic": synthetic})
    groups = _groups(leads)
    rng = np.random.default_rng([seed, 7])
    bases = _fit_bases((train, holdout), leads, groups, rng)
    real = _join(*(_make_reference(each, leads, groups, bases) for each in (train, holdout)))
    limits = _limits((train, holdout), real, leads, groups, rng)
    score, row = _scores(synthetic, real, leads, groups, progress)
    best = (score / limits).argmax(axis=1)[:, None]
    score, row = (np.take_along_axis(each, best, axis=1)[:, 0] for each in (score, row))
    found = row >= 0
    names = np.array([*train.record_name, *holdout.record_name, ""], dtype=object)
    table = pd.DataFrame(
        {
            "record_name": synthetic.record_name,
            "nearest_record": names[row],
            "part": np.where(found, np.where(row < len(train), "train", "holdout"), ""),
            "distance": _distance(score),
            "flagged": score > limits[best[:, 0]],
        }
    )
    table.attrs["limits"] = {_name(leads, g): float(_distance(x)) for g, x in zip(groups, limits, strict=True)}
    return table


def best_scores(reference: ECGSet, asked: Sequence[ECGSet], *, seed: int) -> list[np.ndarray]:
    """How surely some seconds of each ECG are also in one of the reference ECGs: the highest score of all pairs.

    Parameters
    ----------
    reference : ECGs of at least 3 s
    asked : sets of such ECGs, with leads in common
    seed : for the draws from large sets

    Returns
    -------
    list of (n,)
        For each set asked; 0 where an ECG has no beat.

    Raises
    ------
    EvaluationError
        As `find_copies`.
    """
    leads = _check({"reference": reference} | {f"asked {i}": each for i, each in enumerate(asked, start=1)})
    groups = _groups(leads)
    bases = _fit_bases((reference,), leads, groups, np.random.default_rng([seed, 12]))
    known = _make_reference(reference, leads, groups, bases)
    return [_scores(each, known, leads, groups, None)[0].max(axis=1) for each in asked]


def _check(sets: dict[str, ECGSet]) -> tuple[str, ...]:
    """The leads to compare."""
    for name, ecgs in sets.items():
        if not len(ecgs):
            raise EvaluationError(f"{name} holds no ECG; the search for copies needs train, holdout and synthetic ECGs")
        if ecgs.seconds < LEAST_SECONDS:
            raise EvaluationError(
                f"{name}: ECGs of {ecgs.seconds:g} s are too short to tell copies by; give {LEAST_SECONDS:g} s or more"
            )
    leads = [lead for lead in LEADS_12 if all(lead in ecgs.leads for ecgs in sets.values())]
    if not leads:
        of = "; ".join(f"{name}: {', '.join(ecgs.leads)}" for name, ecgs in sets.items())
        raise EvaluationError(f"the sets have no lead in common ({of}); give them one")
    if {"I", "II"} <= set(leads):
        leads = [lead for lead in leads if lead in LEADS_8]
    return tuple(leads)


def _groups(leads: tuple[str, ...]) -> list[np.ndarray]:
    """Leads that are compared together, as rows of `leads`."""
    limb = [lead for lead in leads if not lead.startswith("V")][:2]
    groups = [[leads.index(lead) for lead in group if lead in leads] for group in (limb, LEADS_12[6:9], LEADS_12[9:])]
    return [np.array(group) for group in groups if group]


def _name(leads: tuple[str, ...], group: np.ndarray) -> str:
    return "+".join(leads[i] for i in group)


def _distance(score: np.ndarray) -> np.ndarray:
    return np.exp(-score / EQUIVALENT_S)


def _draw(ecgs: ECGSet, rng: np.random.Generator, most: int) -> ECGSet:
    return ecgs.take(np.sort(rng.choice(len(ecgs), min(most, len(ecgs)), replace=False)))


def _limits(
    sets: tuple[ECGSet, ...],
    real: _Reference,
    leads: tuple[str, ...],
    groups: list[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Score, for each group of leads, that unrelated ECGs do not reach, (n_groups,).

    The patients of all real sets are halved at random, and ECGs of either half compared with the other half. Best
    scores are maxima, so Gumbel's distribution is fitted to them, by the quantiles from 50 to 95 %: a few true copies
    among the real ECGs do no harm. It moves up by log 2 scales because synthetic ECGs meet twice as many real ones.
    """
    patient = np.concatenate([each.patient_id for each in sets])
    if len(patient) < 2 * LEAST_N:
        return np.full(len(groups), _USUAL_LIMIT)
    people, of = np.unique(patient, return_inverse=True)
    half = (rng.permutation(len(people)) % 2 == 0)[of]
    share = min(1.0, _CALIBRATION_ECGS / len(patient))
    scores, start = [], 0
    for ecgs in sets:
        own = half[start : start + len(ecgs)]
        for side in (True, False):
            asked = _draw(ecgs.take(np.flatnonzero(own == side)), rng, round(share * (own == side).sum()))
            scores.append(_scores(asked, _only(real, half != side), leads, groups, None)[0])
        start += len(ecgs)
    return _fitted_limits(np.concatenate(scores))


def _fitted_limits(score: np.ndarray) -> np.ndarray:
    quantiles = np.linspace(0.5, 0.95, 10)
    scale, centre = np.polyfit(-np.log(-np.log(quantiles)), np.quantile(score, quantiles, axis=0), 1)
    beyond = -np.log(-np.log1p(-_EXPECTED_BEYOND)) + np.log(2)
    return np.clip(centre + scale * beyond, _LOWEST_LIMIT, _HIGHEST_LIMIT)


def _blocks(ecgs: ECGSet, leads: tuple[str, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, filtered ECGs at 500 Hz (n, n_leads, n_samples)) of the whole set."""
    rows = max(1, int(_ROWS * 10 / max(10.0, ecgs.seconds)))
    which = [ecgs.leads.index(lead) for lead in leads]
    for start in range(0, len(ecgs), rows):
        yield start, _filtered(ecgs.signal[start : start + rows, which], ecgs.fs)


def _filtered(signal: np.ndarray, fs: float) -> np.ndarray:
    ratio = Fraction(FINE_HZ / fs).limit_denominator(1000)
    if ratio != 1:
        signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    sos = butter(2, BAND_HZ, "bandpass", fs=FINE_HZ, output="sos")
    fine = sosfiltfilt(sos, signal, axis=-1).astype(np.float32)
    whole = fine[..., : fine.shape[-1] // FINE_HZ * FINE_HZ].reshape(*fine.shape[:-1], -1, FINE_HZ)
    most = _MOST_PEAK * np.median(np.abs(whole).max(axis=-1), axis=-1)[..., None]
    return np.clip(fine, -most, most)


def _windows(fine: np.ndarray, group: np.ndarray) -> _Windows:
    """Windows around what looks like a beat in these leads, be it one or not, wholly within the record."""
    slope = np.sqrt((np.diff(fine[:, group], axis=-1) ** 2).sum(axis=1))
    steepness = uniform_filter1d(uniform_filter1d(slope, 40, axis=-1), 20, axis=-1)
    # Against what is near, not against the whole record: half of a copy may be of another, larger ECG.
    height = np.maximum(0.4 * maximum_filter1d(steepness, 2 * FINE_HZ, axis=-1), 1e-9)
    rows, beats = [], []
    for i, each in enumerate(steepness):
        at, _ = find_peaks(each, height=height[i], distance=150)
        at = at[(at + _FROM >= 0) & (at + _TO <= fine.shape[-1])]
        rows.append(np.full(len(at), i))
        beats.append(at)
    row, beat = np.concatenate(rows), np.concatenate(beats)
    samples = beat[:, None] + np.arange(_FROM, _TO, _EVERY)
    shape = fine[row[:, None, None], group[:, None], samples[:, None]]  # (n, G, W)
    return _Windows(row, beat, shape.reshape(len(row), len(group) * samples.shape[1]))


def _unit(x: np.ndarray) -> np.ndarray:
    size = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, size, out=np.zeros_like(x), where=size > 0)


def _fit_bases(
    sets: tuple[ECGSet, ...], leads: tuple[str, ...], groups: list[np.ndarray], rng: np.random.Generator
) -> list[np.ndarray]:
    """Principal components of the real windows of each group, whitened so that what all beats share does not rule.

    They are not centred: a window turned upside down has the same place, but for its sign.
    """
    shapes: list[list[np.ndarray]] = [[] for _ in groups]
    for ecgs in sets:
        for _, fine in _blocks(_draw(ecgs, rng, _BASIS_ECGS), leads):
            for own, group in zip(shapes, groups, strict=True):
                own.append(_unit(_windows(fine, group).shape))
    return [_whitened(np.concatenate(own)) for own in shapes]


def _whitened(shapes: np.ndarray) -> np.ndarray:
    if not shapes.any():
        raise EvaluationError("the real ECGs hold no beat to know a copy by; give ECGs with beats, 3 s or longer")
    power, vectors = np.linalg.eigh((shapes.T @ shapes).astype(float) / len(shapes))
    power, vectors = power[::-1][:_COMPONENTS], vectors[:, ::-1][:, :_COMPONENTS]
    return (vectors / np.sqrt(np.maximum(power, 0) + _RIDGE * power.mean())).astype(np.float32)


def _make_reference(
    ecgs: ECGSet, leads: tuple[str, ...], groups: list[np.ndarray], bases: list[np.ndarray]
) -> _Reference:
    signals: list[np.ndarray] = []
    index: list[list[_Windows]] = [[] for _ in groups]
    for start, fine in _blocks(ecgs, leads):
        for own, group, basis in zip(index, groups, bases, strict=True):
            found = _windows(fine, group)
            own.append(_Windows(found.row + start, found.at, _unit(found.shape @ basis)))
        signals.append(fine[..., ::STEP].copy())
    signal = np.concatenate(signals)
    return _Reference(signal, np.full(len(signal), signal.shape[-1]), bases, [_concat(own) for own in index])


def _concat(parts: list[_Windows]) -> _Windows:
    return _Windows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "at", "shape")))


def _join(one: _Reference, other: _Reference) -> _Reference:
    """Both as one, the rows of `other` after those of `one`."""
    n = len(one.signal)
    signal = np.zeros((n + len(other.signal), one.signal.shape[1], max(one.length[0], other.length[0])), np.float32)
    signal[:n, :, : one.length[0]], signal[n:, :, : other.length[0]] = one.signal, other.signal
    index = [_concat([a, _Windows(b.row + n, b.at, b.shape)]) for a, b in zip(one.index, other.index, strict=True)]
    return _Reference(signal, np.concatenate([one.length, other.length]), one.bases, index)


def _only(real: _Reference, rows: np.ndarray) -> _Reference:
    """The same without the windows of the other rows, (n,) bool."""
    kept = [rows[windows.row] for windows in real.index]
    index = [_Windows(w.row[keep], w.at[keep], w.shape[keep]) for w, keep in zip(real.index, kept, strict=True)]
    return replace(real, index=index)


def _scores(
    ecgs: ECGSet, real: _Reference, leads: tuple[str, ...], groups: list[np.ndarray], progress: Progress | None
) -> tuple[np.ndarray, np.ndarray]:
    """Best score of each ECG in each group, and the real row that it is reached with (-1: none), (n, n_groups)."""
    score, best = np.zeros((len(ecgs), len(groups))), np.full((len(ecgs), len(groups)), -1)
    for start, fine in _blocks(ecgs, leads):
        for k, group in enumerate(groups):
            own = _windows(fine, group)
            mine, other = _candidates(own.row, _unit(own.shape @ real.bases[k]), real.index[k].shape)
            row, real_row = own.row[mine], real.index[k].row[other]
            reached = _compare(fine[:, group], row, own.at[mine], real, group, real_row, real.index[k].at[other])
            order = np.argsort(reached, kind="stable")  # of several values for one place, the last one stays
            score[start + row[order], k], best[start + row[order], k] = reached[order], real_row[order]
        if progress:
            progress(start + len(fine), len(ecgs))
    return score, best


def _candidates(row: np.ndarray, shapes: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of windows (numbers in `shapes`, numbers in `real`) alike but for sign, the best few of each ECG.

    The best windows lie in the tiles with the best maxima, so that only these are searched.
    """
    if not len(shapes) or not len(real):
        return np.empty(0, int), np.empty(0, int)
    n_tiles = -(-len(real) // _TILE)
    padded = np.zeros((n_tiles * _TILE, real.shape[1]), np.float32)
    padded[: len(real)] = real
    keep = min(_NEAREST, n_tiles)
    others, likeness = [], []
    for start in range(0, len(shapes), _ROWS):
        alike = np.abs(shapes[start : start + _ROWS] @ padded.T).reshape(-1, n_tiles, _TILE)
        tiles = np.argpartition(alike.max(axis=2), -keep, axis=1)[:, -keep:]
        inside = np.take_along_axis(alike, tiles[:, :, None], axis=1).reshape(len(alike), -1)
        at = np.argpartition(inside, -keep, axis=1)[:, -keep:]
        others.append(np.take_along_axis(tiles, at // _TILE, axis=1) * _TILE + at % _TILE)
        likeness.append(np.take_along_axis(inside, at, axis=1))
    own, other = np.repeat(np.arange(len(shapes)), keep), np.concatenate(others).ravel()
    order = np.lexsort((-np.concatenate(likeness).ravel(), row[own]))
    order = order[other[order] < len(real)]
    of = row[own[order]]
    order = order[np.arange(len(order)) - np.searchsorted(of, of) < _CANDIDATES]
    return own[order], other[order]


def _compare(
    fine: np.ndarray,
    row: np.ndarray,
    at: np.ndarray,
    real: _Reference,
    group: np.ndarray,
    real_row: np.ndarray,
    real_at: np.ndarray,
) -> np.ndarray:
    """Scores of pairs of ECGs laid upon each other at a beat of either, (n_pairs,)."""
    scores = [np.empty(0)]
    for start in range(0, len(row), _PAIRS):
        r, a, o, b = (each[start : start + _PAIRS] for each in (row, at, real_row, real_at))
        x, y = fine[r], real.signal[o[:, None], group]  # (n, G, T) at 500 Hz, at 125 Hz
        shift = b - a - _best_shift(x, y, a, b)  # a fine sample of x lies at sample + shift of y
        scores.append(_score(x, y, shift, real.length[o]))
    return np.concatenate(scores)


def _cut(signal: np.ndarray, first: np.ndarray, count: int, step: int = 1) -> np.ndarray:
    """(n, G, T) -> (n, G, count), from its own sample on for each row; beyond the ends the end values."""
    samples = np.clip(first[:, None] + step * np.arange(count), 0, signal.shape[-1] - 1)
    return np.take_along_axis(signal, samples[:, None], axis=-1)


def _best_shift(x: np.ndarray, y: np.ndarray, at: np.ndarray, real_at: np.ndarray) -> np.ndarray:
    """Fine samples by which the beat of x lies later than that of y would have it, (n,)."""
    first = -(-(real_at + _FROM) // STEP)
    count = (_TO - _FROM) // STEP - 1
    fixed = _cut(y, first, count)
    moving = _cut(x, STEP * first - real_at + at - _REACH, STEP * count + 2 * _REACH)
    explained = []
    for shift in range(2 * _REACH + 1):
        part = moving[..., shift : shift + STEP * count : STEP]
        size = np.einsum("ngt,ngt->n", part, part)
        explained.append(np.einsum("ngt,ngt->n", part, fixed) ** 2 / np.maximum(size, 1e-12))
    return np.argmax(explained, axis=0) - _REACH


def _score(x: np.ndarray, y: np.ndarray, shift: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Best -T log u over the stretches in which both ECGs lie, x (n, G, T) at 500 Hz, y (n, G, T) at 125 Hz -> (n,)."""
    samples = np.arange(y.shape[-1])
    at = STEP * samples - shift[:, None]
    inside = (at >= 0) & (at < x.shape[-1]) & (samples < length[:, None])
    x = _cut(x, -shift, y.shape[-1], STEP) * inside[:, None]
    y = y * inside[:, None]
    xy, xx, yy = (_running(np.einsum("ngt,ngt->nt", a, b)) for a, b in ((x, y), (x, x), (y, y)))
    lasts = _running(inside)
    best = np.zeros(len(x))
    for hops in _HOPS:
        if hops >= xy.shape[1]:
            break
        both, one, other, n = (each[:, hops:] - each[:, :-hops] for each in (xy, xx, yy, lasts))
        usual = _LEAST_ENERGY * hops * _HOP / np.maximum(lasts[:, -1:], 1)
        counts = (n == hops * _HOP) & (one > usual * xx[:, -1:]) & (other > usual * yy[:, -1:])
        explained = np.divide(both**2, one * other, out=np.zeros_like(both), where=counts)
        unexplained = np.maximum(1 - explained.max(axis=1), _LEAST_SHARE)
        best = np.maximum(best, -hops * _HOP * STEP / FINE_HZ * np.log(unexplained))
    return best


def _running(values: np.ndarray) -> np.ndarray:
    """Sums of all from the start to every 0.2 s, (n, T) -> (n, 1 + n_hops)."""
    n = values.shape[1] // _HOP
    hops = values[:, : n * _HOP].reshape(len(values), n, _HOP).sum(axis=2, dtype=float)
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(hops, axis=1)], axis=1)
