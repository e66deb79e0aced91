from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.split import split


def make(patients, labels=()):
    n = len(patients)
    return ECGSet(np.zeros((n, 1, 2)), 100, ("I",), tuple(f"r{i}" for i in range(n)), tuple(patients), tuple(labels))


@given(st.lists(st.integers(0, 40), min_size=60, max_size=120), st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_no_patient_is_in_two_parts_and_no_record_is_lost(patients, seed):
    ecgs = make([f"p{i}" for i in patients])
    if len(set(patients)) < 10:
        return
    parts = split(ecgs, seed=seed)
    owners = [set(part.patient_id) for part in parts]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert Counter(name for part in parts for name in part.record_name) == Counter(ecgs.record_name)


def test_each_label_is_spread_by_the_fractions():
    labels = [("rare",)] * 20 + [("common",)] * 80
    parts = split(make([f"p{i}" for i in range(100)], labels), seed=1)
    assert [len(part) for part in parts] == [70, 15, 15]
    assert [sum(label == ("rare",) for label in part.labels) for part in parts] == [14, 3, 3]


def test_seeded():
    ecgs = make([f"p{i}" for i in range(50)])
    assert split(ecgs, seed=1).train.record_name == split(ecgs, seed=1).train.record_name
    assert split(ecgs, seed=1).train.record_name != split(ecgs, seed=2).train.record_name


def test_too_few_patients():
    with pytest.raises(RecordError, match="3 records of 3 patients.*at least 10"):
        split(make(["a", "b", "c"]), seed=0)
