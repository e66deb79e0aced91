import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors

from ecgveil.errors import EvaluationError
from ecgveil.evaluation import distribution
from ecgveil.evaluation.distribution import (
    FARTHEST,
    Scaling,
    clinical_features,
    clinical_metrics,
    distribution_metrics,
    frechet,
    kernel_distance,
    prdc,
    scaled_features,
)
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.measure import measure
from ecgveil.simulate import simulate
from ecgveil.windows import read


def drawn(seed: int, n: int, d: int, shift: float = 0.0) -> np.ndarray:
    """Correlated, skewed features."""
    rng = np.random.default_rng(seed)
    return np.exp(0.3 * rng.standard_normal((n, d))) @ rng.standard_normal((d, d)) + shift


def with_moments(seed: int, n: int, mean: np.ndarray, root: np.ndarray) -> np.ndarray:
    """A sample whose mean and covariance are exactly `mean` and root' root."""
    white = np.random.default_rng(seed).standard_normal((n, len(mean)))
    white = np.linalg.qr(white - white.mean(axis=0))[0] * np.sqrt(n - 1)
    return white @ root + mean


# ---- the figures


def test_frechet_of_gaussians_that_commute_has_a_closed_form():
    one, other = np.array([1.0, 2.0, 0.5]), np.array([2.0, 0.1, 0.5])
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    mean = np.array([1.0, -2.0, 3.0])
    x = with_moments(0, 50, np.zeros(3), np.diag(one) @ turn)
    y = with_moments(1, 80, mean, np.diag(other) @ turn)
    assert frechet(x, y) == pytest.approx((mean**2).sum() + ((one - other) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(200, 300, 12), (60, 60, 41), (2, 50, 1)])
def test_frechet_agrees_with_the_matrix_root(n, m, d):
    x, y = drawn(0, n, d), drawn(1, m, d, 0.5)
    cx, cy = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (x, y))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx + cy - 2 * np.real(sqrtm(cx @ cy)))
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_frechet_of_fewer_records_than_features_is_that_of_the_space_they_span():
    x, y = drawn(0, 6, 5), drawn(1, 8, 5, 0.5)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((60, 60)))[0][:5]
    assert frechet(x @ turn, y @ turn) == pytest.approx(frechet(x, y), abs=1e-9)
    assert frechet(x @ turn, x @ turn) == pytest.approx(0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 12))
def test_distances_are_symmetric_and_a_shift_of_both_changes_no_frechet(seed, n, m, d):
    x, y = drawn(seed, n, d), drawn(seed + 1, m, d)
    assert frechet(x, y) == pytest.approx(frechet(y, x), rel=1e-9, abs=1e-9)
    assert frechet(x + 3, y + 3) == pytest.approx(frechet(x, y), rel=1e-7, abs=1e-7)
    assert kernel_distance(x, y) == pytest.approx(kernel_distance(y, x), rel=1e-9, abs=1e-9)
    assert frechet(x, x) == pytest.approx(0, abs=1e-7)
    assert frechet(x, x + 2) == pytest.approx(4 * d, rel=1e-7)


def test_kernel_distance_agrees_with_scikit_learns_kernel():
    x, y = drawn(0, 40, 7), drawn(1, 55, 7, 0.3)
    xx, yy, xy = (polynomial_kernel(*pair, degree=3, gamma=1 / 7, coef0=1) for pair in ((x, x), (y, y), (x, y)))
    expected = (xx.sum() - np.trace(xx)) / (40 * 39) + (yy.sum() - np.trace(yy)) / (55 * 54) - 2 * xy.mean()
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_is_unbiased():
    # In one dimension the kernel is 1 + 3xy + 3x^2y^2 + x^3y^3. Moments of N(0, 1): 0, 1, 0; of N(1, 1): 1, 2, 4.
    rng = np.random.default_rng(0)
    for shift, expected in ((0.0, 0.0), (1.0, 3 * 1 + 3 * 1 + 16)):
        found = [kernel_distance(rng.normal(0, 1, (10, 1)), rng.normal(shift, 1, (10, 1))) for _ in range(4000)]
        assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(4000))


