import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.features import Features, compute_features
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.spectra import gaussian_kernel, median_distance, mmd, spectral_metrics
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate

FREQS = np.arange(0.5, 40.25, 0.5)


def seen(psd_db: np.ndarray, freqs: np.ndarray = FREQS, leads: tuple[str, ...] = ("I", "II")) -> Features:
    n = len(psd_db)
    table, people = pd.DataFrame(index=range(n)), np.arange(n).astype(str)
    return Features(leads, table, psd_db.astype(np.float32), freqs, np.zeros((n, 2, 2)), np.zeros(n), people)


def spectra(seed: int, n: int) -> np.ndarray:
    """Levels that differ between records by 4 dB, between leads by 2 dB, and by an estimate's 1.5 dB; (n, 2, 80)."""
    rng = np.random.default_rng(seed)
    slope = -20 * np.log10(FREQS) + rng.normal(0, 3, (n, 1, 1)) * np.log10(FREQS)
    return slope + rng.normal(0, 4, (n, 1, 1)) + rng.normal(0, 2, (n, 2, 1)) + rng.normal(0, 1.5, (n, 2, len(FREQS)))


def verdict(synthetic: np.ndarray, n: int = 100, seed: int = 0):
    (metric,) = spectral_metrics(
        seen(spectra(1000 + seed, n)), seen(spectra(2000 + seed, n)), seen(synthetic), seed=seed
    )
    return metric


def reference(x: np.ndarray, y: np.ndarray, width: float) -> float:
    """Pair by pair, from the definition."""
    gamma = 1 / (2 * width**2)
    total = 0.0
    for one, other, sign in ((x, x, 1), (y, y, 1), (x, y, -1)):
        kernel = rbf_kernel(one, other, gamma=gamma)
        if sign > 0:
            pairs = [kernel[i, j] for i in range(len(one)) for j in range(len(one)) if i != j]
            total += np.mean(pairs)
        else:
            total -= 2 * kernel.mean()
    return total


# ---- the distance


def test_mmd_agrees_with_the_definition_pair_by_pair():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (23, 40)), rng.normal(0.3, 1.2, (31, 40))
    for width in (2.0, 8.0, 30.0):
        assert mmd(x, y, width) == pytest.approx(reference(x, y, width), abs=1e-6)


def test_mmd_of_two_points_each_has_a_closed_form():
    assert mmd(np.zeros((2, 1)), np.full((2, 1), 2.0), 1.0) == pytest.approx(2 - 2 * np.exp(-2), abs=1e-6)


