from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgveil.classes import count_classes, in_classes, undersample
from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError

borne = st.lists(st.lists(st.sampled_from("ABCD"), unique=True), min_size=1, max_size=12)


def bearing(labels):
    n = len(labels)
    return ECGSet(np.arange(n, dtype=np.float32)[:, None, None].repeat(4, 2), 100, ("I",), range(n), labels=labels)


@given(labels=borne)
def test_one_label_each_and_twice_changes_nothing_more(labels):
    ecgs = bearing(labels)
    once, left_out = in_classes(ecgs, ("B", "A"), "other")
    assert left_out == 0
    for had, has in zip(labels, once.labels, strict=True):
        assert has == (("B",) if "B" in had else ("A",) if "A" in had else ("other",))
    twice, left_out = in_classes(once, ("B", "A"), "other")
    assert left_out == 0
    assert twice.labels == once.labels
    assert np.array_equal(once.signal, ecgs.signal)


def test_without_another_class_those_bearing_none_are_left_out():
    ecgs = bearing([("C",), ("A", "B"), (), ("B",)])
    kept, left_out = in_classes(ecgs, ("B", "A"))
    assert (kept.record_name, kept.labels, left_out) == (("1", "3"), (("B",), ("B",)), 2)
    assert in_classes(kept, ("B", "A"))[1] == 0
    with pytest.raises(RecordError, match=r"none of 4 ECGs bears any of data.labels \(X\); the commonest labels are B"):
        in_classes(ecgs, ("X",))


def test_undersampling_keeps_as_many_of_each_as_the_smallest_has():
    ecgs = bearing([("A",)] * 40 + [("B",)] * 7 + [("C",)] * 12)
    classes = ("A", "B", "C")
    assert count_classes(ecgs, classes) == {"A": 40, "B": 7, "C": 12}
    few = undersample(ecgs, classes, seed=1)
    assert count_classes(few, classes) == {"A": 7, "B": 7, "C": 7}
    assert set(few.record_name) <= set(ecgs.record_name)
    assert sorted(map(int, few.record_name)) == list(map(int, few.record_name))
    assert undersample(ecgs, classes, seed=1).record_name == few.record_name
    assert undersample(ecgs, classes, seed=2).record_name != few.record_name
    with pytest.raises(RecordError, match="no ECG of the training part is of class 'D'"):
        undersample(ecgs, (*classes, "D"), seed=1)


def test_undersampling_prefers_none():
    ecgs = bearing([("A",)] * 10 + [("B",)] * 5)
    drawn = Counter(name for seed in range(400) for name in undersample(ecgs, ("A", "B"), seed).record_name)
    assert all(drawn[str(i)] == pytest.approx(200, abs=50) for i in range(10))
    assert all(drawn[str(i)] == 400 for i in range(10, 15))


def test_other_facts_of_a_record_stay_its_own():
    ecgs = replace(bearing([("A",), (), ("B",)]), age=np.array([1, 2, 3]), sex=("male", "", "female"))
    kept, _ = in_classes(ecgs, ("A", "B"))
    assert (kept.age.tolist(), kept.sex) == ([1, 3], ("male", "female"))