def plain_prdc(real, fake, k):
    """The definitions, record by record."""
    of_real, of_fake = (NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0][:, -1] for x in (real, fake))
    apart = np.array([[np.linalg.norm(a - b) for b in fake] for a in real])
    inside = [[apart[i, j] <= of_real[i] for j in range(len(fake))] for i in range(len(real))]
    return (
        np.mean([any(inside[i][j] for i in range(len(real))) for j in range(len(fake))]),
        np.mean([any(apart[i, j] <= of_fake[j] for j in range(len(fake))) for i in range(len(real))]),
        sum(sum(row) for row in inside) / k / len(fake),
        np.mean([any(row) for row in inside]),
    )


@pytest.mark.parametrize(("n", "m", "k", "pairs"), [(60, 80, 5, 2**21), (80, 50, 3, 200), (30, 30, 1, 1)])
def test_prdc_agrees_with_the_definitions_in_blocks_of_any_size(n, m, k, pairs, monkeypatch):
    monkeypatch.setattr(distribution, "_PAIRS", pairs)
    real, fake = drawn(3, n, 4), drawn(3, m, 4)[:, ::-1] * 0.8
    assert prdc(real, fake, k) == pytest.approx(plain_prdc(real, fake, k), abs=1e-12)


def test_prdc_of_one_line_by_hand():
    # k = 1: the balls of 0, 1, 3, 7 reach 1, 1, 2, 4; those of 5.5, 9, 12 reach 3.5, 3, 3.
    found = prdc(np.array([[0.0], [1], [3], [7]]), np.array([[5.5], [9], [12]]), k=1)
    assert found == pytest.approx((2 / 3, 2 / 4, 2 / 3, 1 / 4))


def test_prdc_of_a_copy_a_collapse_and_a_stranger():
    real = drawn(0, 300, 6)
    assert prdc(real, real) == pytest.approx((1, 1, 1 + 1 / 5, 1))  # in its k neighbours' balls on average, and its own
    precision, recall, _, coverage = prdc(real, np.repeat(real[:1], 300, axis=0))
    assert precision == 1
    assert recall == pytest.approx(1 / 300)
    assert coverage < 0.1
    assert prdc(real, real + 1000) == (0, 0, 0, 0)


def test_large_sets_are_compared_in_blocks(monkeypatch):
    monkeypatch.setattr(distribution, "_PAIRS", 2**17)  # 1 MB
    x, y = drawn(0, 2000, 4), drawn(1, 3000, 4)  # 48 MB of distances, were they made at once
    tracemalloc.start()
    prdc(x, y)
    kernel_distance(x, y)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8e6


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.ones((5, 2)), np.ones((5, 3)), "shapes (5, 2) and (5, 3)"),
        (np.ones(5), np.ones(5), "shapes (5,)"),
        (np.ones((1, 2)), np.ones((5, 2)), "1 records are too few"),
        (np.ones((9, 2)), np.full((9, 2), np.nan), "not finite"),
    ],
)
def test_bad_features_are_refused(x, y, said):
    for figure in (frechet, kernel_distance, prdc):
        with pytest.raises(EvaluationError) as error:
            figure(x, y)
        assert said in str(error.value)


def test_prdc_needs_more_records_than_neighbours():
    with pytest.raises(EvaluationError, match="give at least 6"):
        prdc(np.ones((5, 2)), np.ones((9, 2)))
    with pytest.raises(EvaluationError, match="k is 0"):
        prdc(np.ones((5, 2)), np.ones((9, 2)), k=0)


# ---- the metrics


def people(*sets):
    return tuple(np.arange(len(each)) for each in sets)


def of(metrics, stem):
    return next(metric for metric in metrics if metric.name.startswith(stem))


def judged(train, holdout, synthetic, **settings):
    return distribution_metrics(train, holdout, synthetic, people(train, holdout, synthetic), **{"seed": 0, **settings})


@pytest.fixture(scope="module")
def real():
    """Train, holdout and further real features of one population."""
    rng = np.random.default_rng(0)
    every = np.exp(0.3 * rng.standard_normal((700, 8))) * np.linspace(1, 2, 8)
    return every[:300], every[300:400], every[400:]


