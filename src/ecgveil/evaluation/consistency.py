"""Whether the beats of a record vary as a heart's do, and whether a synthetic set repeats itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.stats import fisher_exact

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.distribution import Sets, compare
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.fidelity import BEYOND, DRAWS, WITHIN, ks
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.evaluation.privacy import Apart, BeatShapes, clopper_pearson, distances
from ecgveil.measure.beats import iter_beats

# Around the R peak, ms: where the QRS lies, the ST segment and T, and, mostly, neither of them nor a P.
BEFORE_MS, AFTER_MS = 350, 450
QRS_MS, T_MS, BETWEEN_MS = (-100, 100), (120, 450), (-350, -230)
LEAST_BEATS = 4
LEAST_NOISE = 0.01  # of the QRS: below lies what filters and the rounding of files leave, no noise to divide by
VARIATION = ("qrs_variation_ks", "t_variation_ks")

NEAREST = 1.0  # percentile of real ECGs' distances to the nearest of other people
POOL = 3  # times as many synthetic ECGs as are compared at a time
NO_BEATS = "cannot be computed: no ECG with a whole beat"

Progress = Callable[[int, int], object]


def beat_variation(ecgs: ECGSet, peaks: list[np.ndarray], *, progress: Progress | None = None) -> np.ndarray:
    """How much the beats of a record differ from its median beat, as a multiple of the noise between the beats.

    Identical beats have about 0 (in T, which is longer, drift of the high-pass remains), identical beats with noise
    added have 1; breathing, the rate and the detection of the R peak make it two or more in the QRS of people. Each is
    a root mean square over beats, leads and time of beat minus median beat, the mean of each lead and beat within the
    part taken off.

    Parameters
    ----------
    ecgs : the set
    peaks : its R peaks, from `measure.beats.r_peaks`
    progress : called with (records done, records)

    Returns
    -------
    (n, 2), of the QRS and of ST and T; NaN with less than `LEAST_BEATS` whole beats, or flat ones
    """
    rows = []
    for beats in iter_beats(ecgs, peaks, BEFORE_MS, AFTER_MS):
        rows.append(_variation(beats, ecgs.fs))
        if progress:
            progress(len(rows), len(ecgs))
    return np.array(rows, float).reshape(len(rows), 2)


def consistency_metrics(
    train: np.ndarray, holdout: np.ndarray, synthetic: np.ndarray, patient_ids: Sets, *, seed: int
) -> list[Metric]:
    """Kolmogorov-Smirnov distances of synthetic from holdout records in `beat_variation`: qrs_ and t_variation_ks.

    Parameters
    ----------
    train, holdout, synthetic : (n, 2) from `beat_variation`; what is NaN counts as beyond all others
    patient_ids : (n,) of each of the three
    seed : for the draws
    """
    result = compare(
        lambda real, other: [ks(real[:, i], other[:, i]) for i in range(2)],
        (train, holdout, synthetic), patient_ids, ("lower", "lower"), seed,
    )  # fmt: skip
    found = [result.metric(i, name) for i, name in enumerate(VARIATION)]
    return [replace(metric, ci_high=float(np.minimum(1.0, metric.ci_high))) for metric in found]


def repeat_metrics(
    train: BeatShapes, holdout: BeatShapes, synthetic: BeatShapes, *, seed: int, apart: Apart | None = None
) -> list[Metric]:
    """Share of synthetic ECGs that (almost) repeat another synthetic ECG, as of a generator that knows only a few.

    An ECG repeats another if the two are nearer than all but `NEAREST` % of the holdout's ECGs are to the nearest of as
    many people of train. The floor is the same share within train. Each figure is a mean over draws of equally many
    patients of every set, one ECG of each: the more ECGs, the nearer the nearest. Such ECGs come in twos at least, so
    the interval and the test (Fisher's, one-sided, 2.5 %) count pairs.

    Parameters
    ----------
    train, holdout, synthetic : from `privacy.beat_shapes`
    seed : for the draws
    apart : `privacy.all_distances` of the three sets, where they are known already

    Returns
    -------
    list of Metric
        record_repeats_share; without a value where a set has no ECG with a beat, or n is below `LEAST_N`.
    """
    name, of, nan = "record_repeats_share", "training records among themselves", float("nan")
    n = min(len(np.unique(each.patient_id)) for each in (train, holdout, synthetic))
    if n < LEAST_N:
        return [Metric("fidelity", name, nan, nan, nan, "lower", nan, n, TOO_FEW if n else NO_BEATS, of)]
    rng, shares = np.random.default_rng([seed, 45]), np.empty((DRAWS, 2))
    people = synthetic.patient_id
    pool = draw_rows(people, min(POOL * n, len(np.unique(people))), rng, replace=False)  # not all: they may be many
    among = distances(synthetic.shapes[pool], synthetic.shapes[pool])
    across = apart.holdout_to_train if apart else distances(holdout.shapes, train.shapes)
    in_train = apart.in_train if apart else distances(train.shapes, train.shapes)
    for i in range(DRAWS):
        one, other = (draw_rows(each.patient_id, n, rng, replace=False) for each in (train, holdout))
        made = rng.permutation(len(pool))[:n]
        limit = np.percentile(across[np.ix_(other, one)].min(axis=1), NEAREST)
        shares[i] = [(_nearest_other(each, at) < limit).mean() for each, at in ((among, made), (in_train, one))]
    value, floor = (float(x) for x in shares.mean(axis=0))
    pairs = n // 2
    found = [round(share * pairs) for share in (value, floor)]
    p = fisher_exact([[count, pairs - count] for count in found], alternative="greater").pvalue
    low, high = clopper_pearson(found[0], pairs)
    verdict = BEYOND if p < 0.025 else WITHIN
    return [Metric("fidelity", name, value, low, high, "lower", floor, n, verdict, of, p_value=float(p))]


def _variation(beats: np.ndarray, fs: float) -> tuple[float, float]:
    """Of the beats of one record, (n_beats, L, W)."""
    if len(beats) < LEAST_BEATS:
        return np.nan, np.nan
    middle = np.median(beats, axis=0).astype(float)
    rest = beats - middle
    qrs, t, between = (_rms(rest[..., _part(span, fs)]) for span in (QRS_MS, T_MS, BETWEEN_MS))
    size = _rms(middle[..., _part(QRS_MS, fs)])
    noise = max(between, LEAST_NOISE * size)
    return (qrs / noise, t / noise) if noise > 0 else (np.nan, np.nan)


def _part(span_ms: tuple[int, int], fs: float) -> slice:
    """Samples of a beat's window from one instant to another around the R peak."""
    start, end = (max(1, round(BEFORE_MS * fs / 1000)) + round(ms * fs / 1000) for ms in span_ms)
    return slice(max(0, start), end + 1)


def _rms(values: np.ndarray) -> float:
    """Root mean square, the mean over time taken off."""
    return float(np.sqrt(np.mean((values - values.mean(axis=-1, keepdims=True)) ** 2)))


def _nearest_other(apart: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Distance of each of the rows to the nearest other of them, (n,)."""
    among = apart[np.ix_(rows, rows)]
    np.fill_diagonal(among, np.inf)
    return among.min(axis=1)
