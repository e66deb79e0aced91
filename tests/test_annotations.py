"""Marks on disk as other tools read them: the wfdb package is the judge."""

from typing import NamedTuple

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgveil.errors import RecordError
from ecgveil.formats.annotations import write_annotations

NAN = float("nan")


class Mark(NamedTuple):
    kind: str
    onset: float
    peak: float
    offset: float


def read(folder, record, annotator):
    """Symbols and samples, and fs, as the wfdb package reads them."""
    notes = wfdb.rdann(str(folder / record), annotator)
    return list(zip(notes.symbol, notes.sample.tolist(), strict=True)), notes.fs


@st.composite
def waves(draw):
    """Marks in order, apart by up to an hour at 1000 Hz, some edges unknown."""
    steps = st.one_of(
        st.integers(0, 60), st.integers(1000, 1050), st.integers(65_500, 65_600), st.integers(0, 3_600_000)
    )
    marks, at = [], 0
    for _ in range(draw(st.integers(0, 12))):
        onset = at + draw(steps)
        peak = onset + draw(steps)
        at = peak + draw(steps)
        known = draw(st.tuples(st.booleans(), st.booleans()))
        marks.append(Mark(draw(st.sampled_from("pNt")), onset if known[0] else NAN, peak, at if known[1] else NAN))
    return marks


def expected(marks):
    return [
        (symbol, round(sample))
        for mark in marks
        for symbol, sample in (("(", mark.onset), (mark.kind, mark.peak), (")", mark.offset))
        if not np.isnan(sample)
    ]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(marks=waves(), fs=st.sampled_from([100.0, 250.0, 257.5, 360.0, 499.9999, 500.0, 1000.0]))
def test_what_is_written_is_read(marks, fs, tmp_path):
    write_annotations(tmp_path, "5", {"v5": marks}, fs)
    assert read(tmp_path, "5", "v5") == (expected(marks), fs)


def test_an_hour_of_beats(tmp_path):
    beats = [
        Mark(kind, at + start, at + start + 20, at + start + 40)
        for at in range(100, 3600 * 500, 400)
        for kind, start in (("p", 0), ("N", 80), ("t", 200))
    ]
    write_annotations(tmp_path, "long", {"global": beats}, 500)
    found, fs = read(tmp_path, "long", "global")
    assert (found, fs) == (expected(beats), 500)
    assert [symbol for symbol, _ in found[:9]] == ["(", "p", ")", "(", "N", ")", "(", "t", ")"]


def test_every_annotator_of_a_record_in_a_folder_of_its_own(tmp_path):
    marks = {name: [Mark("N", 100 + i, 110 + i, 120 + i)] for i, name in enumerate(("i", "avr", "v5", "global"))}
    paths = write_annotations(tmp_path / "new", "data/s 1/5.a", marks, 500)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [f"new/data/s 1/5.a.{name}" for name in marks]
    for name, waves in marks.items():
        assert read(tmp_path / "new", "data/s 1/5.a", name)[0] == expected(waves)
    assert len(list((tmp_path / "new" / "data" / "s 1").iterdir())) == len(marks)


def test_nothing_found_is_a_file_too(tmp_path):
    write_annotations(tmp_path, "5", {"v1": []}, 500)
    assert read(tmp_path, "5", "v1") == ([], 500)


def test_waves_that_overlap_are_parted_and_no_peak_moves(tmp_path):
    marks = [Mark("t", 10, 30, 60), Mark("p", 50, 55, 75), Mark("N", 70, 80, 90)]
    write_annotations(tmp_path, "5", {"ii": marks}, 500)
    assert read(tmp_path, "5", "ii")[0] == [
        ("(", 10), ("t", 30), (")", 55), ("(", 55), ("p", 55), (")", 75), ("(", 75), ("N", 80), (")", 90),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (Mark("x", 1, 2, 3), "kind 'x'"),
        (Mark("p", 1, NAN, 3), "sample nan"),
        (Mark("p", -4, -2, 3), "sample -2"),
        (Mark("p", 1, float("inf"), 3), "sample inf"),
        (Mark("p", 1, 2**31, 3), "sample 2147483648"),
    ],
)
def test_marks_that_cannot_be_right(mark, words, tmp_path):
    with pytest.raises(RecordError, match=words) as caught:
        write_annotations(tmp_path, "5", {"v5": [mark]}, 500)
    assert "5.v5" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_edges_beyond_their_own_peak_and_waves_out_of_order(tmp_path):
    marks = [Mark("N", 60.4, 60, 59), Mark("p", -0.4, 20, float("inf"))]
    write_annotations(tmp_path, "5", {"v5": marks}, 500)
    assert read(tmp_path, "5", "v5")[0] == [("(", 0), ("p", 20), (")", 60), ("(", 60), ("N", 60), (")", 60)]


@given(marks=st.lists(st.builds(Mark, st.sampled_from("pNt"), *[st.floats(-50, 5000)] * 3), max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_marks_the_file_is_in_order_and_no_peak_moves(marks, tmp_path):
    marks = [mark for mark in marks if mark.peak >= 0]
    write_annotations(tmp_path, "5", {"v5": marks}, 500)
    found, _ = read(tmp_path, "5", "v5")
    samples = [sample for _, sample in found]
    assert samples == sorted(samples)
    assert samples[1::3] == sorted(round(mark.peak) for mark in marks)
    assert [symbol for symbol, _ in found] == [
        symbol for mark in sorted(marks, key=lambda mark: mark.peak) for symbol in ("(", mark.kind, ")")
    ]


@pytest.mark.parametrize("record", ["", "../5", "/tmp/5", "a/../../5"])
def test_records_outside_the_folder(record, tmp_path):
    with pytest.raises(RecordError, match="not a record name"):
        write_annotations(tmp_path / "marks", record, {"v5": []}, 500)


@pytest.mark.parametrize("annotator", ["", "V5", "a/b", "hea", "dat", "../v5"])
def test_annotators_that_are_none(annotator, tmp_path):
    with pytest.raises(RecordError, match="annotator"):
        write_annotations(tmp_path, "5", {annotator: []}, 500)


@pytest.mark.data
def test_the_lobachevsky_marks_survive(data, tmp_path):
    """A cardiologist's file, read and written again, is the same to the last byte; only the sampling rate is new."""
    source = data / "ludb" / "data" / "56.v5"
    notes = wfdb.rdann(str(source.with_suffix("")), "v5")
    assert notes.symbol == [symbol for kind in notes.symbol[1::3] for symbol in ("(", kind, ")")]
    marks = [Mark(kind, *notes.sample[3 * i : 3 * i + 3].tolist()) for i, kind in enumerate(notes.symbol[1::3])]
    assert len(marks) > 20
    write_annotations(tmp_path, "5", {"v5": marks}, 500)
    assert (tmp_path / "5.v5").read_bytes().endswith(source.read_bytes())