def test_names_and_directions(real):
    metrics = judged(*real, representation="encoder")
    assert [metric.name for metric in metrics] == [
        f"{name}_encoder" for name in ("frechet", "kernel", "precision", "recall", "density", "coverage")
    ]
    assert [metric.better for metric in metrics] == ["lower"] * 2 + ["higher"] * 4
    assert {metric.n for metric in metrics} == {100}


def test_real_ecgs_passed_off_as_synthetic_are_within_the_floor(real):
    for metric in judged(*real):
        assert metric.verdict == WITHIN, metric.name
        assert metric.ci_low <= metric.value <= metric.ci_high
        assert metric.ci_low <= metric.floor <= metric.ci_high


def test_planted_faults_are_told_by_the_figures_that_should(real):
    train, holdout, more = real
    rng = np.random.default_rng(1)
    collapse = judged(train, holdout, np.repeat(more[:1], 300, axis=0))
    mean = judged(train, holdout, np.repeat(train.mean(axis=0, keepdims=True), 300, axis=0))
    for metrics in (collapse, mean):
        assert {m.name.split("_")[0] for m in metrics if m.verdict == BEYOND} >= {"frechet", "recall", "coverage"}
        assert of(metrics, "recall").value < 0.05
        assert of(metrics, "coverage").value < 0.3
        assert of(metrics, "recall").ci_high > 0  # of 100 none is not: never any
    stranger = judged(train, holdout, rng.normal(10, 1, (300, 8)))
    assert all(metric.verdict == BEYOND for metric in stranger)
    middle = train.mean(axis=1) < np.median(train.mean(axis=1))
    half = judged(train, holdout, train[middle] + 0.01 * rng.standard_normal((middle.sum(), 8)))
    assert {of(half, "frechet").verdict, of(half, "recall").verdict} == {BEYOND}
    assert of(half, "precision").verdict == WITHIN  # each of them is real enough: only some kinds are missing


def test_false_alarms_are_rare_and_intervals_cover():
    rng, alarms, values, intervals = np.random.default_rng(7), 0, [], []
    for seed in range(25):
        metrics = judged(*(rng.standard_normal((40, 3)) for _ in range(3)), seed=seed)
        alarms += sum(metric.verdict == BEYOND for metric in metrics)
        values.append([metric.value for metric in metrics])
        intervals.append([(metric.ci_low, metric.ci_high) for metric in metrics])
    low, high = np.moveaxis(np.array(intervals), -1, 0)
    truth = np.mean(values, axis=0)  # of samples of this size
    assert alarms <= 0.08 * 25 * 6
    assert ((low <= truth) & (truth <= high)).mean() >= 0.9


def test_the_seed_decides_and_every_patient_counts_once(real):
    train, holdout, more = real
    first = judged(train, holdout, more[:120])
    assert judged(train, holdout, more[:120]) == first
    assert judged(train, holdout, more[:120], seed=1) != first
    odd = np.concatenate([holdout, np.repeat(holdout[:1] + 50, 400, axis=0)])  # 400 odd records, all of one person
    patients = (np.arange(300), np.concatenate([np.arange(100), np.full(400, 100)]), np.arange(300))
    metrics = distribution_metrics(train, odd, more, patients, seed=0)
    assert of(metrics, "recall").value > 0.8


def test_too_few_patients_have_no_figures_and_few_no_frechet_verdict(real):
    train, holdout, more = real
    for metric in judged(train, holdout[:19], more):
        assert np.isnan(metric.value)
        assert metric.verdict == TOO_FEW
        assert metric.n == 19
    wide = judged(*(np.random.default_rng(i).standard_normal((30, 30)) for i in range(3)))
    assert [metric.verdict == TOO_FEW for metric in wide] == [True] + [False] * 5


def test_sets_that_do_not_fit_are_refused(real):
    train, holdout, more = real
    with pytest.raises(EvaluationError, match="holdout has 100 records and 99 patients"):
        distribution_metrics(train, holdout, more, (np.arange(300), np.arange(99), np.arange(300)), seed=0)
    with pytest.raises(EvaluationError, match="not finite"):
        judged(train, holdout, np.where(more > 1, np.nan, more))
    with pytest.raises(EvaluationError, match="train has 0 records"):
        metrics_of(measured(0)[:0], measured(1), measured(2))


