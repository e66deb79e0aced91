"""ECGs -> what is learned of them beside their signals: labels, sex, age and heart rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.measure.beats import r_peaks
from ecgveil.models.conditions import Conditions
from ecgveil.recipe import DataSettings
from ecgveil.rhythm import LabelledRhythm, RatePlace, Rhythm

_LEAST_PEAKS = 3


def heart_rates(ecgs: ECGSet) -> np.ndarray:
    """Mean heart rate of each ECG, (n,) bpm; NaN where fewer than 3 R peaks are found."""
    return np.array(
        [
            60.0 * ecgs.fs * (len(peaks) - 1) / (peaks[-1] - peaks[0]) if len(peaks) >= _LEAST_PEAKS else np.nan
            for peaks in r_peaks(ecgs)
        ]
    )


def traits(ecgs: ECGSet, names: tuple[str, ...]) -> dict[str, Any]:
    """What `names`, of 'sex', 'age' and 'heart_rate', are in each ECG."""
    found: dict[str, Any] = {}
    if "sex" in names:
        found["sex"] = ecgs.sex
    if "age" in names:
        found["age"] = ecgs.age
    if "heart_rate" in names:
        found["heart_rate"] = heart_rates(ecgs)
    return found


def fit_conditions(ecgs: ECGSet, data: DataSettings) -> Conditions | None:
    """What the recipe learns beside signals, counted over the training windows; None where it learns nothing.

    Raises
    ------
    RecordError
        Too few patients show it.
    """
    if not data.classes and not data.conditions:
        return None
    return Conditions.fit(ecgs.labels, ecgs.patient_id, data.classes, traits(ecgs, data.conditions))


def encode(conditions: Conditions | None, ecgs: ECGSet) -> np.ndarray | None:
    """The conditions that ECGs in the run's form stand for, float32 (n, k)."""
    return None if conditions is None else conditions.encode(ecgs.labels, traits(ecgs, conditions.learns))


def fit_rhythm(
    ecgs: ECGSet, conditions: Conditions | None, seed: int, beats: list[np.ndarray] | None = None
) -> Rhythm | LabelledRhythm:
    """The rhythm of the training windows, under their conditions if there are any; errors as `Rhythm.fit`.

    `beats` are the R times of each in s, where these are known better than `r_peaks` finds them.
    """
    beats = [peaks / ecgs.fs for peaks in r_peaks(ecgs)] if beats is None else beats
    intervals = [np.diff(each) for each in beats]
    if conditions is None:
        return Rhythm.fit(intervals, seed, ecgs.patient_id)
    rate = None
    if "heart_rate" in conditions.learns:
        rate = RatePlace(conditions.place("heart_rate"), *conditions.scale["heart_rate"])
    borne = conditions.encode(ecgs.labels)[:, : len(conditions.names)]
    return LabelledRhythm.fit(intervals, borne, seed, rate, ecgs.patient_id)
