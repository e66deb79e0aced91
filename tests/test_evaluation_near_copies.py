import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from ecgveil.ecg import ECGSet
from ecgveil.evaluation import near_copies as c
from ecgveil.evaluation.clock import Clock
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW
from ecgveil.evaluation.summary import shapes_of, summarise
from ecgveil.simulate import simulate

NAN = float("nan")


def table(n, flagged, *, distance=0.3, part="train") -> pd.DataFrame:
    rows = np.arange(n)
    parts = np.where(rows < flagged, part, "train") if isinstance(part, str) else part
    return pd.DataFrame(
        {
            "record_name": rows.astype(str),
            "nearest_record": "x",
            "part": parts,
            "distance": np.where(rows < flagged, distance, 0.8),
            "flagged": rows < flagged,
        }
    )


def test_none_flagged_is_no_evidence_and_says_of_what():
    metric = c.copies_metric(table(300, 0), 0.0, 100)
    assert (metric.value, metric.ci_low, metric.verdict) == (0, 0, c.NO_COPIES)
    assert 0 < metric.ci_high < 0.02
    assert metric.p_value == 1
    assert metric.n == 300
    assert "100 holdout ECGs against" in metric.floor_of


@pytest.mark.parametrize(
    ("n", "flagged", "floor", "verdict"),
    [
        (300, 3, 0.0, c.SOME),  # 1 % are false alarms
        (300, 12, 0.0, c.COPIES),
        (300, 12, 0.05, c.COPIES),  # more than 1 % are too many even where real ECGs are flagged as often
        (19, 0, 0.0, TOO_FEW),
        (19, 19, 0.0, c.COPIES),  # few, and yet too many
        (LEAST_N, 0, 0.0, c.NO_COPIES),
        (1, 1, 0.0, c.COPIES),
    ],
)
def test_too_many_are_copies(n, flagged, floor, verdict):
    assert c.copies_metric(table(n, flagged), floor, 200).verdict == verdict


def test_whose_copies_they_are_is_said_by_those_that_surely_are():
    parts = np.where(np.arange(300) == 0, "train", "holdout")
    found = table(300, 3, part=parts)
    found.loc[0, "distance"] = 1e-4
    assert c.copies_metric(found, 0.0, 200).verdict == c.COPIES
    assert c.copies_metric(table(300, 12, part=parts), 0.0, 200).verdict == c.OF_HOLDOUT


def test_one_that_is_surely_a_copy_is_enough():
    assert c.copies_metric(table(1000, 1, distance=1e-4), 0.0, 200).verdict == c.COPIES
    assert c.copies_metric(table(1000, 1, distance=0.1), 0.0, 200).verdict == c.SOME
    near = table(1000, 0)
    near.loc[0, "distance"] = 1e-4  # not flagged: a flat line, say
    assert c.copies_metric(near, 0.0, 200).verdict == c.NO_COPIES


def test_copies_of_the_holdout_are_told_from_copies_of_the_training_ecgs():
    assert c.copies_metric(table(100, 30, part="holdout"), 0.0, 50).verdict == c.OF_HOLDOUT
    most = np.where(np.arange(100) < 14, "holdout", "train")
    assert c.copies_metric(table(100, 30, part=most), 0.0, 50).verdict == c.COPIES
    # what the others are nearest to does not count
    assert c.copies_metric(table(100, 3, distance=1e-4, part="holdout"), 0.0, 50).verdict == c.OF_HOLDOUT


def test_without_a_floor_the_share_is_still_judged():
    assert c.copies_metric(table(300, 12), NAN, 0).verdict == c.COPIES
    metric = c.copies_metric(table(300, 0), NAN, 0)
    assert metric.verdict == c.NO_COPIES
    assert np.isnan(metric.floor)


def test_false_alarms_are_as_rare_as_said():
    """Where 1 % of unrelated ECGs are flagged, one set in 40 is accused at most."""
    for n in (50, 200, 1000):
        flagged = np.arange(25)
        accused = [c.copies_metric(table(n, k), 0.01, 200).verdict == c.COPIES for k in flagged]
        assert binom.pmf(flagged, n, 0.01)[accused].sum() + binom.sf(24, n, 0.01) <= c.LEVEL


