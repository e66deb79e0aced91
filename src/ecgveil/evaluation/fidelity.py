"""How real: each figure compares the synthetic with the holdout ECGs, beside real with real at the same size.

Value and floor are means over repeated draws of equal numbers of patients from either side. Whether a figure is further
from real ECGs than by chance is tested by exchanging people (`exchange`). Intervals are bootstrap intervals (patients
drawn with replacement), their spread laid around the value because resampling itself pulls such distances upwards; of a
mean over draws they are too wide rather than too narrow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import fisher_exact

from ecgveil.evaluation.exchange import exchange
from ecgveil.evaluation.features import Features, draw_rows
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric, holm, p_if_worse

AMPLITUDE_LEADS = ("I", "II", "V1", "V3", "V5")
DRAWS, RESAMPLES = 20, 200
LEVEL = 0.025  # probability that any of all fidelity figures is called worse where none is

WITHIN = "as near to real ECGs as real ECGs are to each other"
BEYOND = "further from real ECGs than real ECGs are from each other"
_FLAT = "cannot be computed: a lead is flat throughout"


@dataclass(frozen=True)
class Figure:
    """A name, the array (rows are records) it needs from the features, and what it makes of (real, other).

    `p_value` of (real, other) is a test of its own, for a figure that looks at the other alone.
    """

    name: str
    array: Callable[[Features], np.ndarray]
    compare: Callable[[np.ndarray, np.ndarray], float]
    p_value: Callable[[np.ndarray, np.ndarray], float] | None = None


def fidelity_metrics(
    train: Features, holdout: Features, synthetic: Features, *, seed: int, in_mv: bool
) -> list[Metric]:
    """Fidelity figures of a synthetic set.

    Parameters
    ----------
    train, holdout, synthetic : features of the three sets, of equal leads and rate
    seed : for the draws
    in_mv : False leaves out amplitudes and the limb-lead residual, which mean nothing in other units
    """
    n = min(len(np.unique(each.patient_id)) for each in (train, holdout, synthetic))
    draws = _draws((train, holdout, synthetic), n, DRAWS, np.random.default_rng([seed, 0]), replace=False)
    resamples = _draws((train, holdout, synthetic), n, RESAMPLES, np.random.default_rng([seed, 1]), replace=True)
    sets = (train, holdout, synthetic)
    chosen = figures(train, in_mv)
    if not any(np.nan_to_num(_limb_residual(each)).any() for each in sets):
        # limb leads computed from I and II on both sides: a figure that could not fail is none
        chosen = [figure for figure in chosen if figure.name != "limb_residual_median_uv"]
    return [_metric(figure, sets, draws, resamples, n, seed) for figure in chosen]


def judge(metrics: list[Metric]) -> list[Metric]:
    """The same with the verdicts of the fidelity figures given together, so that one in 40 sets of real ECGs fails any.

    Figures without a p value, and those with too few records, keep theirs.
    """
    open_ = [m.family == "fidelity" and np.isfinite(m.p_value) and m.verdict in (WITHIN, BEYOND) for m in metrics]
    beyond = holm([m.p_value if judged else float("nan") for m, judged in zip(metrics, open_, strict=True)], LEVEL)
    return [
        replace(m, verdict=BEYOND if worse else WITHIN) if judged else m
        for m, judged, worse in zip(metrics, open_, beyond, strict=True)
    ]


def figures(features: Features, in_mv: bool) -> list[Figure]:
    """The figures that these leads and this unit allow."""
    chosen = [lead for lead in AMPLITUDE_LEADS if lead in features.leads] or features.leads[:3]
    found = [
        Figure("heart_rate_ks", _column("heart_rate_bpm"), ks),
        Figure("rr_sd_ks", _column("rr_sd_ms"), ks),
        Figure("beat_likeness_ks", lambda f: f.beat_likeness, ks),
        Figure("psd_distance_db", lambda f: f.psd_db, psd_distance),
    ]
    if in_mv:
        found += [Figure(f"r_amplitude_{lead}_ks", _column(f"r_{lead.lower()}_uv"), ks) for lead in chosen]
        found += [Figure(f"t_amplitude_{lead}_ks", _column(f"t_{lead.lower()}_uv"), ks) for lead in chosen]
    if len(features.leads) > 1:
        found.append(Figure("lead_correlation_error", lambda f: f.correlation, correlation_error))
    if in_mv and np.isfinite(features.table["limb_residual_uv"]).all():
        # Medians of values that files have rounded jump from one step to the next, or not at all, when resampled.
        found.append(Figure("limb_residual_median_uv", _limb_residual, lambda _, other: median(other), p_of_median))
    return found


def ks(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov-Smirnov distance of two samples, 0 to 1. A missing value counts as one beyond all others.

    >>> ks(np.array([1.0, 2.0]), np.array([3.0, np.nan]))
    1.0
    """
    one, other = (np.sort(np.where(np.isnan(x), np.inf, x)) for x in (one, other))
    every = np.concatenate([one, other])
    below = [np.searchsorted(x, every, side="right") / len(x) for x in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def psd_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square over leads and frequencies of the difference in mean level, dB.

    Levels are means over the records that have any power there, (n, L, F); infinite where a lead of one side has none.
    """
    difference = mean_level_db(one) - mean_level_db(other)
    return float(np.sqrt(np.mean(difference**2))) if np.isfinite(difference).all() else float("inf")


def correlation_error(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference of the mean correlations, (n, L, L), over pairs of leads."""
    above = np.triu_indices(one.shape[-1], 1)
    return float(np.abs(one.mean(axis=0) - other.mean(axis=0))[above].mean())


def median(values: np.ndarray) -> float:
    return float(np.median(values))


def p_of_median(one: np.ndarray, other: np.ndarray) -> float:
    """One-sided p of the other sample's median being no higher: Mood's median test, by Fisher's exact one.

    >>> round(p_of_median(np.array([0.0, 0, 0, 0]), np.array([1.0, 2, 3, 4])), 3)
    0.014
    """
    middle = np.median(np.concatenate([one, other]))
    above = [int((values > middle).sum()) for values in (other, one)]
    table = [[above[0], len(other) - above[0]], [above[1], len(one) - above[1]]]
    return float(fisher_exact(table, alternative="greater").pvalue)


def mean_level_db(psd_db: np.ndarray) -> np.ndarray:
    """Mean over the records that have any power, (n, ...) -> (...); infinite where none has."""
    there = np.isfinite(psd_db)
    count = there.sum(axis=0)
    total = np.where(there, psd_db, 0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.inf), where=count > 0)