# ---- the clinical representation


@pytest.fixture(scope="module")
def hearts():
    return simulate(150, seed=2, fs=250)[0]


@pytest.fixture(scope="module")
def table(hearts):
    return measure(hearts)


def test_clinical_features_are_the_tables(table):
    values, names = clinical_features(table)
    assert values.shape == (150, 41)
    assert len(set(names)) == 41
    column = dict(zip(names, values.T, strict=True))
    np.testing.assert_array_equal(column["qt_interval_ms"], table["qt_interval_ms"])
    np.testing.assert_array_equal(column["stj_v5_uv"], table["stj_v5_uv"])
    angle = np.degrees(np.arctan2(column["qrs_axis_sin"], column["qrs_axis_cos"]))
    np.testing.assert_allclose(angle, table["qrs_axis_deg"])
    np.testing.assert_array_equal(column["missing_p"] == 1, table["p_duration_ms"].isna())
    assert 0 < column["missing_p"].sum() < 150  # else nothing was tested


def test_scaling_fills_with_trains_median_and_ends_outliers():
    values = np.column_stack([np.arange(101.0), np.full(101, np.nan), np.full(101, 7.0), np.zeros(101)])
    values[0, 0], values[1, 0] = 1e9, np.nan
    names = ("a", "never", "same", "missing_a")
    values[1, 3] = 1
    scaling = Scaling.fit(values, names)
    assert scaling.names == ("a", "same", "missing_a")
    scaled = scaling.apply(values)
    assert scaled.shape == (101, 3)
    assert scaled[0, 0] == FARTHEST
    assert scaled[1].tolist() == [0, 0, 1]
    assert scaled[:, 0].std() == pytest.approx(1, abs=0.15)  # one of 10^9 has not made all others alike
    assert scaling.apply(np.array([[51.5, 0, 8.0, 0]]))[0] == pytest.approx([0, 1, 0])


def test_scaling_keeps_a_measurement_that_is_mostly_zero():
    values = np.where(np.arange(200) < 4, 10.0, 0.0)[:, None]
    assert 2 < Scaling.fit(values, ("q",)).apply(values).max() <= FARTHEST


def metrics_of(train, holdout, synthetic, seed=0):
    found = clinical_metrics(train, holdout, synthetic, people(train, holdout, synthetic), seed=seed)
    return {metric.name: metric for metric in found}


def measured(seed: int, n: int = 120, slope: float = 0.15, r: float = 0.8) -> pd.DataFrame:
    """A table with the columns of `measure` and a known relation of QT to RR."""
    rng = np.random.default_rng(seed)
    columns = [f"{wave}_{lead}_uv" for wave in distribution.WAVES for lead in ("i", "ii", "v1", "v3", "v5")]
    columns += [*distribution.AXES, *distribution.INTERVALS, "rr_sd_ms", "heart_rate_bpm"]
    common = rng.standard_normal((n, 1))
    table = pd.DataFrame(100 + 10 * (common + rng.standard_normal((n, len(columns)))), columns=columns)
    rr = 900 + 100 * rng.standard_normal(n)
    noise = slope * 100 * np.sqrt(1 / r**2 - 1) * rng.standard_normal(n)
    table["rr_mean_ms"], table["qt_interval_ms"] = rr, 400 + slope * (rr - 900) + noise
    table["conclusion"] = np.where(rng.random(n) < 0.7, "normal", "abnormal")
    return table


def test_clinical_metrics_of_one_population_are_within_their_floors():
    found = metrics_of(measured(0), measured(1), measured(2))
    assert list(found) == [
        "measurement_correlation_error",
        "qt_rr_slope_difference",
        "qt_rr_r_difference",
        "normal_share",
        "measuring_failure_share",
    ]
    for metric in found.values():
        assert metric.verdict == WITHIN, metric.name
        assert metric.ci_low <= metric.value <= metric.ci_high
    assert found["normal_share"].target == pytest.approx((measured(1)["conclusion"] == "normal").mean())
    assert found["measuring_failure_share"].value == found["measuring_failure_share"].floor == 0


