"""Whether synthetic ECGs are distributed as real ones: distances and neighbourhoods of feature vectors.

Each figure is a mean over repeated draws of equally many patients from the holdout, the synthetic and the train part;
train in the place of synthetic gives its floor. Whether it is further from real ECGs than by chance is tested by
exchanging people (`exchange`). Intervals come from random halves of each draw (delete-half jackknife; Shao and Tu, The
Jackknife and Bootstrap, 1995): a mean over half the patients, drawn without replacement, varies by as much as one over
all of them. Distances that are near their least vary by more, and a mean over draws by less: the intervals are too wide
rather than too narrow. The bootstrap would repeat patients, and a repeated one's nearest neighbour is itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from scipy.stats import fisher_exact

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.exchange import exchange
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.fidelity import AMPLITUDE_LEADS, BEYOND, DRAWS, LEVEL, WITHIN
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Better, Metric, p_if_worse
from ecgveil.evaluation.privacy import clopper_pearson

INTERVALS = ("p_duration_ms", "pr_interval_ms", "qrs_duration_ms", "qt_interval_ms")
AXES = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")
WAVES = ("p", "r", "s", "t", "stj")
MISSING = {"rate": "heart_rate_bpm", "p": "p_duration_ms", "qrs": "qrs_duration_ms", "t": "qt_interval_ms"}
RR_MS = (300, 2000)  # beyond, one lost beat in a noisy record can turn a regression line
HALVES = 10  # of each draw
MOST_UNKNOWN = 0.5  # share of missing values from which on a record counts as not measured
FARTHEST = 5.0  # scaled measurements end here: one electrode that fell off must not be the whole figure
SHARES = ("normal_share", "measuring_failure_share")  # of ECGs for which something holds
UNKNOWN = "cannot be computed: too few ECGs could be measured"
_PAIRS = 2**21  # pairs of records compared at once (16 MB)

Sets = tuple[np.ndarray, ...]  # three: of train, holdout and synthetic


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Squared Frechet distance of the Gaussians fitted to two samples (Heusel et al., NeurIPS 2017).

    The trace of the root of the covariances' product is the sum of the singular values of R_y R_x', from the QR
    decompositions of the centred samples: no matrix root, nothing added to a diagonal. It is defined for fewer records
    than features too, but its bias grows as the number of records falls: compare only samples of equal size.

    Parameters
    ----------
    x, y : (n, d) and (m, d), n and m at least 2

    Raises
    ------
    EvaluationError
        Shapes do not fit, there are too few rows, or values are not finite.

    >>> frechet([[0.0], [2.0]], [[5.0], [9.0]])
    38.0
    """
    x, y = _samples(x, y, least=2)
    roots = [np.linalg.qr(each - each.mean(axis=0), mode="r") / np.sqrt(len(each) - 1) for each in (x, y)]
    shift = float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum())
    both = float(np.linalg.svd(roots[1] @ roots[0].T, compute_uv=False).sum())
    return max(0.0, shift + float((roots[0] ** 2).sum() + (roots[1] ** 2).sum()) - 2 * both)


def kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x'y / d + 1)^3, unbiased and so at times negative.

    The kernel distance of Binkowski et al., ICLR 2018, without the subsets of KID, which save time there.

    Parameters
    ----------
    x, y : (n, d) and (m, d), n and m at least 2

    Raises
    ------
    EvaluationError
        As `frechet`.
    """
    x, y = _samples(x, y, least=2)
    within = []
    for each in (x, y):
        own = float((((each**2).sum(axis=1) / each.shape[1] + 1) ** 3).sum())
        within.append((_kernel_sum(each, each) - own) / (len(each) * (len(each) - 1)))
    return within[0] + within[1] - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def prdc(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float, float, float]:
    """Precision, recall, density and coverage by balls to the k-th nearest neighbour, Euclidean, borders included.

    Precision: share of fakes within the ball of some real; recall: share of reals within the ball of some fake
    (Kynkaanniemi et al., NeurIPS 2019). Density: mean number of reals whose ball holds a fake, by k; coverage:
    share of reals whose ball holds some fake (Naeem et al., ICML 2020).

    Parameters
    ----------
    real, fake : (n, d) and (m, d), n and m greater than k
    k : neighbours, the record itself not counted

    Raises
    ------
    EvaluationError
        As `frechet`, or k is less than 1.
    """
    if k < 1:
        raise EvaluationError(f"k is {k}; neighbourhoods need at least 1 neighbour")
    real, fake = _samples(real, fake, least=k + 1)
    of_real, of_fake = _radii(real, k), _radii(fake, k)
    precise, recalled, covered, inside = np.zeros(len(fake), bool), 0, 0, 0
    for start, apart in _distance_blocks(real, fake):
        near = apart <= of_real[start : start + len(apart), None]
        precise |= near.any(axis=0)
        inside += int(near.sum())
        covered += int(near.any(axis=1).sum())
        recalled += int((apart <= of_fake).any(axis=1).sum())
    return float(precise.mean()), recalled / len(real), inside / (k * len(fake)), covered / len(real)


def clinical_features(table: pd.DataFrame) -> tuple[np.ndarray, tuple[str, ...]]:
    """The clinical representation of ECGs, from the table of `measure.measure`.

    Heart rate, SD of RR, four intervals, cosine and sine of the axes of P, QRS and T, amplitudes of P, R, S, T and STJ
    in I, II, V1, V3 and V5, and whether rate, P, QRS and T are missing (0 or 1).

    Returns
    -------
    values : (n, 41), NaN where a value is missing; `Scaling` fills and scales
    names : of the columns
    """
    columns = {name: table[name] for name in ("heart_rate_bpm", "rr_sd_ms", *INTERVALS)}
    for name in AXES:
        angle, stem = np.radians(table[name]), name.removesuffix("_deg")
        columns |= {f"{stem}_cos": np.cos(angle), f"{stem}_sin": np.sin(angle)}
    for lead in AMPLITUDE_LEADS:
        columns |= {name: table[name] for name in (f"{wave}_{lead.lower()}_uv" for wave in WAVES)}
    columns |= {f"missing_{what}": table[name].isna() for what, name in MISSING.items()}
    return np.column_stack([column.to_numpy(float) for column in columns.values()]), tuple(columns)


@dataclass(frozen=True, eq=False)
class Scaling:
    """How features are filled and scaled, learned from the train part alone.

    Parameters
    ----------
    names : of the columns kept; those that train has no value of are left out
    kept : (n_kept,) their numbers among the columns given
    middle, scale : (n_kept,) median of train, and SD of its values cut off at their 2.5 and 97.5 percentiles; the plain
        SD where that is zero, 1 where train is constant; 0 and 1 for `missing_` columns
    """

    names: tuple[str, ...]
    kept: np.ndarray
    middle: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray, names: tuple[str, ...]) -> Scaling:
        """Scaling of the columns `names` of train, (n, d) with NaN where a value is missing."""
        kept = np.flatnonzero(np.isfinite(values).any(axis=0))
        values, names = values[:, kept], tuple(names[i] for i in kept)
        low, middle, high = np.nanpercentile(values, [2.5, 50, 97.5], axis=0)
        trimmed, plain = np.nanstd(np.clip(values, low, high), axis=0), np.nanstd(values, axis=0)
        scale = np.where(trimmed > 0, trimmed, np.where(plain > 0, plain, 1.0))
        shown = np.array([name.startswith("missing_") for name in names])
        return cls(names, kept, np.where(shown, 0.0, middle), np.where(shown, 1.0, scale))

    def apply(self, values: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, n_kept): scaled, what is missing as the median of train, nothing beyond `FARTHEST`.

        A record with hardly anything measured is no typical one: all its values lie at `FARTHEST`.
        """
        scaled = (values[:, self.kept] - self.middle) / self.scale
        unknown = np.isnan(scaled)
        scaled = np.where(unknown, 0.0, scaled)
        scaled[unknown.mean(axis=1) > MOST_UNKNOWN] = FARTHEST
        return np.clip(scaled, -FARTHEST, FARTHEST)


def scaled_features(tables: tuple[pd.DataFrame, ...]) -> Sets:
    """Clinical features of train, holdout and synthetic, filled and scaled as train asks; from `measure.measure`."""
    raw = [clinical_features(table) for table in tables]
    scaling = Scaling.fit(*raw[0])
    return tuple(scaling.apply(values) for values, _ in raw)


def distribution_metrics(
    train: np.ndarray,
    holdout: np.ndarray,
    synthetic: np.ndarray,
    patient_id: Sets,
    *,
    seed: int,
    representation: str = "clinical",
    k: int = 5,
) -> list[Metric]:
    """Frechet and kernel distance, precision, recall, density and coverage of synthetic against holdout ECGs.

    Parameters
    ----------
    train, holdout, synthetic : (n, d) features, finite
    patient_id : (n,) of each of the three
    seed : for the draws
    representation : what the features are, the end of the metrics' names
    k : neighbours, for the last four

    Returns
    -------
    list of Metric
        Below `LEAST_N` patients on a side without values; the Frechet distance of no more patients than features has no
        verdict, as covariances cannot be known from them.

    Raises
    ------
    EvaluationError
        Features are not finite or do not fit, or a set has not one patient for each record.
    """
    sets = (train, holdout, synthetic)
    _check(sets, patient_id)
    for each in sets:
        _samples(train, each, least=1)
    better: tuple[Better, ...] = ("lower", "lower", *("higher",) * 4)
    result = compare(lambda real, other: [frechet(real, other), kernel_distance(real, other), *prdc(real, other, k)],
                      sets, patient_id, better, seed)  # fmt: skip
    metrics = [
        result.metric(0, f"frechet_{representation}"),
        result.metric(1, f"kernel_{representation}", least=-np.inf),  # unbiased: below 0 at times
        result.metric(2, f"precision_{representation}", share=True),
        result.metric(3, f"recall_{representation}", share=True),
        result.metric(4, f"density_{representation}"),
        result.metric(5, f"coverage_{representation}", share=True),
    ]
    if result.n <= train.shape[1]:
        metrics[0] = replace(metrics[0], verdict=TOO_FEW)
    return metrics


