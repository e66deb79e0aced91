"""Intervals of what an attack or a classifier reaches: area under the ROC curve, and hits at few false alarms.

Scores of positives (members, synthetic ECGs) and negatives are independent, one for each person.
"""

import numpy as np
from scipy.stats import beta, binom, norm, rankdata

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.privacy import clopper_pearson

_Z = float(norm.ppf(0.975))


def auc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Parameters
    ----------
    positives, negatives : (m,) and (n,) scores, higher for positives

    Raises
    ------
    EvaluationError
        A side is empty, or a score is NaN.

    >>> auc([2, 3], [1, 2])
    0.875
    """
    above, _ = _placements(positives, negatives)
    return float(above.mean())


def auc_interval(positives: np.ndarray, negatives: np.ndarray) -> tuple[float, float]:
    """95 % interval of `auc` (DeLong, DeLong and Clarke-Pearson, Biometrics 44:837, 1988), laid on the logit scale.

    Computed from ranks (Sun and Xu, IEEE Signal Process Lett 21:1389, 2014). Without a variance (an AUC of 0 or 1, all
    scores equal, a single score on one side) the exact binomial interval stands in: min(m, n) pairs of a positive and
    a negative can be made that share nobody, independent trials of which a share `auc` is won.

    Raises
    ------
    EvaluationError
        As `auc`.

    >>> tuple(round(x, 3) for x in auc_interval([3, 4, 5], [0, 1, 2]))
    (0.292, 1.0)
    """
    above, below = _placements(positives, negatives)
    m, n, area = len(above), len(below), float(above.mean())
    varies = max(np.ptp(above), np.ptp(below)) > 1e-9  # shares are multiples of 1 / 2m or 1 / 2n
    if min(m, n) < 2 or not varies:
        won = area * min(m, n)
        return clopper_pearson(int(won), min(m, n))[0], clopper_pearson(int(np.ceil(won)), min(m, n))[1]
    variance = above.var(ddof=1) / m + below.var(ddof=1) / n
    logit, reach = np.log(area / (1 - area)), _Z * np.sqrt(variance) / (area * (1 - area))
    return float(1 / (1 + np.exp(reach - logit))), float(1 / (1 + np.exp(-reach - logit)))


def tpr_at_fpr(positives: np.ndarray, negatives: np.ndarray, fpr: float) -> tuple[float, float, float]:
    """Share of positives found when at most a share `fpr` of the negatives is falsely accused.

    Who scores above the threshold is accused; the threshold is the lowest negative score that at most `fpr` of the
    negatives exceed. Its interval holds whatever the scores' distributions are: the true threshold lies between two
    negatives with 97.5 % (their ranks are binomial), the share above a threshold in its Clopper-Pearson interval with
    97.5 %, so the share at the true threshold lies in the interval with at least 95 %. With too few negatives to see
    that far (under 437 for 1 %, under 4,380 for 0.1 %) its lower end is 0, however well the attack does.

    Parameters
    ----------
    positives, negatives : (m,) and (n,) scores, higher for positives
    fpr : false positive rate, between 0 and 1

    Returns
    -------
    value, low, high

    Raises
    ------
    EvaluationError
        As `auc`, or `fpr` is not between 0 and 1.

    >>> tpr_at_fpr([3, 4, 5, 0], [0, 1, 2], 0.01)[0]
    0.75
    """
    if not 0 < fpr < 1:
        raise EvaluationError(f"fpr is {fpr}; it must lie between 0 and 1, as 0.01")
    positives, negatives = _scores(positives, "positives"), np.sort(_scores(negatives, "negatives"))[::-1]
    m, n = len(positives), len(negatives)

    def found(rank: int) -> int:
        """How many positives exceed the negative of this rank from above (0: the highest; n: all do, -1: none)."""
        return m if rank >= n else 0 if rank < 0 else int((positives > negatives[rank]).sum())

    fewest, most = (int(x) for x in binom.ppf([0.0125, 0.9875], n, fpr))  # negatives that exceed the true threshold
    low = float(beta.ppf(0.0125, k, m - k + 1)) if (k := found(fewest - 1)) else 0.0
    k = found(most)
    high = float(beta.ppf(0.9875, k + 1, m - k)) if k < m else 1.0
    return found(int(fpr * n + 1e-9)) / m, low, high


def _scores(scores: np.ndarray, side: str) -> np.ndarray:
    scores = np.asarray(scores, float)
    if scores.ndim != 1 or not len(scores):
        raise EvaluationError(f"{side} have shape {scores.shape}; give one score for each person, at least one")
    if np.isnan(scores).any():
        raise EvaluationError(
            f"{int(np.isnan(scores).sum())} scores of {side} are NaN; leave those persons out, or score"
        )
    return scores


def _placements(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each positive the share of negatives below it, of each negative the share of positives above it."""
    positives, negatives = _scores(positives, "positives"), _scores(negatives, "negatives")
    m, n = len(positives), len(negatives)
    ranks = rankdata(np.concatenate([positives, negatives]))
    above = (ranks[:m] - rankdata(positives)) / n
    below = 1 - (ranks[m:] - rankdata(negatives)) / m
    return above, below
