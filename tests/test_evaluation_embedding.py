from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import embedding
from ecgveil.evaluation.distribution import FARTHEST, distribution_metrics
from ecgveil.evaluation.embedding import CORRUPTIONS, DIMENSIONS, Encoder, embed, encoder_metrics, fit_encoder, prepare
from ecgveil.evaluation.fidelity import BEYOND
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.leads import LEADS_8
from ecgveil.simulate import simulate

STEPS = 40
NAMES = [f"{name}_encoder" for name in ("frechet", "kernel", "precision", "recall", "density", "coverage")]


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """160 simulated patients, 5 s."""
    ecgs, _ = simulate(160, seed=5)
    return prepare(replace(ecgs, signal=ecgs.signal[:, :, :2500]))


@pytest.fixture(scope="module")
def encoder(people) -> Encoder:
    return fit_encoder(people[:50], seed=0, steps=STEPS)


def ids(*sets: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.char.add(f"{i}-", np.arange(len(each)).astype(str)) for i, each in enumerate(sets))


# ---- what the encoder is shown


def test_prepare_takes_the_independent_leads_at_250_hz(clinic):
    x = prepare(clinic)
    assert x.shape == (24, 8, 2500)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(axis=2), 0, atol=1e-5)
    np.testing.assert_array_equal(prepare(clinic.pick(tuple(reversed(clinic.leads)))), x)
    np.testing.assert_array_equal(prepare(clinic.pick(LEADS_8)), x)
    inner = clinic.signal[:, 0, ::2] - clinic.signal[:, 0].mean(axis=1, keepdims=True)
    assert np.abs(x[:, 0] - inner).mean() < 0.05 * inner.std()


def test_prepare_of_other_leads_rates_and_lengths(clinic):
    few = clinic.take([0, 1])
    assert prepare(few.pick(("aVF", "V1", "III"))).shape == (2, 3, 2500)
    assert prepare(ECGSet(few.signal[:, :, :1000], 100, few.leads, few.record_name)).shape == (2, 8, 2500)
    assert prepare(ECGSet(np.tile(few.signal, 3), 500, few.leads, few.record_name)).shape == (2, 8, 2500)
    with pytest.raises(EvaluationError, match="no ECGs"):
        prepare(few.take([]))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_leaves_form_and_changes_content(people, kind):
    x, other = people[0], people[1]
    damaged = kind(x, other, np.random.default_rng(0))
    assert damaged.shape == x.shape
    assert np.isfinite(damaged).all()
    assert np.abs(damaged - x).max() > 0.01
    assert np.abs(damaged).max() < 10 * np.abs(x).max() + 5


# ---- the encoder


def test_features_of_the_records_learned_from_are_white(people, encoder):
    features = embed(encoder, people[:50])
    assert features.shape == (50, DIMENSIONS)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(features.T)
    np.testing.assert_allclose(covariance, np.diag(covariance.diagonal()), atol=1e-2)
    assert covariance.diagonal().max() == pytest.approx(1, abs=0.02)


def test_two_stretches_of_one_record_are_nearer_than_those_of_two(people, encoder):
    one, two = embed(encoder, people[50:, :, :625]), embed(encoder, people[50:, :, 625:])
    apart = ((one[:, None] - two) ** 2).sum(axis=2)
    own = apart.diagonal()
    assert (own[:, None] < apart).sum(axis=1).mean() > 0.57 * (
        len(own) - 1
    )  # 0.5 by chance; the network is hardly trained


def test_features_of_a_record_do_not_depend_on_its_neighbours(people, encoder):
    whole = embed(encoder, people[50:120])
    np.testing.assert_allclose(embed(encoder, people[117:118]), whole[67:68], atol=1e-3)


def test_features_are_finite_whatever_comes(people, encoder):
    odd = np.stack([np.zeros((8, 1250)), np.full((8, 1250), 1e6), people[0] * 1e-6, people[0] * 1e4])
    assert np.abs(embed(encoder, odd.astype(np.float32))).max() <= FARTHEST


