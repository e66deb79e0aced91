"""Corrupted ECGs: a row each, no exception, no warning. The corruptions are those of benchmarks/measure_fuzz.py."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.leads import LEADS_12
from ecgveil.measure import measure

_SPEC = importlib.util.spec_from_file_location(
    "measure_fuzz", Path(__file__).parents[1] / "benchmarks" / "measure_fuzz.py"
)
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)


@pytest.fixture(scope="module")
def sound():
    return fuzz.pool()


@pytest.fixture(scope="module")
def columns(sound):
    return list(measure(ECGSet(sound[:1], 1000, LEADS_12, ("sound",))).columns)


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_corrupted_arrays(first, sound, columns):
    failures = [said for seed in range(first, first + 50) for said in fuzz.try_one(sound, seed, columns)[0]]
    assert not failures


def test_corrupted_files(sound):
    failures, table = fuzz.try_files(sound, 60, seed=7)
    assert not failures
    assert len(table) == 60
    assert table["heart_rate_bpm"].notna().mean() > 0.5
    assert table["reasons"].str.contains("unreadable").any()
    assert table["reasons"].str.contains("nan: ").any()


@pytest.mark.parametrize("corruption", fuzz.CORRUPTIONS, ids=lambda each: each.__name__)
def test_each_corruption_of_a_set_of_many(corruption, sound, columns):
    """Sound and corrupted ECGs in one set: the corrupted ones do not change their neighbours' rows."""
    signal = sound[:6, :, 1000:6000:2].astype(float)
    before = measure(ECGSet(signal, 500, LEADS_12, tuple("abcdef")))
    for row in (1, 4):
        corruption(signal[row], np.random.default_rng(row))
    after = measure(ECGSet(np.clip(signal, -1e6, 1e6), 500, LEADS_12, tuple("abcdef")))
    assert list(after["record_name"]) == list("abcdef")
    untouched = [0, 2, 3, 5]
    numbers = before.select_dtypes("number").columns
    np.testing.assert_allclose(after.loc[untouched, numbers], before.loc[untouched, numbers], rtol=1e-3, atol=1)
    assert list(after.loc[untouched, "conclusion"]) == list(before.loc[untouched, "conclusion"])


@pytest.mark.parametrize(("size", "leads"), [(0, 12), (1, 12), (2, 1), (499, 8), (5000, 1)])
def test_the_least_there_can_be(size, leads, columns):
    table = measure(ECGSet(np.zeros((3, leads, size)), 500, LEADS_12[:leads], tuple("abc")))
    assert list(table.columns) == columns
    assert list(table["record_name"]) == list("abc")
    assert set(table["conclusion"]) == {"not interpretable"}
    assert (table["reasons"] != "").all()


def test_an_empty_set_has_the_columns(columns):
    table = measure(ECGSet(np.zeros((0, 12, 5000)), 500, LEADS_12, ()))
    assert list(table.columns) == columns
    assert len(table) == 0


def test_the_complaints_would_notice(sound, columns):
    """A check that never complains checks nothing."""
    ecgs = ECGSet(sound[:1], 1000, LEADS_12, ("a",))
    table = measure(ecgs)
    assert not fuzz.complaints(ecgs, table, columns)
    for name, value in (
        ("record_name", "b"),
        ("qt_interval_ms", np.inf),
        ("qrs_duration_ms", -1.0),
        ("s_v1_uv", 3.0),
        ("conclusion", "fine"),
        ("heart_rate_bpm", np.nan),
    ):
        assert fuzz.complaints(ecgs, table.assign(**{name: value}), columns), name
    assert fuzz.complaints(ecgs, table.drop(columns="t_v6_uv"), columns)
