"""No false comfort: what is wrong with a synthetic set must show in the figures that are there to see it.

The table says of each fault which figures have to fail, because of what they measure, and which have to pass, because
the fault leaves alone what they measure. Each line held in five of five draws of the simulated people.
"""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, evaluate
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.membership import LEAKAGE
from ecgveil.evaluation.near_copies import COPIES
from ecgveil.evaluation.privacy import CLOSER, NEARER
from ecgveil.report.answers import ACCUSING
from ecgveil.simulate import simulate

N, FS_HZ = 80, 250

Real = dict[str, ECGSet]  # train, holdout, and others: ECGs of new people that serve as synthetic ones


def as_synthetic(ecgs: ECGSet, signal: np.ndarray | None = None) -> ECGSet:
    names = tuple(f"s{i}" for i in range(len(ecgs)))
    return ECGSet(ecgs.signal if signal is None else signal, ecgs.fs, ecgs.leads, names, units=ecgs.units)


def derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """An order that leaves nothing in its place."""
    order = np.arange(n)
    while (order == np.arange(n)).any():
        order = rng.permutation(n)
    return order


def white_noise(real: Real, rng: np.random.Generator) -> np.ndarray:
    return 0.2 * rng.standard_normal(real["others"].signal.shape)


def one_ecg(real: Real, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(real["others"].signal[:1], N, axis=0)


def time_reversed(real: Real, rng: np.random.Generator) -> np.ndarray:
    return real["others"].signal[..., ::-1]


def leads_shuffled_alike(real: Real, rng: np.random.Generator) -> np.ndarray:
    return real["others"].signal[:, derangement(12, rng)]


def leads_shuffled_in_each(real: Real, rng: np.random.Generator) -> np.ndarray:
    return np.stack([signal[derangement(12, rng)] for signal in real["others"].signal])


def mean_ecg(real: Real, rng: np.random.Generator) -> np.ndarray:
    return real["train"].signal.mean(axis=0) + 0.001 * rng.standard_normal(real["others"].signal.shape)


def inverted(real: Real, rng: np.random.Generator) -> np.ndarray:
    return -real["others"].signal


def low_passed(real: Real, rng: np.random.Generator) -> np.ndarray:
    return sosfiltfilt(butter(6, 40, fs=FS_HZ, output="sos"), real["others"].signal)


def half_as_large_again(real: Real, rng: np.random.Generator) -> np.ndarray:
    return 1.5 * real["others"].signal


def copies(real: Real, rng: np.random.Generator) -> np.ndarray:
    return real["train"].signal


def a_tenth_copies(real: Real, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([real["train"].signal[: N // 10], real["others"].signal[N // 10 :]])


COPIES_SHARE = "copies_share"
R_AND_T = {f"{wave}_amplitude_{lead}_ks" for wave in "rt" for lead in ("I", "II", "V1", "V3", "V5")}
SPECTRA = {"psd_distance_db", "psd_mmd"}
NEIGHBOURS = {"frechet_clinical", "kernel_clinical", "density_clinical", "coverage_clinical"}
RHYTHM = {"heart_rate_ks", "rr_sd_ks"}
BEATS = {"beat_likeness_ks", "qrs_variation_ks", "t_variation_ks"}

# fault -> figures that must fail, and figures that must pass: what they measure is as it was.
EXPECTED: dict[Callable[[Real, np.random.Generator], np.ndarray], tuple[set[str], set[str]]] = {
    # No beat, no wave, no lead that has to do with another.
    white_noise: (
        {"c2st_auc", "lead_correlation_error", "limb_residual_median_uv", "measuring_failure_share", "normal_share"}
        | {"precision_clinical", "recall_clinical", "rules_valid_share", "rules_error_increase", "rules_broken"}
        | R_AND_T | SPECTRA | NEIGHBOURS | RHYTHM | BEATS,
        set(),
    ),
    # A good ECG, but always the same: no variety to recall. Which amplitudes it is odd in depends on the ECG.
    one_ecg: (
        {"c2st_auc", "record_repeats_share", "recall_clinical", "coverage_clinical", "frechet_clinical", "psd_mmd"}
        | {"rules_broken"} | RHYTHM,
        {"measuring_failure_share"},
    ),
    # T is sought before the QRS, where P is. Spectra, rate and the leads' correlations know no direction of time.
    time_reversed: (
        {f"t_amplitude_{lead}_ks" for lead in ("I", "II", "V3", "V5")}
        | {"qt_rr_slope_difference", "qt_rr_r_difference", "normal_share", "rules_broken", "precision_clinical"}
        | NEIGHBOURS,
        {"heart_rate_ks", "lead_correlation_error"} | SPECTRA,
    ),
    # Amplitudes, spectra and correlations stand at the wrong leads; what is of all leads together does not change.
    leads_shuffled_alike: (
        {"c2st_auc", "lead_correlation_error", "limb_residual_median_uv", "precision_clinical", "normal_share"}
        | {"rules_broken"} | SPECTRA | NEIGHBOURS,
        {"heart_rate_ks", "rr_sd_ks", "record_repeats_share"},
    ),
    leads_shuffled_in_each: (
        {"c2st_auc", "lead_correlation_error", "limb_residual_median_uv", "precision_clinical", "normal_share"}
        | {"r_amplitude_V1_ks", "t_amplitude_V1_ks", "rules_broken"} | SPECTRA | NEIGHBOURS,
        {"heart_rate_ks", "rr_sd_ks", "record_repeats_share"},
    ),
    # Hundreds of beats at different times average out: the line that remains has none.
    mean_ecg: (
        {"c2st_auc", "measuring_failure_share", "normal_share", "precision_clinical", "recall_clinical"}
        | R_AND_T | SPECTRA | NEIGHBOURS | RHYTHM | BEATS,
        set(),
    ),
    # Amplitudes change sign (R and S are alike in V3, T is small in V1); spectra, rate and correlations know no sign.
    inverted: (
        {"c2st_auc", "precision_clinical", "normal_share", "rules_broken"}
        | (R_AND_T - {"r_amplitude_V3_ks", "t_amplitude_V1_ks"}) | NEIGHBOURS,
        {"heart_rate_ks", "rr_sd_ks", "lead_correlation_error", "record_repeats_share"} | SPECTRA,
    ),
    # The clinical figures see no noise, and hardly a filter.
    low_passed: (
        {"c2st_auc", "psd_mmd"},
        {"heart_rate_ks", "rr_sd_ks", "lead_correlation_error", "normal_share", "measuring_failure_share"},
    ),
    # People differ by more than that in single leads; all of them together do not.
    half_as_large_again: (
        {"c2st_auc", "psd_distance_db", "r_amplitude_V5_ks", "t_amplitude_V5_ks", "rules_broken"} | NEIGHBOURS,
        {"heart_rate_ks", "rr_sd_ks", "beat_likeness_ks", "lead_correlation_error", "record_repeats_share"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def real() -> Real:
    ecgs = simulate(3 * N, seed=500, fs=FS_HZ)[0]
    return {name: ecgs.take(range(i * N, (i + 1) * N)) for i, name in enumerate(("train", "holdout", "others"))}


def evaluated(real: Real, signal: np.ndarray, **settings: bool) -> Evaluation:
    synthetic = as_synthetic(real["others"], np.asarray(signal, np.float32))
    return evaluate(real["train"], real["holdout"], synthetic, seed=0, **settings)


def beyond(result: Evaluation) -> set[str]:
    return {metric.name for metric in result.metrics if metric.family == "fidelity" and metric.verdict == BEYOND}


def within(result: Evaluation) -> set[str]:
    return {metric.name for metric in result.metrics if metric.family == "fidelity" and metric.verdict == WITHIN}


def accusing(result: Evaluation) -> dict[str, str]:
    return {metric.name: metric.verdict for metric in result.metrics if metric.verdict in ACCUSING}


@pytest.mark.parametrize("fault", EXPECTED, ids=lambda fault: fault.__name__)
def test_a_fault_fails_the_figures_that_should_see_it_and_no_others_that_should_not(real, fault):
    fails, passes = EXPECTED[fault]
    result = evaluated(real, fault(real, np.random.default_rng(0)), quick=True)
    assert fails <= beyond(result)
    assert passes <= within(result)
    if fault is white_noise:
        assert result.distances is None
        assert all(not np.isfinite(m.value) for m in result.metrics if m.family == "privacy" and m.name != COPIES_SHARE)
        assert any("no ECG with a whole beat" in note for note in result.notes)


def test_loss_of_all_but_the_slow_half_of_the_hearts_shows_in_the_rate(real):
    """At this size in the rate alone: neighbourhoods among 41 measurements are too wide to miss half of the rates."""
    more = simulate(2 * N, seed=501, fs=FS_HZ)
    slow = np.argsort(more[1].heart_rate_bpm)[:N]
    result = evaluated(real, more[0].signal[slow], quick=True)
    assert "heart_rate_ks" in beyond(result)
    assert {"lead_correlation_error", "measuring_failure_share", "record_repeats_share"} <= within(result)


def test_loss_of_the_sick_half_shows_in_what_is_recalled(real):
    more = simulate(N, seed=502, fs=FS_HZ, conditions={"sinus rhythm": 1})[0]
    result = evaluated(real, more.signal, quick=True)
    assert "recall_clinical" in beyond(result)
    assert {"precision_clinical", "record_repeats_share", "measuring_failure_share"} <= within(result)


def test_copies_are_likeness_itself_and_betray_everybody(real):
    result = evaluated(real, copies(real, np.random.default_rng(0)), quick=True)
    assert not beyond(result)
    expected = {COPIES_SHARE: COPIES, "closer_to_train_share": CLOSER, "nearest_is_train_share": CLOSER}
    expected |= dict.fromkeys(("median_distance_to_train_uv", "near_copy_share"), NEARER)
    expected |= {f"membership_{attack}_auc": LEAKAGE for attack in ("gan_leaks", "monte_carlo", "domias")}
    assert expected.items() <= accusing(result).items()


def test_a_tenth_of_copies_is_found_though_no_distribution_shows_it(real):
    result = evaluated(real, a_tenth_copies(real, np.random.default_rng(0)), quick=True)
    assert not beyond(result)
    assert accusing(result)[COPIES_SHARE] == COPIES
    assert result.copies is not None
    flagged = result.copies["flagged"].to_numpy()
    assert flagged[: N // 10].all()
    assert flagged[N // 10 :].mean() < 0.05