def clinical_metrics(
    train: pd.DataFrame, holdout: pd.DataFrame, synthetic: pd.DataFrame, patient_id: Sets, *, seed: int
) -> list[Metric]:
    """What measurements have to do with each other, and what they conclude.

    Parameters
    ----------
    train, holdout, synthetic : tables of `measure.measure`
    patient_id : (n,) of each of the three
    seed : for the draws

    Returns
    -------
    list of Metric
        measurement_correlation_error: mean absolute difference, over pairs of scaled features, of their correlation;
        qt_rr_slope_difference (ms per ms) and qt_rr_r_difference: of the regression of QT on RR, without sign, where
        the rate is from 30 to 200 bpm;
        normal_share: of ECGs with the conclusion 'normal', its target the holdout's share; measuring_failure_share: of
        ECGs without a rate, QRS or QT.
    """
    tables = (train, holdout, synthetic)
    _check(tables, patient_id)
    rows = tuple(
        np.column_stack(
            [table["rr_mean_ms"].where(table["rr_mean_ms"].between(*RR_MS)), table["qt_interval_ms"], scaled]
        )
        for table, scaled in zip(tables, scaled_features(tables), strict=True)
    )
    result = compare(_relations, rows, patient_id, ("lower",) * 3, seed)
    names = ("measurement_correlation_error", "qt_rr_slope_difference", "qt_rr_r_difference")
    metrics = [result.metric(i, name) for i, name in enumerate(names)]
    normal = tuple((table["conclusion"] == "normal").to_numpy() for table in tables)
    needed = ["heart_rate_bpm", "qrs_duration_ms", "qt_interval_ms"]
    failed = tuple(table[needed].isna().any(axis=1).to_numpy() for table in tables)
    shares = zip(SHARES, (normal, failed), strict=True)
    return metrics + [_share_metric(name, of, patient_id, seed) for name, of in shares]


def _relations(real: np.ndarray, other: np.ndarray) -> list[float]:
    """Differences of the correlations between features, of the slope of QT on RR, and of their correlation."""
    correlations = [_correlation(each[:, 2:]) for each in (real, other)]
    above = np.triu_indices(len(correlations[0]), 1)
    lines = [_line(*each[:, :2].T) for each in (real, other)]
    return [
        float(np.abs(correlations[0] - correlations[1])[above].mean()),
        *(abs(one - two) for one, two in zip(*lines, strict=True)),
    ]


def _correlation(values: np.ndarray) -> np.ndarray:
    """Between columns, (n, d) -> (d, d); 0 where a column is constant."""
    centred = values - values.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-9)
    return unit.T @ unit


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and r of the regression of y on x, of the rows where both are known; NaN with less than 3 different x."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(np.unique(x)) < 3:
        return np.nan, np.nan
    x, y = x - x.mean(), y - y.mean()
    spread = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / (x**2).sum()), float((x * y).sum() / spread) if spread > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """Figures of synthetic and of train against holdout, what halves vary by, and how probable they are by chance.

    Parameters
    ----------
    n : patients on each side
    better : of each figure
    values : (2, n_figures)
    spread : (times, n_figures), mean 0, of the synthetic ones
    p : (n_figures,)
    """

    n: int
    better: tuple[Better, ...]
    values: np.ndarray
    spread: np.ndarray
    p: np.ndarray

    def metric(self, i: int, name: str, *, least: float = 0.0, share: bool = False) -> Metric:
        """Figure `i`, which cannot be less than `least`; a share's interval is never narrower than the exact one."""
        better = self.better[i]
        value, floor = (float(x) for x in self.values[:, i])
        spread = self.spread[:, i]
        p = p_if_worse(float(self.p[i]), value, floor, better)
        if not (np.isfinite(value) and np.isfinite(spread).all() and np.isfinite(p)):
            nan, why = float("nan"), TOO_FEW if self.n < LEAST_N else UNKNOWN
            return Metric("fidelity", name, nan, nan, nan, better, floor, self.n, why)
        low, high = (float(x) for x in value + np.percentile(spread, [2.5, 97.5]))
        if share:
            exact = clopper_pearson(round(value * self.n), self.n)  # at 0 and 1 nothing varies
            low, high = min(low, exact[0]), min(1.0, max(high, exact[1]))
        verdict = BEYOND if p < LEVEL else WITHIN
        return Metric("fidelity", name, value, max(least, low), high, better, floor, self.n, verdict, p_value=p)


