"""Exchanging people: seldom a false alarm, and sharp where so many people could tell."""

import numpy as np
import pytest

from ecgveil.evaluation.distribution import compare
from ecgveil.evaluation.exchange import exchange, p_of_exchange
from ecgveil.evaluation.fidelity import BEYOND, WITHIN, ks
from ecgveil.evaluation.metric import p_if_worse


def ks_of(real: np.ndarray, other: np.ndarray) -> list[float]:
    return [ks(real[:, 0], other[:, 0])]


def drawn(shift: float, seed: int, sizes: tuple[int, ...] = (300, 80, 240)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    train, holdout, synthetic = (rng.standard_normal((n, 1)) for n in sizes)
    return [train, holdout, synthetic + shift]


def test_p_values_are_honest_where_nothing_is_wrong():
    """Of 80 sets about 4 have a p below 5 %; more than 11 have a probability below 0.1 %."""
    low = 0
    for seed in range(80):
        _, holdout, synthetic = drawn(0, seed, (1, 40, 60))
        low += exchange(ks_of, holdout, synthetic, (np.arange(40), np.arange(60)), seed)[0] < 0.05
    assert 0 < low <= 11


def test_half_a_standard_deviation_is_seen_in_eighty_people():
    """A textbook test sees it nine times of ten; the spread of single draws saw it in half as many."""
    found = 0
    for seed in range(10):
        sets = drawn(0.6, seed)
        result = compare(ks_of, tuple(sets), tuple(np.arange(len(each)) for each in sets), ("lower",), seed)
        found += result.metric(0, "x_ks").verdict == BEYOND
    assert found >= 8
    same = drawn(0, 3)
    result = compare(ks_of, tuple(same), tuple(np.arange(len(each)) for each in same), ("lower",), 3)
    assert result.metric(0, "x_ks").verdict == WITHIN


def test_a_person_with_many_records_counts_once():
    """Three people far off the others, with 30 records each, are three people."""
    _, holdout, synthetic = drawn(0, 1, (1, 60, 60))
    whose = np.arange(60)
    many = np.concatenate([holdout, np.repeat(holdout[:3] + 4, 30, axis=0)])
    people = np.concatenate([whose, np.repeat(np.arange(3), 30)])
    p = exchange(ks_of, many, synthetic, (people, whose), 0)[0]
    assert p > 0.05
    naive = exchange(ks_of, many, synthetic, (np.arange(len(many)), whose), 0)[0]
    assert naive < 0.01


def test_the_same_seed_gives_the_same_p():
    _, holdout, synthetic = drawn(0.3, 2)
    people = np.arange(len(holdout)), np.arange(len(synthetic))
    assert exchange(ks_of, holdout, synthetic, people, 5)[0] == exchange(ks_of, holdout, synthetic, people, 5)[0]


def test_beyond_all_exchanges_the_tail_goes_on():
    rng = np.random.default_rng(0)
    others = rng.standard_normal(400)
    assert p_of_exchange(6.0, others) < 1e-6
    assert p_of_exchange(6.0, np.exp(others)) > 1e-6  # a long tail is known by its skewness
    assert p_of_exchange(0.0, others) == pytest.approx(0.5, abs=0.1)
    assert p_of_exchange(1.0, np.ones(400)) == 1
    assert np.isnan(p_of_exchange(np.nan, others))
    assert p_of_exchange(6.0, np.where(np.arange(400) < 40, np.nan, others)) > 0.1  # they may have been more


@pytest.mark.parametrize(("better", "value", "p"), [("lower", 2, 0.01), ("lower", 1, 0.5), ("higher", 2, 0.5)])
def test_nothing_that_is_as_good_as_its_floor_is_further(better, value, p):
    assert p_if_worse(0.01, value, 1.0, better) == p