def test_slope_and_r_of_qt_on_rr_are_those_of_the_table():
    tables = [measured(0), measured(1), measured(2, slope=0.3)]
    tables[2].loc[:5, "qt_interval_ms"] = np.nan
    tables[0].loc[0, "rr_mean_ms"] = 1e6  # one lost beat is not to turn the line
    found = metrics_of(*tables)
    fits = []
    for table in tables:
        known = table[table["rr_mean_ms"] < 1e6].dropna(subset="qt_interval_ms")
        x, y = known["rr_mean_ms"], known["qt_interval_ms"]
        fits.append((np.polyfit(x, y, 1)[0], np.corrcoef(x, y)[0, 1]))
    for i, name in enumerate(("qt_rr_slope_difference", "qt_rr_r_difference")):
        assert np.isfinite(found[name].ci_high)
        assert found[name].value == pytest.approx(abs(fits[2][i] - fits[1][i]), abs=1e-9)
        assert found[name].floor == pytest.approx(abs(fits[0][i] - fits[1][i]), abs=1e-9)
    assert found["qt_rr_slope_difference"].verdict == BEYOND
    assert found["qt_rr_r_difference"].verdict == WITHIN


def test_measurements_that_are_right_one_by_one_but_not_together_are_told():
    shuffled = measured(2)
    rng = np.random.default_rng(0)
    for name in shuffled.columns:
        shuffled[name] = rng.permutation(shuffled[name].to_numpy())
    found = metrics_of(measured(0), measured(1), shuffled)
    assert found["measurement_correlation_error"].verdict == BEYOND
    # Lost: a correlation of 0.5 between 30 of 41 features, and less between the cosines and sines of the axes.
    assert 435 / 820 * 0.5 < found["measurement_correlation_error"].value < 630 / 820 * 0.5
    assert found["qt_rr_r_difference"].verdict == BEYOND
    assert found["normal_share"].verdict == WITHIN


def test_all_normal_and_all_failed_are_told():
    bland = measured(2).assign(conclusion="normal")
    assert metrics_of(measured(0), measured(1), bland)["normal_share"].verdict == BEYOND
    broken = measured(2)
    broken.loc[: len(broken) // 5, "qrs_duration_ms"] = np.nan
    found = metrics_of(measured(0), measured(1), broken)["measuring_failure_share"]
    assert found.verdict == BEYOND
    assert found.ci_low < 0.2 < found.ci_high
    lost = metrics_of(measured(0), measured(1), measured(2).assign(qt_interval_ms=np.nan))
    assert np.isnan(lost["qt_rr_slope_difference"].value)
    assert "cannot be computed" in lost["qt_rr_slope_difference"].verdict


def test_simulated_hearts_pass_and_reversed_time_does_not(hearts, table):
    alarms = 0
    for seed in range(8):
        parts = np.split(np.random.default_rng(seed).permutation(150), [60, 105])
        tables = tuple(table.iloc[part] for part in parts)
        metrics = judged(*scaled_features(tables), seed=seed) + list(metrics_of(*tables, seed=seed).values())
        alarms += sum(metric.verdict == BEYOND for metric in metrics)
    assert alarms <= 0.08 * 8 * 11
    other = hearts.take(parts[2])
    turned = measure(replace(other, signal=other.signal[..., ::-1]))
    worse = judged(*scaled_features((*tables[:2], turned)))
    assert {of(worse, name).verdict for name in ("frechet", "recall", "coverage")} == {BEYOND}


@pytest.mark.data
def test_real_ecgs_are_as_near_to_real_ecgs_as_they_should(data):
    ecgs, _ = read(data / "ludb")
    table = measure(ecgs)
    parts = np.array_split(np.random.default_rng(0).permutation(len(table)), 3)
    train, holdout, more = scaled_features(tuple(table.iloc[part] for part in parts))
    assert [metric.name for metric in judged(train, holdout, more) if metric.verdict == BEYOND] == []
    middle = judged(train, holdout, np.zeros_like(more))
    assert of(middle, "recall").verdict == of(middle, "coverage").verdict == BEYOND
