"""One row a person, however many windows of theirs there are: what is fitted on a population counts people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def by_person(values: np.ndarray, patients: Sequence[str] | np.ndarray) -> np.ndarray:
    """One row a person, the mean over their windows in which all is known: (n, d), NaN unknown -> (people, d)."""
    known = np.isfinite(values).all(axis=1)
    _, whose = np.unique(np.array(patients, str)[known], return_inverse=True)
    windows = np.bincount(whose)
    sums = np.zeros((len(windows), values.shape[1]))
    np.add.at(sums, whose, values[known])
    return sums / windows[:, None]
