"""Patients -> train, validation and holdout. A person is in one part only."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.streams import SPLIT, stream

FRACTIONS = (0.7, 0.15, 0.15)
MIN_PATIENTS = 10


class Parts(NamedTuple):
    train: ECGSet
    validation: ECGSet
    holdout: ECGSet


def split(ecgs: ECGSet, *, seed: int, fractions: tuple[float, float, float] = FRACTIONS) -> Parts:
    """Split by patient, each label spread over the parts as evenly as its patients allow.

    Parameters
    ----------
    ecgs : records; those with one `patient_id` stay together
    seed : of the shuffle
    fractions : of patients, for train, validation and holdout; they add up to 1

    Raises
    ------
    RecordError
        Fewer than `MIN_PATIENTS` patients, or fractions that leave a part empty.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise RecordError(f"fractions are {fractions}; give three positive ones that add up to 1")
    patients = sorted(set(ecgs.patient_id))
    if len(patients) < MIN_PATIENTS:
        raise RecordError(
            f"{len(ecgs)} records of {len(patients)} patients; a split into train, validation and holdout "
            f"needs at least {MIN_PATIENTS} patients: give more records"
        )
    order = stream(seed, SPLIT).permutation(len(patients))
    stratum = _strata(ecgs)
    # Patients in a line, stratum by stratum, and the parts dealt along it by largest remainder: every stratum gets
    # its share, and small strata share their remainders with the next one in line.
    line = sorted((patients[i] for i in order), key=lambda patient: stratum[patient])
    part_of: dict[str, int] = {}
    dealt = np.zeros(3)
    for position, patient in enumerate(line, start=1):
        part = int(np.argmax(position * np.array(fractions) - dealt))
        dealt[part] += 1
        part_of[patient] = part
    if (dealt == 0).any():
        raise RecordError(f"fractions {fractions} leave a part empty for {len(patients)} patients; give more records")
    rows = np.array([part_of[patient] for patient in ecgs.patient_id])
    return Parts(*(ecgs.take(np.flatnonzero(rows == part)) for part in range(3)))


def _strata(ecgs: ECGSet) -> dict[str, str]:
    """Each patient's rarest label: what is rare is what a split must not leave to chance."""
    owned: dict[str, set[str]] = defaultdict(set)
    for patient, labels in zip(ecgs.patient_id, ecgs.labels, strict=True):
        owned[patient].update(labels)
    frequency = Counter(label for labels in owned.values() for label in labels)
    return {patient: min(labels, key=lambda x: (frequency[x], x), default="") for patient, labels in owned.items()}
