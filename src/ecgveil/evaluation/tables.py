"""How near a synthetic table comes to a real one, feature by feature, beside what real rows reach against real rows.

P1 section 3.3.3 draws box plots of the continuous features and counts the positives of the binary ones; these are the
figures that such plots show.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.stats import ks_2samp

from ecgveil.errors import EvaluationError
from ecgveil.tables import TableSet


class FeatureFigure(NamedTuple):
    """One feature, lower is better in all three figures.

    Parameters
    ----------
    name : of the feature
    measure : 'ks' (Kolmogorov-Smirnov distance, continuous) or 'rate' (difference of rate of the higher value, binary)
    value : real against synthetic; NaN where a side has no value at all
    floor : real against other real rows
    missing : difference in the share of missing values, real against synthetic
    """

    name: str
    measure: str
    value: float
    floor: float
    missing: float


def compare_tables(real: TableSet, synthetic: TableSet, other_real: TableSet) -> list[FeatureFigure]:
    """A figure for each feature, in the order of `real`.

    Parameters
    ----------
    real : rows that the generator learned from
    synthetic : rows that it made
    other_real : rows of other people, for the floor

    Raises
    ------
    EvaluationError
        The columns differ, or a table is empty.
    """
    for name, other in (("synthetic", synthetic), ("other_real", other_real)):
        if other.names != real.names:
            raise EvaluationError(
                f"{name} has columns {', '.join(other.names)}, real {', '.join(real.names)}; give the same"
            )
    for name, each in (("real", real), ("synthetic", synthetic), ("other_real", other_real)):
        if not len(each):
            raise EvaluationError(f"{name} has no rows; give some")
    both = TableSet(np.concatenate([real.values, other_real.values]), real.names)
    figures = []
    for i, binary in enumerate(both.two_valued()):
        columns = [_present(each.values[:, i]) for each in (real, synthetic, other_real)]
        usual = float(np.nanmin(both.values[:, i])) if len(_present(both.values[:, i])) else 0.0
        measure, distance = ("rate", partial(_rate_difference, usual=usual)) if binary else ("ks", _ks)
        missing = abs(float(np.isnan(real.values[:, i]).mean() - np.isnan(synthetic.values[:, i]).mean()))
        value, floor = distance(columns[0], columns[1]), distance(columns[0], columns[2])
        figures.append(FeatureFigure(real.names[i], measure, value, floor, missing))
    return figures


def _present(column: np.ndarray) -> np.ndarray:
    return column[~np.isnan(column)]


def _ks(one: np.ndarray, two: np.ndarray) -> float:
    if not len(one) or not len(two):
        return float("nan")
    return float(ks_2samp(one, two, method="asymp").statistic)


def _rate_difference(one: np.ndarray, two: np.ndarray, usual: float) -> float:
    """Difference of the share of values other than `usual`, the lower of the two."""
    if not len(one) or not len(two):
        return float("nan")
    return abs(float((one != usual).mean() - (two != usual).mean()))
