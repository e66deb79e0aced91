"""Labels as classes of which every ECG has exactly one, and as many ECGs of each (P1 section 4.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError

_UNDERSAMPLE = 81  # number of the stream of draws


def in_classes(ecgs: ECGSet, labels: Sequence[str], other: str = "") -> tuple[ECGSet, int]:
    """The same ECGs with one label each: the first of `labels` that they bear, or else `other`.

    Done twice it changes nothing more.

    Parameters
    ----------
    ecgs : with any labels
    labels : names of classes, the one that goes before others first
    other : class of those that bear none of them; '': these are left out

    Returns
    -------
    ECGSet, how many were left out

    Raises
    ------
    RecordError
        None is left.
    """
    first = [next((name for name in labels if name in borne), other) for borne in ecgs.labels]
    kept = [row for row, name in enumerate(first) if name]
    if not kept:
        found = Counter(label for borne in ecgs.labels for label in borne).most_common(8)
        told = ", ".join(label for label, _ in found) or "none"
        raise RecordError(
            f"none of {len(ecgs)} ECGs bears any of data.labels ({', '.join(labels)}); the commonest labels are {told}"
        )
    left = ecgs if len(kept) == len(ecgs) else ecgs.take(kept)
    return replace(left, labels=tuple((first[row],) for row in kept)), len(ecgs) - len(kept)


def count_classes(ecgs: ECGSet, classes: Sequence[str]) -> dict[str, int]:
    """ECGs of each class."""
    counts = Counter(borne[0] for borne in ecgs.labels)
    return {name: counts[name] for name in classes}


def undersample(ecgs: ECGSet, classes: Sequence[str], seed: int) -> ECGSet:
    """As many ECGs of each class as the smallest has, drawn at random, in their order.

    Parameters
    ----------
    ecgs : with one label each, as `in_classes` gives them
    classes : their names
    seed : of the draw

    Raises
    ------
    RecordError
        There are no ECGs of a class.
    """
    counts = count_classes(ecgs, classes)
    rarest = min(counts, key=lambda name: counts[name])
    if not counts[rarest]:
        raise RecordError(f"no ECG of the training part is of class '{rarest}'; leave it out, or give more records")
    own = np.array([borne[0] for borne in ecgs.labels])
    rng = np.random.default_rng([seed, _UNDERSAMPLE])
    drawn = [rng.choice(np.flatnonzero(own == name), counts[rarest], replace=False) for name in classes]
    return ecgs.take(np.sort(np.concatenate(drawn)))