def test_real_ecgs_that_look_like_copies_are_warned_of():
    assert c.same_recordings_note(0.0, 200) == []
    assert c.same_recordings_note(0.01, 200) == []
    assert c.same_recordings_note(NAN, 0) == []
    (told,) = c.same_recordings_note(0.1, 200)
    assert told.startswith("20 of 200 holdout ECGs look like copies")


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(60, seed=8, fs=100)[0]


def of_people(ecgs, people) -> ECGSet:
    names = tuple(f"r{i}" for i in range(len(ecgs)))
    return ECGSet(ecgs.signal, ecgs.fs, ecgs.leads, names, tuple(people))


def test_the_floor_asks_half_of_the_holdout_people_about_the_others(ecgs, monkeypatch):
    holdout = of_people(ecgs.take(range(20)), [f"p{i // 2}" for i in range(20)])
    seen = []

    def find(train, others, asked, *, seed):
        seen.append((train, others, asked))
        return table(len(asked), 1)

    monkeypatch.setattr(c, "find_copies", find)
    share, n = c.real_copies_share(ecgs.take(range(20, 60)), holdout, seed=0)
    ((train, others, asked),) = seen
    assert len(train) == 40
    assert n == len(asked) == len(others) == 10
    assert not set(others.patient_id) & set(asked.patient_id)
    assert len(set(others.patient_id)) == 5
    assert share == 0.1
    monkeypatch.setattr(c, "_FLOOR_ECGS", 3)
    assert c.real_copies_share(train, holdout, seed=0)[1] == 3
    assert len(seen[-1][1]) == 10


def test_the_floor_of_different_people_is_none_and_of_the_same_recordings_all(ecgs):
    train, holdout = ecgs.take(range(40)), ecgs.take(range(40, 60))
    assert c.real_copies_share(train, holdout, seed=1) == (0.0, 10)
    again = of_people(train.take(range(20)), [f"other {i}" for i in range(20)])
    assert c.real_copies_share(train, again, seed=1) == (1.0, 10)
    alone = of_people(holdout, ["one"] * 20)
    share, n = c.real_copies_share(train, alone, seed=1)
    assert np.isnan(share)
    assert n == 0


def test_a_summary_is_the_same_in_blocks_as_at_once(ecgs, monkeypatch):
    flat = ECGSet(
        np.where(np.arange(60)[:, None, None] % 7 == 3, np.float32(0), ecgs.signal), 100, ecgs.leads, ecgs.record_name
    )
    rows = np.arange(0, 60, 3)
    told = []
    at_once = summarise(flat, rows, ecgs.leads[::-1])
    monkeypatch.setattr("ecgveil.evaluation.summary._ROWS", 7)
    found = summarise(flat, rows, ecgs.leads[::-1], lambda *at: told.append(at))
    assert told == [(7, 20), (14, 20), (20, 20)]
    assert len(found) == 20
    assert found.features.leads == ecgs.leads[::-1]
    assert 0 < found.shapes.no_beat < 20
    for name in ("shapes", "rows", "patient_id"):
        np.testing.assert_array_equal(getattr(found.shapes, name), getattr(at_once.shapes, name))
    assert found.shapes.no_beat == at_once.shapes.no_beat
    np.testing.assert_array_equal(found.variation, at_once.variation)
    pd.testing.assert_frame_equal(found.features.table, at_once.features.table)
    np.testing.assert_array_equal(found.features.patient_id, [flat.patient_id[i] for i in rows])
    beats = shapes_of(flat, ecgs.leads)
    assert set(beats.rows) | set(range(3, 60, 7)) == set(range(60))
    np.testing.assert_array_equal(beats.shapes[beats.rows % 3 == 0][:, ::-1], found.shapes.shapes)


def test_the_clock_tells_each_part_to_its_end_and_adds_up_its_time(monkeypatch):
    with pytest.raises(KeyError), Clock().part("c"):  # nobody is told, and no error is swallowed
        raise KeyError("c")
    now = iter([10.0, 12.5, 20.0, 21.0, 30.0, 30.5])
    monkeypatch.setattr("ecgveil.evaluation.clock.time.monotonic", lambda: next(now))
    told = []
    clock = Clock(lambda *at: told.append(at))
    with clock.part("a") as progress:
        progress(1, 3)
    for _ in range(2):
        with clock.part("b"):
            pass
    assert told == [("a", 0, 1), ("a", 1, 3), ("a", 3, 3), *[("b", 0, 1), ("b", 1, 1)] * 2]
    assert clock.seconds == {"a": 2.5, "b": 1.5}
