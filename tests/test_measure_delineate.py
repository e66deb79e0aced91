from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12
from ecgveil.measure.delineate import OVERALL, Mark, delineate, find_waves
from ecgveil.measure.edges import edges
from ecgveil.measure.inference import probabilities
from ecgveil.simulate import simulate
from ecgveil.windows import read

DATA = Path(__file__).parents[2] / "shared" / "data"


def one(value: float) -> np.ndarray:
    return np.array([value], float)


def test_edges_of_a_ramp_are_where_it_crosses_a_half():
    p = np.interp(np.arange(100), [20, 30, 60, 80], [0, 1, 1, 0])[None]
    onset, offset = edges(p, one(0), one(100), one(0), one(100))
    assert onset[0] == pytest.approx(25)
    assert offset[0] == pytest.approx(70)


def test_expected_edges_are_the_mean_of_where_the_edge_may_be():
    rng = np.random.default_rng(0)
    begin, end = rng.uniform(20, 40, 4000), rng.exponential(8, 4000) + 60
    t = np.arange(120)
    p = ((t >= begin[:, None]) & (t < end[:, None])).mean(axis=0)[None]
    onset, offset = edges(p, one(0), one(120), one(0), one(120), expected=True)
    assert onset[0] == pytest.approx(begin.mean(), abs=0.6)
    assert offset[0] == pytest.approx(end.mean(), abs=1.0)  # what has faded is cut off


def test_edges_stay_within_their_bounds_and_what_is_unlikely_is_no_wave():
    p = np.ones((2, 50))
    p[1] = 0.4
    onset, offset = edges(p, np.array([20, 20]), np.array([30, 30]), np.array([10, 10]), np.array([40, 40]))
    assert 9 <= onset[0] <= 10
    assert 39 <= offset[0] <= 40
    assert np.isnan([onset[1], offset[1]]).all()


def test_waves_of_a_track_are_joined_over_gaps_and_too_short_ones_left_out():
    track = np.zeros((4, 300))
    track[0] = 0.5
    track[1, 20:40] = track[1, 43:50] = 1  # one P with a gap of 12 ms
    track[2, 70:74] = 1  # 16 ms: no QRS
    track[2, 80:100] = 1
    track[3, 130:180] = 1
    assert find_waves(track, 250) == [("p", 20, 50), ("N", 80, 100), ("t", 130, 180)]


def test_every_beat_of_the_simulator_is_marked_where_it_is():
    ecgs, truth = simulate(10, seed=5, conditions={"sinus rhythm": 1.0})
    for row, marks in enumerate(delineate(ecgs)):
        assert list(marks) == [*(lead.lower() for lead in ecgs.leads), OVERALL]
        for kind, onset, offset in (
            ("p", truth.p_onset, truth.p_offset),
            ("N", truth.qrs_onset, truth.qrs_offset),
            ("t", truth.t_onset, truth.t_offset),
        ):
            true = np.stack([onset[row], offset[row]])
            true = true[:, (true[0] > 0.1) & (true[1] < ecgs.seconds - 0.1)] * ecgs.fs
            found = np.array([[m.onset, m.offset] for m in marks[OVERALL] if m.kind == kind]).T
            nearest = np.abs(found.mean(axis=0)[:, None] - true.mean(axis=0)).argmin(axis=0)
            apart = (found[:, nearest] - true) * 1000 / ecgs.fs
            assert len(set(nearest)) == true.shape[1]
            if kind != "t":  # a T wave has no onset that anyone agrees on
                assert np.abs(np.median(apart[0])) < 16
            assert np.abs(np.median(apart[1])) < 25


def test_marks_are_in_order_and_within_the_record():
    ecgs, _ = simulate(12, seed=7)
    for marks in delineate(ecgs):
        for each in marks.values():
            assert all(0 <= m.onset <= m.offset <= ecgs.n_samples - 1 for m in each)
            assert all(m.onset - 2 <= m.peak <= m.offset + 2 for m in each)
            assert [m.onset for m in each] == sorted(m.onset for m in each)
            assert {m.kind for m in each} <= {"p", "N", "t"}


def test_a_long_record_is_marked_like_its_parts():
    ecgs, _ = simulate(1, seed=2, seconds=80, conditions={"sinus rhythm": 1.0})
    (whole,) = delineate(ecgs)
    (part,) = delineate(replace(ecgs, signal=ecgs.signal[..., 15_000:25_000]))  # across the seam at 30 s ... 60 s
    shifted = [m.onset + 15_000 for m in part[OVERALL] if 1000 < m.onset < 9000]
    found = np.array([m.onset for m in whole[OVERALL]])
    assert len(shifted) > 20
    assert max(np.abs(found - onset).min() for onset in shifted) < 10


def test_no_lead_no_beat_no_mark():
    ecgs, _ = simulate(1, seed=2)
    (marks,) = delineate(replace(ecgs, signal=0 * ecgs.signal))
    assert not any(marks.values())
    (marks,) = delineate(replace(ecgs, signal=ecgs.signal[..., :100]))
    assert not any(marks.values())
    with pytest.raises(RecordError, match="50 Hz"):
        delineate(replace(ecgs, fs=50))


def test_probabilities_do_not_depend_on_gain_order_or_company():
    ecgs, _ = simulate(3, seed=1)
    signal = ecgs.signal[..., ::2].copy()
    by_lead, overall = probabilities(signal)
    assert by_lead.shape == (3, 12, 4, 2500)
    np.testing.assert_allclose(by_lead.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities(7 * signal)[1], overall, atol=1e-4)
    np.testing.assert_allclose(probabilities(signal[1:2])[1], overall[1:2], atol=1e-4)
    np.testing.assert_allclose(probabilities(signal[:, ::-1].copy())[1], overall, atol=1e-4)


def test_mark_is_a_plain_tuple():
    assert Mark("p", 1.0, 2.0, 3.0) == ("p", 1.0, 2.0, 3.0)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "ludb").exists(), reason="needs ../shared/data/ludb")
def test_qrs_of_ludb_are_where_the_cardiologists_put_them():
    """Not a figure of quality: the network was fitted on these records too (benchmarks/ludb.py cross-validates)."""
    ecgs, _ = read(DATA / "ludb", leads=LEADS_12, allow=("saturated", "noise"))
    ecgs = ecgs.take(range(10))
    for name, marks in zip(ecgs.record_name, delineate(ecgs), strict=True):
        notes = wfdb.rdann(str(DATA / "ludb" / name), "ii")
        true = notes.sample[np.array(notes.symbol) == "N"]
        found = np.array([m.peak for m in marks["ii"] if m.kind == "N"])
        assert np.abs(found[:, None] - true).min(axis=0).max() < 40
