"""How near the synthetic ECGs come to the training ECGs, and whether nearer than to ECGs never trained on.

The distance of two ECGs is the root mean square difference, over all leads, of their median beats (aligned at the R
peak, baseline wander removed, from 200 ms before to 400 ms after it), at the best of the shifts within +-40 ms. Records
without a whole beat have no distance and are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.stats import beta, binom, hypergeom

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric, holm, p_of_draws, p_of_excess
from ecgveil.measure.beats import median_beat

BEFORE_MS, AFTER_MS, SHIFT_MS = 200, 400, 40
RATE_HZ = 125
DRAWS, PERMUTATIONS, PAIRS = 10, 1000, 10
LEVEL = 0.025  # probability that any of the four figures accuses where there is nothing
NEAR = 0.05  # share of holdout people whose distance to training counts as near
SAME_UV = 5.0  # two median beats nearer than the noise of a good recording are one and the same
_TWICE = 0.05  # of the holdout ECGs that may be in the training part too, under another name
_ROWS = 512
NAMES = ("closer_to_train_share", "nearest_is_train_share", "median_distance_to_train_uv", "near_copy_share")
SAME_BEAT = "same_beat_share"

NO_EVIDENCE = "no evidence of copying in this test"
CLOSER = "closer to training than chance"
AS_FAR = "not shown to be nearer to training records than unseen real ECGs are"
NEARER = "nearer to training records than unseen real ECGs are"
AVERAGES = "nearer to training records than unseen real ECGs are, as typical beats are too; not shown to be copies"
SAME = "the very beats of training ECGs"
ALL_ALIKE = "cannot tell: beats of different people are as near"


@dataclass(frozen=True)
class Pair:
    """A synthetic ECG, the training ECG nearest to it (rows in their sets), and their distance."""

    synthetic_row: int
    train_row: int
    distance: float


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances to the nearest record of equally large reference parts (the first draw), and the nearest pairs.

    Parameters
    ----------
    synthetic_to_train, synthetic_to_holdout, holdout_to_train : (n,) in uV, or thousandths of another unit
    n_reference : records in each reference part
    no_beat : how many of (train, holdout, synthetic) have no whole beat, and so no distance
    pairs : the nearest of all pairs of a synthetic ECG and its nearest training record
    """

    synthetic_to_train: np.ndarray
    synthetic_to_holdout: np.ndarray
    holdout_to_train: np.ndarray
    n_reference: int
    no_beat: tuple[int, int, int]
    pairs: list[Pair]


@dataclass(frozen=True, eq=False)
class Apart:
    """Distances between the beat shapes of three sets, in uV or thousandths of another unit; made by `all_distances`.

    Parameters
    ----------
    to_train, to_holdout : (n_synthetic, n_train), (n_synthetic, n_holdout)
    holdout_to_train : (n_holdout, n_train)
    in_train, in_holdout : (n_train, n_train), (n_holdout, n_holdout)
    """

    to_train: np.ndarray
    to_holdout: np.ndarray
    holdout_to_train: np.ndarray
    in_train: np.ndarray
    in_holdout: np.ndarray


@dataclass(frozen=True, eq=False)
class BeatShapes:
    """Median beats at about 125 Hz, with room for the shifts, of the records that have one.

    Parameters
    ----------
    shapes : float64 (n_with_beat, n_leads, n_window) in thousandths of the unit of the set (uV)
    rows : (n_with_beat,) their rows in the set
    patient_id : (n_with_beat,)
    no_beat : how many records of the set are not among them
    """

    shapes: np.ndarray
    rows: np.ndarray
    patient_id: np.ndarray
    no_beat: int


def beat_shapes(ecgs: ECGSet, peaks: list[np.ndarray]) -> BeatShapes:
    """Beat shapes of a set whose R peaks are `peaks`."""
    beats, valid = median_beat(ecgs, peaks, BEFORE_MS + SHIFT_MS, AFTER_MS + SHIFT_MS)
    step = max(1, round(ecgs.fs / RATE_HZ))
    smooth = uniform_filter1d(beats[valid].astype(float), step, axis=-1)
    people = np.array(ecgs.patient_id)[valid]
    return BeatShapes(1000 * smooth[..., ::step], np.flatnonzero(valid), people, int((~valid).sum()))