def test_the_same_seed_gives_the_same_encoder_and_leaves_the_global_stream_alone(people):
    state = torch.random.get_rng_state()
    fits = [embed(fit_encoder(people[:8], seed=seed, steps=3), people[8:12]) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_one_lead_a_flat_lead_and_few_records(people):
    few = people[:5, :2].copy()
    few[:, 1] = 0
    for x in (few, people[:2], people[:5, :1]):
        assert np.isfinite(embed(fit_encoder(x, seed=0, steps=2), x)).all()


def test_progress_counts_steps(people):
    calls = []
    fit_encoder(people[:4], seed=0, steps=3, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_arrays_that_do_not_fit(people, encoder):
    with pytest.raises(EvaluationError, match="shape \\(1, 8, 1250\\); the encoder needs at least 2 records"):
        fit_encoder(people[:1], seed=0)
    with pytest.raises(EvaluationError, match="2 s at 250 Hz"):
        embed(encoder, people[:, :, :499])
    with pytest.raises(EvaluationError, match="have 3 leads, the encoder learned from 8"):
        embed(encoder, people[:, :3])
    with pytest.raises(EvaluationError, match="not finite"):
        embed(encoder, np.full((2, 8, 1250), np.nan, np.float32))


# ---- the figures


def test_the_encoder_sees_half_of_train_and_nothing_else(people, monkeypatch):
    """Two records for each patient: nobody is on both sides, no holdout or synthetic record is learned from."""
    seen = {}

    def spy_fit(train, **_):
        seen["learned"] = train
        return fit_encoder(train, seed=0, steps=1)

    def spy_metrics(train, holdout, synthetic, patient_id, **_):
        seen["floor"] = patient_id[0]
        return []

    monkeypatch.setattr(embedding, "fit_encoder", spy_fit)
    monkeypatch.setattr(embedding, "distribution_metrics", spy_metrics)
    train, who = people[:100], np.arange(100) // 2
    encoder_metrics(train, people[100:130], people[130:], (who, np.arange(30), np.arange(30)), seed=0)
    rows = [int(np.flatnonzero((train == each).all(axis=(1, 2)))[0]) for each in seen["learned"]]
    assert len(rows) == len(seen["floor"]) == 50
    assert not set(who[rows]) & set(seen["floor"])


def test_figures_of_what_no_heart_does(people, encoder):
    floor, holdout, rest = people[50:87], people[87:123], people[123:]
    rng = np.random.default_rng(0)
    fakes = {
        "white noise": rng.normal(0, 1, rest.shape) * rest.std(axis=(0, 2), keepdims=True),
        "one repeated": np.repeat(rest[:1], 37, axis=0),
        "mean": np.repeat(rest.mean(axis=0, keepdims=True), 37, axis=0),
        "smoothed": np.stack([embedding._smoothed(each, each, np.random.default_rng(1)) for each in rest]),
        "real": rest,
    }
    stacked = np.concatenate([each.astype(np.float32) for each in fakes.values()])
    features = np.split(embed(encoder, stacked), len(fakes))
    beyond = {}
    for name, each in zip(fakes, features, strict=True):
        real = embed(encoder, floor), embed(encoder, holdout)
        metrics = distribution_metrics(*real, each, ids(*real, each), seed=0, representation="encoder")
        assert [metric.name for metric in metrics] == NAMES
        beyond[name] = {metric.name.split("_")[0] for metric in metrics if metric.verdict == BEYOND}
    assert beyond["white noise"] >= {"frechet", "kernel", "recall", "density", "coverage"}
    assert beyond["one repeated"] >= {"frechet", "kernel", "recall", "coverage"}
    assert beyond["mean"] >= {"frechet", "recall", "coverage"}
    assert beyond["smoothed"] >= {"frechet"}
    assert not beyond["real"]


def test_figures_from_arrays_of_unequal_length(people):
    train, holdout, synthetic = people[:60], people[60:90, :, :1000], people[90:120, :, :1100]
    metrics = encoder_metrics(train, holdout, synthetic, ids(train, holdout, synthetic), seed=0, steps=2)
    assert [metric.name for metric in metrics] == NAMES
    assert {metric.n for metric in metrics} == {30}
    assert np.isfinite([metric.value for metric in metrics]).all()


@pytest.mark.parametrize(("n_train", "n_other"), [(39, 30), (60, 19), (1, 30)])
def test_too_few_patients_say_so_at_once(people, n_train, n_other):
    train, other = people[:n_train], people[60 : 60 + n_other]
    metrics = encoder_metrics(train, other, other, ids(train, other, other), seed=0, steps=10**9)
    assert [metric.verdict for metric in metrics] == [TOO_FEW] * 6
    assert np.isnan([metric.value for metric in metrics]).all()


def test_sets_that_do_not_fit(people):
    with pytest.raises(EvaluationError, match="holdout has 5 records of 8 leads and 4 patients"):
        encoder_metrics(people, people[:5], people, (np.arange(160), np.arange(4), np.arange(160)), seed=0)
    with pytest.raises(EvaluationError, match="synthetic has 5 records of 3 leads"):
        encoder_metrics(people, people[:5], people[:5, :3], ids(people, people[:5], people[:5]), seed=0)