def test_mmd_is_unbiased():
    rng = np.random.default_rng(1)
    values = [mmd(rng.normal(0, 1, (15, 6)), rng.normal(0, 1, (20, 6)), 3.0) for _ in range(400)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert 0.3 < np.mean(np.array(values) < 0) < 0.8


def test_the_kernel_loses_no_digits_far_from_the_origin_and_in_blocks(monkeypatch):
    x = spectra(0, 60).reshape(60, -1)
    whole = gaussian_kernel(x - 500.0, 50.0)
    monkeypatch.setattr("ecgveil.evaluation.spectra._PAIRS", 7 * 60)
    np.testing.assert_allclose(gaussian_kernel(x, 50.0), whole, atol=1e-6)
    np.testing.assert_allclose(whole, rbf_kernel(x, gamma=1 / 5000), atol=1e-6)


def test_the_width_is_the_median_distance():
    x = np.array([[0.0], [1.0], [3.0]])
    assert median_distance(x) == 2.0
    assert median_distance(np.zeros((4, 2))) == median_distance(x[:1]) == 1.0


@pytest.mark.parametrize(("n", "width"), [(1, 1.0), (5, 0.0), (5, float("nan"))])
def test_mmd_that_cannot_be_computed(n, width):
    with pytest.raises(EvaluationError, match="records, kernel width"):
        mmd(np.zeros((n, 3)), np.ones((5, 3)), width)


# ---- the figure


def test_the_figure_is_the_mean_of_the_direct_computation_over_draws():
    """With as many records in each set as are drawn, every draw is the whole set."""
    sets = [spectra(seed, 30) for seed in (1, 2, 3)]
    (metric,) = spectral_metrics(*map(seen, sets), seed=0)
    flat = []
    for each in (each.astype(np.float32).astype(float) for each in sets):
        mean = each.mean(axis=2, keepdims=True)
        flat.append(np.concatenate([each - mean, mean], axis=2).reshape(30, -1))
    width = median_distance(flat[0])
    assert metric.value == pytest.approx(reference(flat[1], flat[2], width), abs=1e-6)
    assert metric.floor == pytest.approx(reference(flat[1], flat[0], width), abs=1e-6)
    assert metric.ci_low < metric.value < metric.ci_high
    assert (metric.family, metric.name, metric.better, metric.n) == ("fidelity", "psd_mmd", "lower", 30)


def test_equal_populations_are_within_their_floor():
    found = [verdict(spectra(seed, 100), seed=seed) for seed in range(20)]
    assert sum(metric.verdict == BEYOND for metric in found) <= 2
    values = np.array([metric.value for metric in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))


def test_three_decibels_in_one_band_are_found():
    louder = spectra(7, 100)
    louder[:, :, (FREQS >= 20) & (FREQS < 30)] += 3
    assert verdict(spectra(7, 100)).verdict == WITHIN
    assert verdict(louder).verdict == BEYOND


def test_spectra_of_too_little_variety_are_found_although_their_mean_is_right():
    x = spectra(7, 100)
    assert verdict(x.mean(axis=0) + 0.3 * (x - x.mean(axis=0))).verdict == BEYOND


def test_flat_leads():
    flat = spectra(7, 100)
    flat[:30, 0] = -np.inf
    metric = verdict(flat)
    assert metric.verdict == BEYOND
    assert np.isfinite([metric.value, metric.ci_low, metric.ci_high]).all()
    (all_flat,) = spectral_metrics(*(seen(np.full((25, 2, 80), -np.inf)) for _ in range(3)), seed=0)
    assert all_flat.value == all_flat.floor == 0.0
    assert all_flat.verdict == WITHIN


def test_too_few_patients():
    metric = verdict(spectra(7, 19))
    assert metric.verdict == TOO_FEW
    assert np.isnan(metric.value)


def test_sets_that_do_not_fit():
    x = seen(spectra(0, 25))
    with pytest.raises(EvaluationError, match="synthetic has leads I, V1 and 80 frequencies, train I, II and 80"):
        spectral_metrics(x, x, seen(spectra(1, 25), leads=("I", "V1")), seed=0)
    with pytest.raises(EvaluationError, match="holdout has leads I, II and 79 frequencies"):
        spectral_metrics(x, seen(spectra(1, 25)[:, :, 1:], FREQS[1:]), x, seed=0)
    with pytest.raises(EvaluationError, match="synthetic has no records"):
        spectral_metrics(x, x, seen(np.zeros((0, 2, 80))), seed=0)


def test_the_same_seed_gives_the_same_figure():
    assert verdict(spectra(7, 40), 40) == verdict(spectra(7, 40), 40)


def test_simulated_ecgs():
    ecgs, _ = simulate(90, seed=5)
    ecgs = ecgs.pick(("I", "V2"))
    sets = [ecgs.take(range(start, start + 30)) for start in (0, 30, 60)]
    hum = 0.05 * np.sin(2 * np.pi * 30 * np.arange(ecgs.n_samples) / ecgs.fs)
    humming = ECGSet(sets[2].signal + hum, ecgs.fs, ecgs.leads, sets[2].record_name, sets[2].patient_id)
    features = [compute_features(each, r_peaks(each)) for each in (*sets, humming)]
    assert spectral_metrics(*features[:3], seed=0)[0].verdict == WITHIN
    assert spectral_metrics(features[0], features[1], features[3], seed=0)[0].verdict == BEYOND


def test_a_thousand_records_take_seconds():
    """Seven minutes if every draw compared the records anew."""
    sets = [seen(spectra(seed, 500)) for seed in range(3)]
    start = time.process_time()
    spectral_metrics(*sets, seed=0)
    assert time.process_time() - start < 30
