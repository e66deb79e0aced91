"""People, not their windows: what is fitted on a population counts each once, and what few bear is not named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LEAST_ALIKE = 5  # people of whom something is true: of fewer it is neither drawn nor named, as it may be one's own
LEAST_PEOPLE = 10  # that anything is fitted on, or compared with, as a group
_MOST_NAMED = 8


def by_person(values: np.ndarray, patients: Sequence[str] | np.ndarray) -> np.ndarray:
    """One row a person, the mean over their windows in which all is known: (n, d), NaN unknown -> (people, d)."""
    known = np.isfinite(values).all(axis=1)
    _, whose = np.unique(np.array(patients, str)[known], return_inverse=True)
    windows = np.bincount(whose)
    sums = np.zeros((len(windows), values.shape[1]))
    np.add.at(sums, whose, values[known])
    return sums / windows[:, None]


def weights(patients: Sequence[str] | np.ndarray) -> np.ndarray:
    """Of windows, (n,), by which each person counts once.

    >>> weights(["a", "b", "a"])
    array([0.5, 1. , 0.5])
    """
    _, whose, windows = np.unique(np.array(patients, str), return_inverse=True, return_counts=True)
    return 1.0 / windows[whose]


def named(bearers: Mapping[str, int]) -> str:
    """Labels that so many people bear each, for a sentence that whoever holds a release may read.

    >>> named({"AFIB": 7, "a rare disease": 1, "PVC": 5, "another": 2}), named({"a rare disease": 1})
    ('AFIB, PVC and 2 borne by fewer than 5 people', '1 borne by fewer than 5 people')
    """
    told = [label for label, people in bearers.items() if people >= LEAST_ALIKE]
    rare, more = len(bearers) - len(told), len(told) - _MOST_NAMED
    parts = [", ".join(told[:_MOST_NAMED])] if told else []
    parts += [f"{more} more"] if more > 0 else []
    parts += [f"{rare} borne by fewer than {LEAST_ALIKE} people"] if rare else []
    return " and ".join(parts)