def compare(
    figures: Callable[[np.ndarray, np.ndarray], list[float]],
    sets: Sets,
    patient_id: Sets,
    better: tuple[Better, ...],
    seed: int,
) -> Result:
    """Figures of (holdout, synthetic) and of (holdout, train), over draws of equally many patients.

    `better` says of each whether lower or higher is better.
    """
    n, count = _fewest(patient_id), len(better)
    if n < LEAST_N:
        nan = np.full((2, count), np.nan)
        return Result(n, better, nan, nan[:1], nan[0])
    rng = np.random.default_rng([seed, 21])
    values, halves = np.empty((DRAWS, 2, count)), np.empty((DRAWS, HALVES, count))
    for i in range(DRAWS):
        train, holdout, synthetic = (
            each[draw_rows(who, n, rng, replace=False)] for each, who in zip(sets, patient_id, strict=True)
        )
        values[i] = figures(holdout, synthetic), figures(holdout, train)
        for j in range(HALVES):
            a, b = (rng.permutation(n)[: n // 2] for _ in range(2))
            halves[i, j] = figures(holdout[a], synthetic[b])
    varied = (halves - halves.mean(axis=1, keepdims=True)) * np.sqrt(HALVES / (HALVES - 1))
    worse = np.array([1 if each == "lower" else -1 for each in better])
    people = patient_id[1], patient_id[2]
    p = exchange(lambda real, other: list(worse * figures(real, other)), sets[1], sets[2], people, seed)
    return Result(n, better, values.mean(axis=0), varied.reshape(-1, count), p)


def _share_metric(name: str, sets: Sets, patient_id: Sets, seed: int) -> Metric:
    """Share of ECGs for which something holds, one ECG for each patient; its floor is the train part's share."""
    n, rng = _fewest(patient_id), np.random.default_rng([seed, 22])
    shares = [
        float(np.mean([of[draw_rows(who, n, rng, replace=False)].mean() for _ in range(DRAWS)]))
        for of, who in zip(sets, patient_id, strict=True)
    ]
    train, holdout, synthetic = shares
    counts = [round(share * n) for share in (synthetic, holdout)]
    sought = name == SHARES[0]
    p = fisher_exact([[count, n - count] for count in counts], "two-sided" if sought else "greater").pvalue
    verdict = TOO_FEW if n < LEAST_N else BEYOND if p < (0.05 if sought else 0.025) else WITHIN
    better: Better = "target" if sought else "lower"
    target = holdout if sought else float("nan")
    of = "training records"
    low, high = clopper_pearson(counts[0], n)
    return Metric("fidelity", name, synthetic, low, high, better, train, n, verdict, of, target, p)


def _fewest(patient_id: Sets) -> int:
    return min(len(np.unique(each)) for each in patient_id)


def _check(sets: Sequence[Sized], patient_id: Sets) -> None:
    for name, each, who in zip(("train", "holdout", "synthetic"), sets, patient_id, strict=True):
        if not len(each) or len(each) != len(who):
            raise EvaluationError(f"{name} has {len(each)} records and {len(who)} patients; give one for each record")


def _samples(x: np.ndarray, y: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.shape[1]:
        raise EvaluationError(
            f"features have shapes {x.shape} and {y.shape}; give (records, features), alike in features"
        )
    if min(len(x), len(y)) < least:
        raise EvaluationError(f"{min(len(x), len(y))} records are too few to compare; give at least {least}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise EvaluationError("features hold values that are not finite; fill them first, as Scaling.apply does")
    return x, y


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    step = max(1, _PAIRS // len(y))
    products = (x[start : start + step] @ y.T / x.shape[1] + 1 for start in range(0, len(x), step))
    return float(sum((each * each * each).sum() for each in products))  # ** 3 is ten times as slow


def _distance_blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """First row of each block of x, and its distances to all of y, (n_block, m)."""
    step = max(1, _PAIRS // len(y))
    for start in range(0, len(x), step):
        yield start, cdist(x[start : start + step], y)


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """Distance of each row to its k-th nearest other row, (n,)."""
    # Its own distance, 0, is among them; copied, for a view would keep the whole block.
    return np.concatenate([np.partition(apart, k, axis=1)[:, k].copy() for _, apart in _distance_blocks(x, x)])