def _limb_residual(features: Features) -> np.ndarray:
    """Of each record, uV; below 1 uV it is the rounding of files."""
    residual = features.table["limb_residual_uv"].to_numpy(float)
    return np.where(residual < 1, 0.0, residual)


def _column(name: str) -> Callable[[Features], np.ndarray]:
    return lambda features: features.table[name].to_numpy()


def _draws(
    sets: tuple[Features, ...], n: int, times: int, rng: np.random.Generator, *, replace: bool
) -> list[tuple[np.ndarray, ...]]:
    return [tuple(draw_rows(each.patient_id, n, rng, replace=replace) for each in sets) for _ in range(times)]


def _metric(figure: Figure, sets: tuple[Features, ...], draws: list, resamples: list, n: int, seed: int) -> Metric:
    train, holdout, synthetic = (figure.array(each) for each in sets)

    def compared(rows: tuple[np.ndarray, ...]) -> float:
        return figure.compare(holdout[rows[1]], synthetic[rows[2]])

    value = float(np.mean([compared(rows) for rows in draws]))
    floor = float(np.mean([figure.compare(train[rows[0]], holdout[rows[1]]) for rows in draws]))
    low, high = _interval(value, np.array([compared(rows) for rows in resamples]))
    if figure.p_value:
        p = figure.p_value(holdout[draws[0][1]], synthetic[draws[0][2]])
    else:
        people = sets[1].patient_id, sets[2].patient_id
        p = float(exchange(lambda *both: [figure.compare(*both)], holdout, synthetic, people, seed)[0])
    p = p_if_worse(p, value, floor, "lower")
    if not np.isfinite([value, low, high, p]).all():
        nan = float("nan")
        told = BEYOND if np.isinf(value) and np.isfinite(floor) and n >= LEAST_N else _FLAT  # flat in these alone
        return Metric("fidelity", figure.name, nan, nan, nan, "lower", floor, n, told)
    verdict = TOO_FEW if n < LEAST_N else BEYOND if p < LEVEL else WITHIN
    return Metric("fidelity", figure.name, value, max(0.0, low), high, "lower", floor, n, verdict, p_value=p)


def _interval(value: float, spread: np.ndarray) -> tuple[float, float]:
    """The 95 % spread of resampled values, laid around the value."""
    if not np.isfinite(spread).all():
        return float("nan"), float("nan")
    low, high = np.percentile(spread - spread.mean(), [2.5, 97.5])
    return float(value + low), float(value + high)
