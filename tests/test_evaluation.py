from dataclasses import astuple, replace

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import Evaluation, Metric, evaluate
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.near_copies import COPIES
from ecgveil.evaluation.privacy import CLOSER, NEARER, NO_EVIDENCE
from ecgveil.report.answers import ACCUSING
from ecgveil.simulate import simulate


@pytest.fixture(scope="module")
def ecgs() -> ECGSet:
    return simulate(120, seed=11, fs=250)[0]


@pytest.fixture(scope="module")
def train(ecgs) -> ECGSet:
    return ecgs.take(range(60))


@pytest.fixture(scope="module")
def holdout(ecgs) -> ECGSet:
    return ecgs.take(range(60, 90))


@pytest.fixture(scope="module")
def honest(ecgs, train, holdout) -> Evaluation:
    """Real-like ECGs of other patients in the place of the synthetic ones."""
    return evaluate(train, holdout, ecgs.take(range(90, 120)), seed=0, quick=True)


def renamed(ecgs: ECGSet, signal: np.ndarray | None = None) -> ECGSet:
    names = tuple(f"s{i}" for i in range(len(ecgs)))
    return replace(ecgs, signal=ecgs.signal if signal is None else signal, record_name=names, patient_id=names)


def by_name(evaluation: Evaluation) -> dict[str, Metric]:
    return {metric.name: metric for metric in evaluation.metrics}


def test_ecgs_of_the_same_kind_pass(honest):
    figures = by_name(honest)
    judged = {m.name for m in honest.metrics if m.family == "fidelity" and m.verdict == WITHIN}
    assert len(judged) >= 25
    assert not [m.name for m in honest.metrics if m.verdict == BEYOND or m.verdict in ACCUSING]
    for name in ("closer_to_train_share", "nearest_is_train_share"):
        share = figures[name]
        assert share.ci_low <= share.target <= share.ci_high
        assert share.verdict == NO_EVIDENCE
    assert 0.2 < figures["closer_to_train_share"].floor < 0.8


def test_every_figure_lies_in_its_interval_and_says_n(honest):
    for metric in honest.metrics:
        assert metric.n == 30
        if np.isnan(metric.value):  # it takes 100 non-members for the first, and more than 30 people to make rules
            assert "_tpr_at_fpr_" in metric.name or metric.name.startswith("rules_")
            assert metric.verdict.startswith((TOO_FEW, "cannot be computed"))
            assert np.isnan([metric.ci_low, metric.ci_high]).all()
            continue
        assert metric.ci_low <= metric.value <= metric.ci_high
        assert np.isfinite(metric.floor) or metric.name == "nearest_is_train_share"


def test_copies_are_found(train, holdout):
    figures = by_name(evaluate(train, holdout, renamed(train), seed=0, quick=True))
    assert figures["nearest_is_train_share"].value == 1
    assert figures["nearest_is_train_share"].verdict == CLOSER
    assert figures["median_distance_to_train_uv"].value == pytest.approx(0, abs=0.01)
    assert figures["near_copy_share"].verdict == NEARER
    assert figures["copies_share"].value == 1
    assert figures["copies_share"].verdict == COPIES


def test_copies_that_were_shifted_scaled_and_noised_are_found(train, holdout):
    rng = np.random.default_rng(0)
    signal = 1.02 * np.roll(train.signal, 7, axis=-1) + 0.005 * rng.standard_normal(train.signal.shape)
    figures = by_name(evaluate(train, holdout, renamed(train, signal), seed=0, quick=True))
    assert figures["nearest_is_train_share"].value > 0.95
    assert figures["nearest_is_train_share"].verdict == CLOSER


def test_few_records_give_figures_but_no_verdict(ecgs, train, holdout):
    result = evaluate(train, holdout.take(range(5)), ecgs.take(range(90, 120)), seed=0, quick=True)
    figures = by_name(result)
    # Each synthetic ECG is compared with every real one, so it is their number that counts here.
    assert figures.pop("copies_share").n == figures.pop("same_beat_share").n == 30
    assert all(metric.verdict.startswith(TOO_FEW) and metric.n == 5 for metric in figures.values())
    assert all(np.isnan([m.ci_low, m.ci_high]).all() for m in figures.values() if np.isnan(m.value))
    single = evaluate(train.take([0]), holdout.take([0]), ecgs.take([90]), seed=0, quick=True)
    assert all(metric.n <= 1 for metric in single.metrics)


def test_the_same_seed_gives_the_same_figures_and_order_of_leads_does_not_matter(ecgs, train, holdout, honest):
    turned = ecgs.take(range(90, 120)).pick(ecgs.leads[::-1])
    for one, other in zip(evaluate(train, holdout, turned, seed=0, quick=True).metrics, honest.metrics, strict=True):
        np.testing.assert_allclose(astuple(one)[2:5], astuple(other)[2:5], rtol=1e-5)


def test_one_lead_is_enough(ecgs, train, holdout):
    three = [each.take(range(12)).pick(["I"]) for each in (train, holdout, ecgs.take(range(90, 120)))]
    names = set(by_name(evaluate(*three, seed=0, quick=True)))
    assert "heart_rate_ks" in names
    assert "closer_to_train_share" in names
    assert not names & {"lead_correlation_error", "limb_residual_median_uv"}


def test_amplitudes_are_not_compared_in_another_unit(ecgs, train, holdout):
    three = [replace(each.take(range(12)), units="sd") for each in (train, holdout, ecgs.take(range(90, 120)))]
    result = evaluate(*three, seed=0, quick=True)
    assert not any("amplitude" in name for name in by_name(result))
    assert any("unit is sd" in note for note in result.notes)


def test_sets_that_do_not_fit_are_refused(train, holdout):
    for synthetic, what in (
        (replace(holdout, fs=500), "fs is 500"),
        (replace(holdout, units="sd"), "units is sd"),
        (holdout.pick(["I", "II"]), "leads"),
        (holdout.take([]), "no ECG"),
    ):
        with pytest.raises(EvaluationError, match=what):
            evaluate(train, holdout, synthetic, seed=0, quick=True)
    with pytest.raises(EvaluationError, match="train and holdout share patients"):
        evaluate(train, train, holdout, seed=0, quick=True)
