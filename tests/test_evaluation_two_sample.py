from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import two_sample as m
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.leads import LEADS_8
from ecgveil.simulate import simulate
from ecgveil.windows import read

N = 32


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the trees, in a third of the time."""
    monkeypatch.setattr(m, "TREES", 100)


@pytest.fixture(scope="module")
def people() -> ECGSet:
    """Simulated, 5 s at 250 Hz, cut to 2.5 s."""
    ecgs, _ = simulate(6 * N, seed=5, seconds=5, fs=250)
    return replace(ecgs, signal=ecgs.signal[:, :, :625])


@pytest.fixture(scope="module")
def halves(people: ECGSet) -> tuple[np.ndarray, np.ndarray]:
    x = m.prepare(people)
    return x[:N], x[N : 2 * N]


def judge(one: np.ndarray, other: np.ndarray, epochs: int = 0, seed: int = 0, noise: float = m.NOISE) -> m.TwoSample:
    return m.two_sample(one, other, seed=seed, folds=2, epochs=epochs, noise=noise)


def smooth(x: np.ndarray) -> np.ndarray:
    return sosfiltfilt(butter(4, 40, fs=250, output="sos"), x, axis=-1).astype(np.float32)


def test_ecgs_are_shown_as_promised():
    ecgs, _ = simulate(3, seed=0, seconds=12)
    moved = replace(ecgs, signal=ecgs.signal + np.arange(12, dtype=np.float32)[:, None])
    x = m.prepare(moved)
    assert x.shape == (3, 8, 2500)
    assert x.dtype == np.float32
    assert np.abs(np.median(x, axis=-1)).max() < 1e-5
    np.testing.assert_allclose(x, m.prepare(ecgs), atol=1e-5)  # offsets are taken away
    expected = ecgs.pick(LEADS_8).signal[:, :, :5000:2]
    assert np.corrcoef(x.ravel(), (expected - np.median(expected, axis=-1, keepdims=True)).ravel())[0, 1] > 0.995
    slow = replace(ecgs.pick(["I", "V3"]), signal=ecgs.pick(["I", "V3"]).signal[:, :, ::5], fs=100)
    assert m.prepare(slow).shape == (3, 2, 1000)  # neither leads nor samples are invented


def test_ecgs_too_short_are_refused(people):
    with pytest.raises(EvaluationError, match=r"1\.6 s are too short"):
        m.prepare(replace(people, signal=people.signal[:, :, :400]))


def test_the_same_population_cannot_be_told_apart(people):
    x = m.prepare(people)
    areas, covered = [], 0
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(x))
        found = judge(x[order[:N]], x[order[N : 2 * N]], seed=seed)
        areas.append(found.auc)
        covered += found.auc_low <= 0.5 <= found.auc_high
    assert covered >= 7
    assert abs(np.mean(areas) - 0.5) < 0.08  # its standard error is 0.03


def test_a_spectrum_that_ends_early_is_seen_from_few_ecgs(halves):
    found = judge(halves[0], smooth(halves[1]))
    assert found.auc > 0.95
    assert found.auc_low > 0.8


def test_one_ecg_repeated_is_seen(halves):
    assert judge(halves[0], np.repeat(halves[1][:1], N, axis=0)).auc > 0.97


def test_amplitude_is_information(halves):
    assert judge(halves[0], 3 * halves[1]).auc_low > 0.5


def test_a_grid_is_not_what_is_told(halves):
    def rounded(x: np.ndarray, uv: float) -> np.ndarray:
        return (np.round(x * 1000 / uv) * uv / 1000).astype(np.float32)

    found = judge(rounded(halves[0], 5), rounded(halves[1], 1))
    assert found.auc_low < 0.5


def test_only_the_network_sees_time_run_backwards(halves):
    backwards = halves[1][:, :, ::-1].copy()
    alone, both = judge(halves[0], backwards), judge(halves[0], backwards, epochs=15)
    assert alone.auc < 0.72
    assert both.auc > alone.auc + 0.1
    assert both.auc_low > 0.5


def test_nobody_is_judged_by_who_has_seen_them(monkeypatch, halves):
    """Classifiers that know by heart what they were trained on know nothing of the others."""
    fitted: list[np.ndarray] = []

    def fit(x: np.ndarray, targets: np.ndarray, **_: object) -> list[np.ndarray]:
        fitted.append(x)
        return [x, targets]

    def recall(network: list[np.ndarray], x: np.ndarray) -> np.ndarray:
        known = {each.tobytes() for each in network[0]}
        assert not any(each.tobytes() in known for each in x)
        return np.zeros((len(x), 1))

    monkeypatch.setattr(m, "fit_network", fit)
    monkeypatch.setattr(m, "predict", recall)
    judge(halves[0], halves[1], epochs=1)
    assert [len(x) for x in fitted] == [24, 24]  # three quarters of half of 2 N


def test_result_is_reproducible_and_in_order(halves):
    fake = smooth(halves[1])
    found, again, other = (judge(halves[0], fake, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(found.synthetic, again.synthetic)
    assert not np.array_equal(found.synthetic, other.synthetic)
    assert found.synthetic.mean() > 0.6 > 0.4 > found.holdout.mean()
    assert all(set(rows) == set(range(N)) for rows in found.rows)
    fewer = judge(halves[0], fake[:20])
    assert len(fewer.rows[0]) == len(fewer.holdout) == len(fewer.synthetic) == 20
    assert [np.bincount(fold).tolist() for fold in fewer.folds] == [[10, 10], [10, 10]]


def test_wrong_arrays_are_refused(halves):
    with pytest.raises(EvaluationError, match="alike but in n"):
        judge(halves[0], halves[1][:, :4])
    with pytest.raises(EvaluationError, match="7 ECGs on a side are too few for 2 folds"):
        judge(halves[0][:7], halves[1])


def test_flat_ecgs_do_no_harm(halves):
    flat = np.zeros_like(halves[1])
    assert judge(halves[0], flat).auc > 0.95
    assert judge(flat, flat, noise=0).auc == 0.5


def named(ecgs: ECGSet, rows: range, patients: int) -> ECGSet:
    return replace(ecgs.take(rows), patient_id=tuple(f"p{i % patients}" for i in range(len(rows))))


def test_metric_has_floor_verdict_and_rows(people):
    train, holdout = (named(people, range(k * 2 * N, (k + 1) * 2 * N), N) for k in range(2))
    real = people.take(range(4 * N, 6 * N))
    fake = replace(real, signal=smooth(real.signal))
    seen: list[tuple[int, int]] = []
    (metric,), found = m.two_sample_metrics(
        train, holdout, fake, seed=0, folds=2, epochs=0, progress=lambda *at: seen.append(at)
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (metric.name, metric.n, metric.verdict) == ("c2st_auc", N, BEYOND)
    assert metric.value > 0.95
    assert metric.ci_low > 0.8
    assert 0.3 < metric.floor < 0.7
    assert found is not None
    assert len({holdout.patient_id[i] for i in found.rows[0]}) == N  # one ECG of each
    (metric,), _ = m.two_sample_metrics(train, holdout, real, seed=0, folds=2, epochs=0)
    assert metric.verdict == WITHIN
    assert metric.ci_low < 0.5 < metric.ci_high


def test_few_patients_have_no_verdict(people):
    sets = [people.take(range(k * 16, (k + 1) * 16)) for k in range(3)]
    (metric,), found = m.two_sample_metrics(*sets, seed=0, folds=2, epochs=0)
    assert metric.verdict == TOO_FEW
    assert np.isfinite(metric.value)
    assert found is not None
    (metric,), found = m.two_sample_metrics(*(each.take(range(7)) for each in sets), seed=0, folds=2)
    assert metric.verdict == TOO_FEW
    assert np.isnan(metric.value)
    assert found is None


def test_sets_of_other_form_are_refused(people):
    with pytest.raises(EvaluationError, match="sets differ in form"):
        m.two_sample_metrics(people, people, replace(people, fs=500), seed=0)


@pytest.mark.data
def test_real_ecgs_are_told_from_smoothed_ones_and_not_from_each_other(data):
    ecgs, _ = read(data / "ludb", leads=["I", "II", "V2", "V5"])
    x = m.prepare(ecgs)[np.random.default_rng(0).permutation(len(ecgs))[:120]]
    alike, smoothed = judge(x[:60], x[60:]), judge(x[:60], smooth(x[60:]))
    assert alike.auc_low < 0.5 < alike.auc_high
    assert smoothed.auc > 0.98
