import numpy as np
import pytest

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.dtw import dtw, dtw_matrix


def by_definition(x: np.ndarray, y: np.ndarray, band: int) -> float:
    """The recurrence, cell by cell."""
    n = len(x)
    cost = np.full((n + 1, n + 1), np.inf)
    cost[0, 0] = 0
    for i in range(n):
        for j in range(max(0, i - band), min(n, i + band + 1)):
            cost[i + 1, j + 1] = (x[i] - y[j]) ** 2 + min(cost[i, j + 1], cost[i + 1, j], cost[i, j])
    return float(np.sqrt(cost[n, n] / n))


@pytest.mark.parametrize("length", [1, 2, 5, 18])
@pytest.mark.parametrize("band", [0, 1, 2, 3, 7, 40])
def test_as_by_definition(length, band):
    x, y = np.random.default_rng([length, band]).standard_normal((2, 6, length))
    expected = [by_definition(a, b, band) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(dtw(x, y, band), expected, atol=1e-9)


def test_identity_symmetry_and_bounds():
    x, y = np.random.default_rng(0).standard_normal((2, 9, 40))
    np.testing.assert_array_equal(dtw(x, x, 4), 0)
    np.testing.assert_allclose(dtw(x, y, 4), dtw(y, x, 4), atol=1e-12)
    plain = np.sqrt(((x - y) ** 2).mean(axis=1))
    np.testing.assert_allclose(dtw(x, y, 0), plain)
    by_band = np.array([dtw(x, y, band) for band in (0, 1, 3, 10)])
    assert (np.diff(by_band, axis=0) <= 1e-12).all()  # a wider band allows more paths
    assert (by_band[-1] < plain).all()


def test_a_shift_within_the_band_costs_nothing_and_one_beyond_does():
    wave = np.exp(-0.5 * ((np.arange(60) - 30) / 3) ** 2)
    assert dtw(wave, np.roll(wave, 5), 5) < 1e-3
    assert dtw(wave, np.roll(wave, 5), 2) > 0.05


def test_all_pairs():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((70, 12)), rng.standard_normal((150, 12))
    matrix = dtw_matrix(x, y, 3)
    assert matrix.shape == (70, 150)
    for i, j in ((0, 0), (69, 149), (31, 7)):
        assert matrix[i, j] == pytest.approx(by_definition(x[i], y[j], 3), abs=1e-9)
    assert dtw_matrix(x[:0], y, 3).shape == (0, 150)


def test_no_waves():
    with pytest.raises(EvaluationError, match="one length"):
        dtw(np.zeros(3), np.zeros(4), 1)
    with pytest.raises(EvaluationError, match="band is -1"):
        dtw(np.zeros(3), np.zeros(3), -1)
    with pytest.raises(EvaluationError, match="not finite"):
        dtw(np.array([0, np.nan]), np.zeros(2), 1)
    with pytest.raises(EvaluationError, match=r"give \(waves, samples\)"):
        dtw_matrix(np.zeros(3), np.zeros((2, 3)), 1)
