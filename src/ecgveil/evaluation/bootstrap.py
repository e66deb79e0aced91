"""Figures of classifiers with bootstrap samples over test patients and trainings, so that differences stay paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TIMES = 1000  # bootstrap samples
MOST_UNKNOWN = 0.05  # share of them that may lack a side; the rest would be the same few people again and again


@dataclass(frozen=True, eq=False)
class Figure:
    """A statistic of each class, (k,), and its bootstrap samples, (TIMES, k); NaN where a class is not in the test."""

    value: np.ndarray
    samples: np.ndarray

    def minus(self, other: Figure) -> Figure:
        return Figure(self.value - other.value, self.samples - other.samples)

    def macro(self) -> Figure:
        """The mean over the classes that are in the test; in a sample, over those that were drawn."""
        return Figure(_known_mean(self.value[None]), _known_mean(self.samples)[:, None])

    def at(self, column: int) -> Figure:
        return Figure(self.value[[column]], self.samples[:, [column]])

    def interval(self) -> tuple[float, float]:
        if np.isnan(self.samples).mean() > MOST_UNKNOWN:
            return float("nan"), float("nan")
        low, high = np.nanpercentile(self.samples, [2.5, 97.5])
        return float(low), float(high)


def weighted_auc(scores: np.ndarray, borne: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve for several weightings of the records at once; NaN where a side has no weight.

    Parameters
    ----------
    scores : (n,), higher where the class is likelier
    borne : (n,), whether the class is there
    weights : (m, n), of the records, as how often a bootstrap drew them

    Returns
    -------
    (m,)

    >>> weighted_auc(np.array([2, 3, 1, 2]), np.array([1, 1, 0, 0]), np.ones((1, 4)))
    array([0.875])
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of runs of equal scores
    positive, negative = (
        np.add.reduceat(weights[:, order] * side[order], starts, axis=1) for side in (borne > 0, borne == 0)
    )
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * below).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)


def weighted_f1(calls: np.ndarray, borne: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 for several weightings at once, as `weighted_auc`; NaN where no record with weight bears the class."""
    hits = weights @ (calls & (borne > 0)).astype(float)
    called, bearing = weights @ calls.astype(float), weights @ (borne > 0).astype(float)
    return np.divide(2 * hits, called + bearing, out=np.full(len(hits), np.nan), where=bearing > 0)


def draws(patients: np.ndarray, seeds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each bootstrap sample has each record, (TIMES, n), and each seed, (TIMES, seeds).

    Patients are drawn with replacement, each with all records. The first sample is the data themselves.
    """
    rng = np.random.default_rng([seed, 45])
    _, person = np.unique(patients, return_inverse=True)
    n = int(person.max()) + 1
    weights = rng.multinomial(n, np.full(n, 1 / n), size=TIMES)[:, person].astype(np.float32)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=TIMES) / seeds
    return np.vstack([np.ones((1, len(person)), np.float32), weights]), np.vstack([np.full(seeds, 1 / seeds), of_seeds])


def figure(
    statistic: Callable[..., np.ndarray],
    predictions: np.ndarray,
    targets: np.ndarray,
    drawn: tuple[np.ndarray, np.ndarray],
) -> Figure:
    """A statistic of predictions (seeds, n, k), class by class, mean over the drawn seeds."""
    weights, of_seeds = drawn
    values = np.empty((len(weights), targets.shape[1]))
    for column in range(targets.shape[1]):
        each = np.stack([statistic(one[:, column], targets[:, column], weights) for one in predictions], axis=1)
        values[:, column] = (each * of_seeds).sum(axis=1)
    return Figure(values[0], values[1:])


def mean(figures: Sequence[Figure]) -> Figure:
    """The mean of figures of the same classes and bootstrap samples."""
    values, samples = ([getattr(each, name) for each in figures] for name in ("value", "samples"))
    return Figure(np.mean(values, axis=0), np.mean(samples, axis=0))


def _known_mean(values: np.ndarray) -> np.ndarray:
    """Mean of each row without its NaN, (m, k) -> (m,); NaN where there is nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.divide(np.where(known, values, 0).sum(axis=1), count, out=np.full(len(values), np.nan), where=count > 0)
