import numpy as np
import pytest

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.divergence import BINS, histogram_edges, histograms, jensen_shannon, mean_divergence


def test_closed_forms():
    assert jensen_shannon([2, 3, 5], [4, 6, 10]) == pytest.approx(0, abs=1e-15)
    assert jensen_shannon([1, 2, 0, 0], [0, 0, 7, 1]) == pytest.approx(1)
    # half of the mass in common: (1/2) KL((1, 0) | (3/4, 1/4)) + (1/2) KL((1/2, 1/2) | (3/4, 1/4))
    expected = 0.5 * np.log2(4 / 3) + 0.25 * (np.log2(2 / 3) + np.log2(2))
    assert jensen_shannon([1, 0], [1, 1]) == pytest.approx(expected)


def test_symmetric_between_0_and_1_and_broadcast_over_rows():
    p, q = np.random.default_rng(0).integers(0, 5, (2, 50, 6)) + np.eye(6, dtype=int)[0]
    found = jensen_shannon(p, q)
    assert found.shape == (50,)
    np.testing.assert_allclose(found, jensen_shannon(q, p), atol=1e-12)
    assert 0 < found.min() < found.max() <= 1
    np.testing.assert_allclose(found[3], jensen_shannon(p[3], q[3]))


@pytest.mark.parametrize(("p", "q"), [([1, 2], [1, 2, 3]), ([1, -1], [1, 1]), ([0, 0], [1, 1]), ([np.nan, 1], [1, 1])])
def test_no_histograms(p, q):
    with pytest.raises(EvaluationError, match="histogram"):
        jensen_shannon(p, q)


def test_bins_hold_every_value_once():
    real = np.random.default_rng(1).standard_normal((200, 3))
    real[:, 1] = real[:, 1] > 0  # two values only
    real[:50, 2] = np.nan
    edges = histogram_edges(real)
    assert [len(each) for each in edges] == [BINS + 1, 2, BINS + 1]
    counts = histograms(real, edges)
    assert [each.sum() for each in counts] == [200, 200, 200]
    assert counts[0][0] == counts[0][-2] == 0  # none of the learned values lies beyond the edges
    np.testing.assert_array_equal(counts[0][1:-2], 20)
    assert counts[2][-1] == 50
    beyond = histograms(np.array([[-99.0, 0.5, np.nan], [99.0, 1.0, 0.0]]), edges)
    assert (beyond[0][0], beyond[0][-2], beyond[2][-1]) == (1, 1, 1)


def test_mean_over_measurements():
    rng = np.random.default_rng(2)
    real, other = rng.standard_normal((2, 300, 2))
    edges = histogram_edges(rng.standard_normal((300, 2)))
    alike = mean_divergence(real, other, edges)
    assert 0 < alike < 0.06
    other[:, 1] += 100  # one of two measurements has nothing in common
    assert mean_divergence(real, other, edges) == pytest.approx(0.5, abs=0.06)
    assert mean_divergence(real, np.full((300, 2), np.nan), edges) == 1
    assert mean_divergence(real, real, edges) == pytest.approx(0, abs=1e-12)
    with pytest.raises(EvaluationError, match="alike in measurements"):
        mean_divergence(real, other[:, :1], edges)
    with pytest.raises(EvaluationError, match="empty"):
        mean_divergence(real, other[:0], edges)


def test_a_measurement_that_is_nowhere_is_alike():
    empty = np.full((5, 1), np.nan)
    edges = histogram_edges(empty)
    assert mean_divergence(empty, empty, edges) == 0
    assert mean_divergence(empty, np.zeros((5, 1)), edges) == 1
