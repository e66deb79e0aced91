"""Metric: one figure of the evidence, with its interval and what real ECGs reach against real ECGs."""

from dataclasses import dataclass
from math import isfinite, isnan
from typing import Literal

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
