"""Jensen-Shannon divergence between the histograms of two samples, measurement by measurement."""

from __future__ import annotations

import numpy as np

from ecgveil.errors import EvaluationError

BINS = 10  # within what train spans; with the two ends beyond it, and a bin for missing values


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits of histograms, from 0 (alike) to 1 (nothing in common).

    Lin, IEEE Trans Inf Theory 37:145, 1991. Of histograms of finite samples it is above 0 even where both are drawn
    from one population: compare only samples of equal size.

    Parameters
    ----------
    p, q : (..., bins), counts or shares, none negative; each is divided by its sum

    Returns
    -------
    (...)

    Raises
    ------
    EvaluationError
        Shapes differ, a value is negative or not finite, or a histogram is empty.

    >>> float(jensen_shannon([1, 1, 0, 0], [0, 0, 5, 5])), float(jensen_shannon([1, 3], [2, 6]))
    (1.0, 0.0)
    """
    one, two = (np.asarray(each, float) for each in (p, q))
    if one.shape != two.shape or not one.shape[-1:]:
        raise EvaluationError(f"histograms have shapes {one.shape} and {two.shape}; give the same bins for both")
    for each in (one, two):
        if not np.isfinite(each).all() or (each < 0).any() or not (each.sum(axis=-1) > 0).all():
            raise EvaluationError("a histogram is empty or holds negative or infinite counts; count at least one value")
    one, two = (each / each.sum(axis=-1, keepdims=True) for each in (one, two))
    middle = (one + two) / 2
    bits = (_relative_entropy(one, middle) + _relative_entropy(two, middle)) / 2
    return np.clip(bits, 0.0, 1.0)[()]


def histogram_edges(values: np.ndarray) -> list[np.ndarray]:
    """Edges of the bins for each column, from real values: deciles, so that a bin holds about as many as another.

    Parameters
    ----------
    values : (n, d), NaN where a value is missing

    Returns
    -------
    list of d ascending arrays
        Without repeated edges; empty where a column has no value.
    """
    values = np.asarray(values, float)
    known = [column[np.isfinite(column)] for column in values.T]
    shares = np.linspace(0, 1, BINS + 1)
    return [np.unique(np.quantile(each, shares)) if each.size else np.empty(0) for each in known]


def histograms(values: np.ndarray, edges: list[np.ndarray]) -> list[np.ndarray]:
    """Counts of each column: below the first edge, between the edges, above the last one, and missing.

    Parameters
    ----------
    values : (n, d), NaN where a value is missing
    edges : of `histogram_edges`

    Returns
    -------
    list of d arrays
        Of len(edges) + 2 counts each. The last edge itself belongs to the bin below it.
    """
    counts = []
    for column, limits in zip(np.asarray(values, float).T, edges, strict=True):
        known = column[~np.isnan(column)]
        at = np.searchsorted(limits, known, side="right")
        if limits.size:
            at[known == limits[-1]] = max(limits.size - 1, 0)
        counts.append(np.append(np.bincount(at, minlength=limits.size + 1), len(column) - len(known)))
    return counts


def mean_divergence(real: np.ndarray, other: np.ndarray, edges: list[np.ndarray]) -> float:
    """Mean over the columns of the Jensen-Shannon divergence of their histograms, in bits.

    Parameters
    ----------
    real, other : (n, d) and (m, d), NaN where a value is missing
    edges : of `histogram_edges`, learned from other real values

    Raises
    ------
    EvaluationError
        A sample is empty, or columns do not fit.
    """
    if np.ndim(real) != 2 or np.ndim(other) != 2 or not len(edges) == np.shape(real)[1] == np.shape(other)[1]:
        raise EvaluationError(
            f"values have shapes {np.shape(real)} and {np.shape(other)}, for {len(edges)} columns of edges; "
            "give (records, measurements), alike in measurements"
        )
    pairs = zip(histograms(real, edges), histograms(other, edges), strict=True)
    return float(np.mean([jensen_shannon(*pair) for pair in pairs]))


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence in bits, where q is over 0 wherever p is."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(axis=-1)
