import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgveil.evaluation.features import draw_rows, lead_correlation, psd_db
from ecgveil.evaluation.fidelity import correlation_error, ks, psd_distance

floats = st.lists(st.one_of(st.floats(-5, 5), st.integers(-3, 3).map(float)), min_size=1, max_size=30).map(np.array)


@settings(max_examples=50)
@given(floats, floats)
def test_ks_is_the_largest_gap_of_the_distribution_functions_and_symmetric(one, other):
    gaps = [abs(np.mean(one <= x) - np.mean(other <= x)) for x in (*one, *other)]
    assert ks(one, other) == pytest.approx(max(gaps))
    assert ks(one, other) == ks(other, one)
    assert ks(one, one) == 0


def test_ks_counts_missing_values_as_beyond_all_others():
    full, half = np.arange(10.0), np.where(np.arange(10) < 5, np.arange(10.0), np.nan)
    assert ks(full, np.full(4, np.nan)) == 1
    assert ks(full, half) == pytest.approx(0.5)
    assert ks(half, half) == 0


def test_psd_of_white_noise_and_of_a_gain():
    noise = np.random.default_rng(0).standard_normal((200, 2, 2500))
    freqs, level = psd_db(noise, 250)
    assert freqs[0] == 0.5
    assert freqs[-1] == 40
    np.testing.assert_allclose(level.mean(axis=0)[:, 1:], 10 * np.log10(2 / 250), atol=1.0)  # one-sided: 2 sigma^2 / fs
    louder = psd_db(2 * noise, 250)[1]
    assert psd_distance(level, louder) == pytest.approx(20 * np.log10(2), abs=1e-6)
    assert psd_distance(louder, level) == psd_distance(level, louder)
    assert psd_distance(level, level) == 0


def test_psd_leaves_out_flat_records_and_says_so_of_flat_sets():
    noise = np.random.default_rng(0).standard_normal((4, 1, 1000))
    level = psd_db(np.concatenate([noise, np.zeros((1, 1, 1000))]), 250)[1]
    assert psd_distance(level, level[:4]) == pytest.approx(0, abs=1e-6)
    assert psd_distance(level, level[4:]) == np.inf


def test_lead_correlation_against_numpy_and_zero_for_flat_leads():
    signal = np.random.default_rng(0).standard_normal((3, 4, 500)).cumsum(axis=-1)
    for matrix, record in zip(lead_correlation(signal), signal, strict=True):
        np.testing.assert_allclose(matrix, np.corrcoef(record))
    flat = lead_correlation(np.concatenate([signal, np.ones((3, 1, 500))], axis=1))
    assert not flat[:, 4].any()


def test_correlation_error_is_zero_on_itself_and_counts_pairs():
    one, other = np.tile(np.eye(3), (5, 1, 1)), np.tile(np.eye(3), (2, 1, 1))
    assert correlation_error(one, other) == 0
    other[:, 0, 1] = other[:, 1, 0] = 0.6
    assert correlation_error(one, other) == pytest.approx(0.2)
    assert correlation_error(other, one) == pytest.approx(0.2)


def test_rows_are_drawn_by_patient():
    patients = np.array(["a"] * 50 + ["b", "c", "d"])
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = draw_rows(patients, 3, rng, replace=False)
        assert len(set(patients[rows])) == 3
    many = draw_rows(patients, 4000, rng, replace=True)
    assert np.mean(patients[many] == "a") == pytest.approx(0.25, abs=0.03)
    assert len(set(many[many < 50])) == 50
