from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from ecgveil.evaluation import privacy as p
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate


def shapes(n: int, seed: int, leads: int = 2) -> np.ndarray:
    """Smooth random shapes, long enough for the shifts: (n, leads, 86), 8 ms apart."""
    noise = np.random.default_rng(seed).standard_normal((n, leads, 110))
    return 100 * np.apply_along_axis(lambda x: np.convolve(x, np.hanning(25), "valid"), -1, noise)


def test_distance_is_symmetric_and_zero_on_itself():
    one, other = shapes(6, 1), shapes(4, 2)
    np.testing.assert_allclose(p.distances(one, other), p.distances(other, one).T)
    np.testing.assert_allclose(np.diag(p.distances(one, one)), 0, atol=1e-3)
    assert (p.distances(one, other) > 10).all()


def test_distance_forgives_a_shift_of_40_ms_but_no_more():
    whole = shapes(5, 3)
    longer = np.concatenate([whole, whole[..., ::-1]], axis=-1)
    base = longer[..., 20:106]
    for shift in (-5, -2, 3, 5):
        moved = longer[..., 20 + shift : 106 + shift]
        assert np.diag(p.distances(base, moved)).max() < 1e-3
    assert np.diag(p.distances(base, longer[..., 35:121])).min() > 1


def test_distance_against_the_plain_sum():
    one, other = shapes(3, 4), shapes(2, 5)
    best = np.full((3, 2), np.inf)
    for shift in range(11):
        for a, b in ((one, other), (other, one)):
            fixed, moved = a[..., 5:81], b[..., shift : shift + 76]
            apart = np.sqrt(((fixed[:, None] - moved[None]) ** 2).mean(axis=(2, 3)))
            best = np.minimum(best, apart if a is one else apart.T)
    np.testing.assert_allclose(p.distances(one, other), best)


@pytest.mark.parametrize(("k", "n"), [(0, 7), (3, 10), (50, 100), (7, 7)])
def test_clopper_pearson_is_that_of_scipy(k, n):
    exact = binomtest(k, n).proportion_ci(0.95, method="exact")
    assert p.clopper_pearson(k, n) == pytest.approx((exact.low, exact.high))


def test_exchanged_labels_give_p_values_that_are_honest():
    """Synthetic points drawn like both parts: p below 0.05 in about 5 % of the repetitions, never in many more."""
    rng = np.random.default_rng(0)
    low = 0
    for _ in range(60):
        synthetic, train, holdout = rng.standard_normal((3, 40, 2))
        to_train = np.linalg.norm(synthetic[:, None] - train, axis=-1)
        to_holdout = np.linalg.norm(synthetic[:, None] - holdout, axis=-1)
        low += p._closer(to_train, to_holdout, rng)[2] < 0.05
    assert low <= 9  # P(more than 9 of 60 | 5 %) < 0.1 %


def test_ties_are_left_out():
    same = np.ones((5, 3))
    assert p._closer(same, same, np.random.default_rng(0)) == (0.5, 0, 1.0)


def test_the_nearest_pairs_are_the_planted_ones():
    ecgs, _ = simulate(60, seed=8)
    train, holdout, synthetic = ecgs.take(range(25)), ecgs.take(range(25, 35)), ecgs.take(range(34, 60))
    planted = synthetic.signal.copy()
    planted[3], planted[11] = train.signal[7], train.signal[0]
    sets = (train, holdout, replace(synthetic, signal=planted))
    metrics, found = p.privacy_metrics(*(p.beat_shapes(each, r_peaks(each)) for each in sets), seed=0)
    assert [m.name for m in metrics] == [*p.NAMES, p.SAME_BEAT]
    assert {(pair.synthetic_row, pair.train_row) for pair in found.pairs[:2]} == {(3, 7), (11, 0)}
    assert found.pairs[1].distance < 0.01
    assert found.pairs[2].distance > 5
    assert found.n_reference == 10
    assert len(found.holdout_to_train) == 10


def test_one_record_of_each_patient_and_equal_parts():
    train = np.array([f"p{i // 3}" for i in range(30)])
    holdout = np.array(["q0", "q0", "q1", "q2"])
    equal, whole = p._reference_draws(train, holdout, np.random.default_rng(0))
    assert all((len(t), len(h)) == (3, 3) for t, h in equal)
    assert all((len(t), len(h)) == (10, 3) for t, h in whole)
    assert all(len(set(train[t])) == len(t) and len(set(holdout[h])) == len(h) for t, h in equal + whole)


def people(values: np.ndarray, prefix: str, each: int = 1) -> p.BeatShapes:
    """Shapes of people of whom `each` in a row are one's."""
    names = np.array([f"{prefix}{i // each}" for i in range(len(values))])
    return p.BeatShapes(values, np.arange(len(values)), names, 0)


def by_name(sets, seed=0) -> dict:
    return {metric.name: metric for metric in p.privacy_metrics(*sets, seed=seed)[0]}


def test_one_synthetic_ecg_with_the_very_beat_of_a_training_ecg_is_one_too_many():
    train, holdout, made = shapes(60, 1), shapes(30, 2), shapes(50, 3)
    found = by_name((people(train, "t"), people(holdout, "h"), people(made, "s")))
    assert (found[p.SAME_BEAT].value, found[p.SAME_BEAT].verdict) == (0, p.NO_EVIDENCE)
    made[7] = train[3] + np.random.default_rng(0).standard_normal(train[3].shape)  # 1 uV of noise
    found = by_name((people(train, "t"), people(holdout, "h"), people(made, "s")))
    assert (found[p.SAME_BEAT].value, found[p.SAME_BEAT].verdict) == (1 / 50, p.SAME)
    assert found["closer_to_train_share"].verdict == p.NO_EVIDENCE  # of so few no share tells
    holdout[0] = train[0]  # one recording in both parts: nearness still tells of the others
    found = by_name((people(train, "t"), people(holdout, "h"), people(made, "s")))
    assert found[p.SAME_BEAT].verdict == p.SAME
    holdout[:] = train[:30]  # all in both parts: then it tells nothing
    found = by_name((people(train, "t"), people(holdout, "h"), people(made, "s")))
    assert found[p.SAME_BEAT].verdict == p.ALL_ALIKE


def test_distances_count_people_not_their_records():
    few = people(shapes(30, 2), "h", each=10)
    found = by_name((people(shapes(60, 1), "t"), few, people(shapes(50, 3), "s")))
    for name in p.NAMES[2:]:
        assert (found[name].n, found[name].verdict) == (3, p.TOO_FEW)


def test_nearness_to_training_is_seldom_found_where_there_is_none():
    """Of 60 sets, each figure's p is below 5 % in about 3; more than 9 have a probability below 0.1 %."""
    low = {name: 0 for name in p.NAMES}
    for seed in range(60):
        every = shapes(110, 100 + seed)
        sets = people(every[:40], "t"), people(every[40:70], "h"), people(every[70:], "s")
        for name, metric in by_name(sets, seed).items():
            if name in low:
                low[name] += metric.p_value < 0.05
    assert max(low.values()) <= 9


def test_a_recording_in_both_parts_does_not_hide_very_beats():
    apart, made = np.full(40, 30.0), np.full(100, 30.0)
    made[:3] = 1.0
    assert p._same_beat_metric(made, apart).verdict == p.SAME
    apart[7] = 0.5  # the same recording, under another name
    assert p._same_beat_metric(made, apart).verdict == p.SAME
    assert p._same_beat_metric(np.full(100, 30.0), apart).verdict == p.NO_EVIDENCE
    assert p._same_beat_metric(made, np.zeros(40)).verdict == p.ALL_ALIKE
