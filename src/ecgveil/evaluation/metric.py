"""Metric: one figure of the evidence, with its interval and what real ECGs reach against real ECGs."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Literal

import numpy as np
from scipy.stats import norm

Better = Literal["lower", "higher", "target"]

LEAST_N = 20  # below it no verdict is given
TOO_FEW = "cannot tell with n this small"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Parameters
    ----------
    family : 'fidelity', 'privacy', ...
    name : snake case, with its unit as suffix
    value : the figure; NaN where it cannot be computed
    ci_low, ci_high : 95 % interval of the value; NaN where there is none
    better : 'lower', 'higher', or 'target' (the nearer to `target` the better)
    floor : the same figure of real ECGs against real ECGs, NaN where there are too few to make it
    n : records on the smaller side of the comparison
    verdict : in words
    floor_of : what stands in the synthetic ECGs' place in `floor`
    target : the value sought where `better` is 'target', otherwise NaN
    p_value : how probable so bad a value is where nothing is wrong; NaN where that is not tested.
        One-sided, but of `normal_share`, which may be too high or too low
    """

    family: str
    name: str
    value: float
    ci_low: float
    ci_high: float
    better: Better
    floor: float
    n: int
    verdict: str
    floor_of: str = "training records against holdout records"
    target: float = float("nan")
    p_value: float = float("nan")


def p_of_excess(excess: float, spread: np.ndarray) -> float:
    """One-sided p of an excess over the floor whose values, drawn again, spread so (normal approximation).

    >>> round(p_of_excess(1.96, np.array([-1.0, 1.0])), 3)
    0.025
    """
    width = float(np.std(spread))
    if not (isfinite(excess) and isfinite(width)):
        return float("nan")
    return float(norm.sf(excess / width)) if width > 0 else 0.5 * (excess <= 0)


def p_of_draws(p_values: Sequence[np.ndarray] | Sequence[float]) -> np.ndarray:
    """One p value, or several, (k,), of a test made on several draws of one record of each person: twice the median
    (Rueger, Metrika 25:171, 1978); of a single draw its own.

    >>> [round(float(p_of_draws(each)), 2) for each in ([0.03], [0.01, 0.02, 0.9], [0.6, 0.7])]
    [0.03, 0.04, 1.0]
    """
    return np.asarray(p_values[0]) if len(p_values) == 1 else np.minimum(1.0, 2 * np.median(p_values, axis=0))


def p_if_worse(p: float, value: float, floor: float, better: Better) -> float:
    """The p value of a figure of likeness, which no figure that is as good as its floor has below one half."""
    worse = value > floor if better == "lower" else value < floor
    return p if worse or isnan(p) else max(p, 0.5)


def holm(p_values: list[float], level: float) -> list[bool]:
    """Which of several tests stay significant when any false alarm among them must be rarer than `level`.

    Holm, Scand J Statist 6:65, 1979. NaN is no test.

    >>> holm([0.01, 0.04, float("nan"), 0.03], 0.05)
    [True, False, False, False]
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if isfinite(p))
    found = [False] * len(p_values)
    for k, (p, i) in enumerate(tested):
        if p > level / (len(tested) - k):
            break
        found[i] = True
    return found


def number(value: float) -> float | None:
    """A float as JSON has it: None for NaN and infinity."""
    return float(value) if isfinite(value) else None


def text(value: float) -> str:
    """A float for a reader, three significant digits.

    >>> text(0.12345), text(1234.6), text(float("nan"))
    ('0.123', '1235', '-')
    """
    if isnan(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
