"""Could synthetic ECGs be further recordings of the population that the holdout is from?

Then who is in which set would be chance, and exchanging people between the two would change no figure but by chance
(permutation test; Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005). Unlike a bootstrap or a
jackknife of distances, whose least value is 0, that knows how such figures spread where nothing is wrong.

What is left out: that the generator itself learned from so many people. A perfect one is off by their chance too, but
in the usual parts (70 % and 15 % of the people) that adds a tenth to the spread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import pearson3, skew

from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.metric import p_of_draws

EXCHANGES = 400
MOST_SYNTHETIC = 3  # times as many people as are held out: more would show hardly more
_RECORD_DRAWS = 4  # where somebody has several records, of whom one is drawn at a time

Figures = Callable[[np.ndarray, np.ndarray], list[float]]  # of real and synthetic rows; larger is worse


def exchange(
    figures: Figures, real: np.ndarray, synthetic: np.ndarray, people: tuple[np.ndarray, np.ndarray], seed: int
) -> np.ndarray:
    """One-sided p value of each figure being so large by chance.

    Parameters
    ----------
    figures : of (real, synthetic), rows of the arrays given; the larger the worse
    real, synthetic : (n, ...), (m, ...) records
    people : whose each record is, (n,) and (m,); one record of each counts at a time. Where somebody has several, they
        are drawn a few times (`metric.p_of_draws`)
    seed : for the draws

    Returns
    -------
    (n_figures,)
        NaN where a figure cannot be computed.
    """
    rng = np.random.default_rng([seed, 23])
    counts = [len(np.unique(each)) for each in people]
    sizes = counts[0], min(counts[1], MOST_SYNTHETIC * counts[0])
    single = counts[0] == len(people[0])  # each synthetic ECG is mostly of its own person
    found = []
    for _ in range(1 if single else _RECORD_DRAWS):
        drawn = [draw_rows(who, size, rng, replace=False) for who, size in zip(people, sizes, strict=True)]
        both = np.concatenate([real[drawn[0]], synthetic[drawn[1]]])
        orders = [np.arange(len(both)), *(rng.permutation(len(both)) for _ in range(EXCHANGES))]
        reached = np.array([figures(both[order[: sizes[0]]], both[order[sizes[0] :]]) for order in orders], float)
        found.append(np.array([p_of_exchange(each[0], each[1:]) for each in reached.T]))
    return p_of_draws(found)


def p_of_exchange(value: float, exchanged: np.ndarray) -> float:
    """Share of exchanges that give as much; beyond all of them the tail of a gamma distribution of their mean, SD and
    skewness (Pearson's type III), as exchanges alone could show no less than one in their number.

    >>> p_of_exchange(5.0, np.arange(9.0))
    0.5
    """
    if not np.isfinite(value):
        return float("nan")
    known = exchanged[np.isfinite(exchanged)]
    above = len(exchanged) - int((known < value - 1e-12).sum())  # what cannot be computed may have been more
    share = (1 + above) / (1 + len(exchanged))
    width = float(known.std()) if len(known) > 2 else 0.0
    if above or width <= 1e-9 * max(1.0, abs(value)):
        return share
    lean = max(0.0, float(skew(known)))  # shorter than a Gaussian's it is not trusted to be
    return min(share, float(pearson3.sf((value - known.mean()) / width, lean)))
