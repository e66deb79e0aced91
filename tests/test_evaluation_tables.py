import numpy as np
import pytest
from scipy.stats import norm

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.tables import compare_tables
from ecgveil.tables import TableSet

NAMES = ("lab", "yes")


def rows(number, shift=0.0, rate=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return TableSet(np.stack([rng.normal(shift, 1, number), rng.random(number) < rate], axis=1), NAMES)


def test_equal_tables_differ_in_nothing():
    one = rows(200)
    for figure in compare_tables(one, one, one):
        assert (figure.value, figure.floor, figure.missing) == (0, 0, 0)


def test_planted_differences_are_found_at_their_size():
    lab, yes = compare_tables(rows(20_000), rows(20_000, shift=1.0, rate=0.5, seed=1), rows(20_000, seed=2))
    assert (lab.name, lab.measure, yes.name, yes.measure) == ("lab", "ks", "yes", "rate")
    assert lab.value == pytest.approx(2 * norm.cdf(0.5) - 1, abs=0.02)  # KS of two normals one SD apart
    assert yes.value == pytest.approx(0.3, abs=0.02)
    assert max(lab.floor, yes.floor) < 0.03


def test_missing_values_are_compared_on_their_own():
    real = TableSet(np.array([[1.0], [2], [3], [np.nan]]), ("lab",))
    (figure,) = compare_tables(real, TableSet(np.array([[1.0], [2], [3]]), ("lab",)), real)
    assert (figure.value, figure.missing) == (0, 0.25)
    (empty,) = compare_tables(real, TableSet(np.full((2, 1), np.nan), ("lab",)), real)
    assert np.isnan(empty.value)
    assert empty.missing == 0.75


@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_a_binary_feature_that_is_constant_in_reality(constant):
    real = TableSet(np.full((4, 1), constant), ("yes",))
    (figure,) = compare_tables(real, TableSet(np.array([[0.0], [0], [1], [0]]), ("yes",)), real)
    assert figure.value == (0.25 if constant == 0 else 0.75)
    assert figure.floor == 0


def test_tables_that_cannot_be_compared():
    one = TableSet(np.ones((2, 1)), ("a",))
    with pytest.raises(EvaluationError, match="synthetic has columns b, real a"):
        compare_tables(one, TableSet(np.ones((2, 1)), ("b",)), one)
    with pytest.raises(EvaluationError, match="other_real has no rows"):
        compare_tables(one, one, one.take([]))