def all_distances(
    train: BeatShapes, holdout: BeatShapes, synthetic: BeatShapes, progress: Callable[[int, int], object] | None = None
) -> Apart:
    """The distances that `privacy_metrics` and the attacks on membership look at."""
    pairs = [(synthetic, train), (synthetic, holdout), (holdout, train), (train, train), (holdout, holdout)]
    total, done, found = sum(len(one.rows) * len(other.rows) for one, other in pairs), 0, []
    for one, other in pairs:
        found.append(distances(one.shapes, other.shapes))
        done += len(one.rows) * len(other.rows)
        if progress:
            progress(done, total)
    return Apart(*found)


def privacy_metrics(
    train: BeatShapes, holdout: BeatShapes, synthetic: BeatShapes, *, seed: int, apart: Apart | None = None
) -> tuple[list[Metric], Distances | None]:
    """Distance of each synthetic ECG to its nearest training and nearest holdout record.

    Parameters
    ----------
    train, holdout, synthetic : from `beat_shapes`
    seed : for the draws
    apart : `all_distances` of the three, where they are known already

    Returns
    -------
    metrics : `closer_to_train_share` (equally large reference parts), `nearest_is_train_share` (all patients of both),
        `median_distance_to_train_uv`, `near_copy_share` and `same_beat_share`
    distances : for the report; None where one of the sets has no ECG with a beat
    """
    if not (len(train.rows) and len(holdout.rows) and len(synthetic.rows)):
        return [_not_computed(name) for name in (*NAMES, SAME_BEAT)], None
    apart = apart or all_distances(train, holdout, synthetic)
    to_train, to_holdout, among_real = apart.to_train, apart.to_holdout, apart.holdout_to_train
    draws, all_draws = _reference_draws(train.patient_id, holdout.patient_id, np.random.default_rng([seed, 2]))
    floor = _real_share(apart.in_train, among_real, draws, train.patient_id)
    shares = [
        _share_metric(NAMES[0], to_train, to_holdout, draws, floor, np.random.default_rng([seed, 3])),
        _share_metric(NAMES[1], to_train, to_holdout, all_draws, float("nan"), np.random.default_rng([seed, 4])),
    ]
    in_train, in_holdout = draws[0]
    found = Distances(
        synthetic_to_train=to_train[:, in_train].min(axis=1),
        synthetic_to_holdout=to_holdout[:, in_holdout].min(axis=1),
        holdout_to_train=among_real[np.ix_(in_holdout, in_train)].min(axis=1),
        n_reference=len(in_train),
        no_beat=(train.no_beat, holdout.no_beat, synthetic.no_beat),
        pairs=_nearest_pairs(to_train, synthetic.rows, train.rows),
    )
    nearest = to_train.min(axis=1), among_real.min(axis=1)
    judged = _judged([*shares, *_distance_metrics(*nearest, (synthetic.patient_id, holdout.patient_id), seed)])
    return [*judged, _same_beat_metric(*nearest)], found


def _judged(metrics: list[Metric]) -> list[Metric]:
    """Verdicts of the four figures together (`metric.holm`), so that an innocent set is rarely accused by any."""
    accused = holm([metric.p_value for metric in metrics], LEVEL)
    copied = any(accused[:2])  # only who is nearer to training than to holdout has copied
    shares, distances = {True: CLOSER, False: NO_EVIDENCE}, {True: NEARER if copied else AVERAGES, False: AS_FAR}
    verdicts = [shares[found] for found in accused[:2]] + [distances[found] for found in accused[2:]]
    return [
        metric if metric.verdict == TOO_FEW else replace(metric, verdict=verdict)
        for metric, verdict in zip(metrics, verdicts, strict=True)
    ]


