"""What of real people may stand on a page that may be passed on: nothing that could be a single one's."""

from __future__ import annotations

import numpy as np

from ecgveil.evaluation import Features

LEAST_MEAN, LEAST_BAR = 20, 3  # people that a real mean, and a real bar, stand for on such a page


def people(features: Features, among: np.ndarray | None = None) -> int:
    """Persons in a set, or behind the ECGs `among` (bool, (n,)) which."""
    return len(np.unique(features.patient_id if among is None else features.patient_id[among]))


def guarded(name: str, public: bool) -> bool:
    """True for a set of real people on a page that may be passed on."""
    return public and name != "synthetic"


def enough(features: Features, name: str, public: bool, among: np.ndarray | None = None) -> bool:
    """May figures over these ECGs be shown? Not those of a few real people on a page that may be passed on."""
    return not guarded(name, public) or people(features, among) >= LEAST_MEAN
