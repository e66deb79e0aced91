"""What of real people may stand on a page that may be passed on: nothing that could be a single one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ecgveil.evaluation import Features, Metric
from ecgveil.evaluation.distribution import SHARES

_NAN = float("nan")
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


def shareable(metrics: Sequence[Metric]) -> list[Metric]:
    """The figures without shares of real ECGs that a few people make up, and without the p values that tell them."""
    return [
        replace(each, floor=_NAN, target=_NAN, p_value=_NAN) if each.name in SHARES and _of_few(each) else each
        for each in metrics
    ]


def _of_few(metric: Metric) -> bool:
    """Whether one real ECG a person, of `metric.n` people, has a share that fewer than `LEAST_BAR` make up or lack."""
    shares = np.array([each for each in (metric.floor, metric.target) if each == each])
    few = (np.minimum(shares, 1 - shares) * metric.n).round(6)  # 0.1 of 30 are 3
    return metric.n < LEAST_MEAN or bool(((few > 0) & (few < LEAST_BAR)).any())