def _nearest_pairs(to_train: np.ndarray, synthetic_rows: np.ndarray, train_rows: np.ndarray) -> list[Pair]:
    nearest = to_train.argmin(axis=1)
    order = np.argsort(to_train.min(axis=1), kind="stable")[:PAIRS]
    return [Pair(int(synthetic_rows[i]), int(train_rows[nearest[i]]), float(to_train[i, nearest[i]])) for i in order]


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Root mean square difference of shapes at the best shift, (n, L, W) and (m, L, W) -> (n, m).

    One side keeps the middle of its window while the other is shifted, and the reverse; the smaller counts, so that the
    distance is symmetric.
    """
    return np.sqrt(np.minimum(_squared(one, other), _squared(other, one).T))


def _squared(fixed: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    if len(fixed) > _ROWS:  # so that what is between does not grow with both sets
        return np.concatenate([_squared(fixed[i : i + _ROWS], shifted) for i in range(0, len(fixed), _ROWS)])
    width = fixed.shape[-1]
    most = round(width * SHIFT_MS / (BEFORE_MS + AFTER_MS + 2 * SHIFT_MS))
    inner = width - 2 * most
    a = fixed[:, :, most : most + inner].reshape(len(fixed), fixed.shape[1] * inner)
    a_size = (a**2).sum(axis=1)[:, None]
    best = np.full((len(fixed), len(shifted)), np.inf)
    for shift in range(2 * most + 1):
        b = shifted[:, :, shift : shift + inner].reshape(len(shifted), a.shape[1])
        apart = a @ b.T
        apart *= -2
        apart += a_size
        apart += np.einsum("nd,nd->n", b, b)
        np.minimum(best, apart, out=best)
    return np.maximum(best, 0) / a.shape[1]


def clopper_pearson(successes: int, n: int) -> tuple[float, float]:
    """Exact 95 % interval of a share (Clopper and Pearson, Biometrika 26:404, 1934).

    >>> tuple(round(x, 4) for x in clopper_pearson(0, 10))
    (0.0, 0.3085)
    """
    low = 0.0 if successes == 0 else float(beta.ppf(0.025, successes, n - successes + 1))
    high = 1.0 if successes == n else float(beta.ppf(0.975, successes + 1, n - successes))
    return low, high


Draws = list[tuple[np.ndarray, np.ndarray]]


def _not_computed(name: str) -> Metric:
    nan = float("nan")
    return Metric("privacy", name, nan, nan, nan, "target", nan, 0, "cannot be computed: no ECG with a whole beat")


def _reference_draws(train: np.ndarray, holdout: np.ndarray, rng: np.random.Generator) -> tuple[Draws, Draws]:
    """Rows of reference parts, one record of each patient, drawn several times: equally large, and of all patients."""
    n_train, n_holdout = len(np.unique(train)), len(np.unique(holdout))
    n = min(n_train, n_holdout)

    def draws(of_train: int, of_holdout: int) -> Draws:
        return [
            (draw_rows(train, of_train, rng, replace=False), draw_rows(holdout, of_holdout, rng, replace=False))
            for _ in range(DRAWS)
        ]

    return draws(n, n), draws(n_train, n_holdout)


def _share_metric(
    name: str, to_train: np.ndarray, to_holdout: np.ndarray, draws: Draws, floor: float, rng: np.random.Generator
) -> Metric:
    """Share of synthetic ECGs whose nearest real ECG, of the two parts, is a training record. Ties are left out.

    Chance is the training part's share of the references. The interval treats the synthetic ECGs as independent; which
    patients happen to be held out matters too, so the verdict also asks a permutation test: the parts' labels are
    exchanged at random (of the draws' p values: `metric.p_of_draws`). Where the training
    set is larger than the holdout, equal parts hold only some of the originals of copies: the share over all patients
    is then the sharper one.
    """
    results = [_closer(to_train[:, t], to_holdout[:, h], rng) for t, h in draws]
    n_train, n_holdout = len(draws[0][0]), len(draws[0][1])
    chance = n_train / (n_train + n_holdout)
    counted = int(np.median([n for _, n, _ in results]))
    nan = float("nan")
    value = float(np.mean([share for share, _, _ in results])) if counted else nan
    low, high = clopper_pearson(round(value * counted), counted) if counted else (nan, nan)
    p = float(p_of_draws([p for _, _, p in results]))
    n = min(counted, n_train, n_holdout)
    p = max(p, float(binom.sf(round(value * counted) - 1, counted, chance))) if counted else 1.0
    verdict = TOO_FEW if n < LEAST_N else ""
    of = "unused training records in the place of synthetic ones"
    return Metric("privacy", name, value, low, high, "target", floor, n, verdict, of, chance, p)


def _closer(to_train: np.ndarray, to_holdout: np.ndarray, rng: np.random.Generator) -> tuple[float, int, float]:
    """Share closer to train, how many counted, and the p value of so large a share under exchanged labels."""
    near_train, near_holdout = to_train.min(axis=1), to_holdout.min(axis=1)
    untied = near_train != near_holdout
    if not untied.any():
        return 0.5, 0, 1.0
    share = float((near_train < near_holdout)[untied].mean())
    pooled = np.concatenate([to_train[untied], to_holdout[untied]], axis=1)
    at, size = pooled.argmin(axis=1), pooled.shape[1]
    votes = np.bincount(at, minlength=size) / len(at)  # share of synthetic ECGs nearest to each reference
    is_train = rng.permuted(np.tile(np.arange(size) < to_train.shape[1], (PERMUTATIONS, 1)), axis=1)
    return share, len(at), float((1 + (is_train @ votes >= share - 1e-12).sum()) / (1 + PERMUTATIONS))


def _real_share(train_to_train: np.ndarray, holdout_to_train: np.ndarray, draws: Draws, patients: np.ndarray) -> float:
    """`closer_to_train_share` of training records of patients outside the drawn part; NaN where none is left."""
    shares = []
    for t, h in draws:
        unused = np.flatnonzero(~np.isin(patients, patients[t]))
        if len(unused):
            near_train = train_to_train[np.ix_(unused, t)].min(axis=1)
            near_holdout = holdout_to_train[np.ix_(h, unused)].min(axis=0)
            shares.append(np.mean(near_train < near_holdout))
    return float(np.mean(shares)) if shares else float("nan")


def _distance_metrics(
    to_train: np.ndarray, holdout_to_train: np.ndarray, people: tuple[np.ndarray, np.ndarray], seed: int
) -> list[Metric]:
    """Median distance to the nearest training record, and the share nearer than the nearest `NEAR` of the holdout.

    Of synthetic and holdout records and whose these are. One record of each person counts; where somebody has several
    they are drawn a few times.
    """
    rng = np.random.default_rng([seed, 6])
    sizes = [len(np.unique(each)) for each in people]
    n, n_holdout = sizes
    allowed = int(NEAR * n_holdout)
    single = sizes == [len(each) for each in people]
    middles, shares, widths, ps = [], [], [], []
    for _ in range(1 if single else DRAWS):
        made, real = (
            values[draw_rows(who, size, rng, replace=False)]
            for values, who, size in zip((to_train, holdout_to_train), people, sizes, strict=True)
        )
        near = int((made < np.sort(real)[allowed]).sum())
        resampled, floors = (np.median(rng.choice(each, (1000, len(each))), axis=1) for each in (made, real))
        middles.append((np.median(made), np.median(real)))
        shares.append(near / n)
        widths.append(np.percentile(resampled - np.median(made), [2.5, 97.5]))
        p_middle = p_of_excess(float(np.median(real) - np.median(made)), floors - resampled)
        ps.append(np.array([p_middle, p_hits(near, n, n_holdout, allowed)]))
    middle, floor = np.mean(middles, axis=0)
    low, high = middle + np.mean(widths, axis=0)
    share = float(np.mean(shares))
    p_middle, p_near = p_of_draws(ps)
    n_both = min(sizes)
    verdict, of = TOO_FEW if n_both < LEAST_N else "", "holdout records against training records"
    return [
        Metric(
            "privacy", NAMES[2], float(middle), float(low), float(high), "higher", float(floor), n_both, verdict, of,
            p_value=float(p_middle),
        ),
        Metric(
            "privacy", NAMES[3], share, *clopper_pearson(round(share * n), n), "lower", allowed / n_holdout, n_both,
            verdict, of, p_value=float(p_near),
        ),
    ]  # fmt: skip


def _same_beat_metric(to_train: np.ndarray, holdout_to_train: np.ndarray) -> Metric:
    """Share of synthetic ECGs whose median beat is a training ECG's own, whatever their rhythm.

    Such are nearer to it than the noise of a good recording, and than half of how near any two people come but the
    nearest few: a recording that is in both parts under two names must not hide them. One is too many.
    """
    nearest = np.sort(holdout_to_train)
    rank = min(max(1, round(_TWICE * len(nearest))), len(nearest) - 1)
    limit = min(SAME_UV, float(nearest[rank]) / 2)
    same, n = int((to_train < limit).sum()), len(to_train)
    verdict = ALL_ALIKE if not limit else SAME if same else TOO_FEW if n < LEAST_N else NO_EVIDENCE
    of = "holdout records against training records"
    return Metric("privacy", SAME_BEAT, same / n, *clopper_pearson(same, n), "lower", 0.0, n, verdict, of)


def p_hits(above: np.ndarray | int, n: int, m: int, allowed: int) -> np.ndarray:
    """Probability, where nothing leaks, of `above` or more of n scores above the one that `allowed` of m others exceed.

    With k others allowed above, a or more are there just if at most k of the a + k highest scores are the others': a
    hypergeometric probability.
    """
    return hypergeom.cdf(allowed, n + m, m, above + allowed)
