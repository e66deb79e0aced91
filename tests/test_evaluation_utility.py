"""Utility on made ECGs whose classes are easy to tell, and its arithmetic against scikit-learn."""

import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import classifiers, utility
from ecgveil.evaluation.bootstrap import TIMES, Figure, draws, weighted_auc, weighted_f1
from ecgveil.evaluation.classifiers import waveforms
from ecgveil.evaluation.utility import learn, share_rows, utility_metrics
from ecgveil.leads import LEADS_8, LEADS_12


def made(n: int, seed: int, prefix: str, *, teach: bool = True) -> ECGSet:
    """ECGs of a pulse each second; wide where labelled 'wide', followed by a negative one where labelled 'deep'."""
    rng = np.random.default_rng(seed)
    wide, deep = rng.random(n) < 0.5, rng.random(n) < 0.3
    at = np.arange(250) % 100 - 50
    pulses = np.exp(-((at / np.where(wide, 12.0, 4.0)[:, None]) ** 2))
    pulses -= 2 * deep[:, None] * np.exp(-(((at - 25) / 4.0) ** 2))
    signal = pulses[:, None, :] + 0.2 * rng.standard_normal((n, 2, 250))
    kinds = [tuple(name for name, on in (("wide", w), ("deep", t)) if on) for w, t in zip(wide, deep, strict=True)]
    if not teach:
        kinds = [kinds[i] for i in rng.permutation(n)]
    names = tuple(f"{prefix}{i}" for i in range(n))
    return ECGSet(signal, 100, ("I", "V1"), names, labels=tuple(kinds))


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "STEPS", 30)
    monkeypatch.setattr(classifiers, "QUICK_STEPS", 30)
    monkeypatch.setattr(classifiers, "KERNELS", 168)


def measured(synthetic: ECGSet | None, **more):
    more = {"seed": 1, "seeds": 2, "fractions": (0.1,), "classifiers": ("resnet",)} | more
    metrics, table, notes = utility_metrics(made(60, 1, "a"), made(40, 2, "b"), synthetic, **more)
    return {each.name: each for each in metrics}, table, notes


@pytest.fixture(scope="module")
def of_good():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "STEPS", 30)
        return measured(made(70, 3, "c"))


def test_good_synthetic_ecgs_are_as_useful_as_real_ones(of_good):
    metrics, _, _ = of_good
    tstr = metrics["tstr_auroc"]
    assert tstr.value > 0.9
    assert tstr.verdict == utility.AS_USEFUL
    assert tstr.floor == metrics["real_auroc_100"].value
    assert tstr.ci_low <= tstr.value <= tstr.ci_high
    assert metrics["trts_auroc"].value > 0.9
    assert metrics["trts_auroc"].n == 60  # as many synthetic ECGs as real ones


def test_gain_is_the_difference(of_good):
    metrics, _, _ = of_good
    for percent in ("10", "100"):
        gain = metrics[f"augmentation_gain_auroc_{percent}"]
        both, alone = metrics[f"real_plus_synthetic_auroc_{percent}"], metrics[f"real_auroc_{percent}"]
        assert gain.value == pytest.approx(both.value - alone.value)
        assert gain.ci_low <= gain.value <= gain.ci_high
    assert metrics["augmentation_gain_auroc_10"].value > 0  # six real ECGs teach less than sixty-six of both kinds


def test_table_is_whole_and_agrees_with_the_figures(of_good):
    metrics, table, notes = of_good
    assert list(table.columns) == list(utility.COLUMNS)
    assert len(table) == (2 + 2 + 1 + 1) * 2 * 3  # arms with TRTS, seeds, classes with macro
    assert table["auroc"].between(0, 1).all()
    real = table[(table["training"] == "real") & (table["tested_on"] == "real") & (table["share_of_real"] == 0.1)]
    macro = real.loc[real["class"] == utility.MACRO, "auroc"].mean()
    assert macro == pytest.approx(metrics["real_auroc_10"].value)
    assert set(real["n_training"]) == {6}
    assert set(table[table["training"] == "real + synthetic"]["n_training"]) == {66, 120}
    synthetic = table[table["training"] == "synthetic"]
    f1 = synthetic.loc[synthetic["class"] == "deep", "f1"].mean()
    assert f1 == pytest.approx(metrics["tstr_f1_deep"].value)
    assert any("60 of the 70 synthetic" in note for note in notes)


def test_shuffled_labels_teach_nothing():
    metrics, _, _ = measured(made(60, 3, "c", teach=False), seeds=1)
    assert metrics["tstr_auroc"].value < 0.75
    assert metrics["tstr_auroc"].verdict in (utility.LESS_USEFUL, utility.USELESS)
    assert metrics["trts_auroc"].value < 0.7


def test_without_synthetic_real_alone():
    metrics, table, _ = measured(None, seeds=1)
    assert set(metrics) == {f"real_auroc_{p}{s}" for p in ("10", "100") for s in ("", "_resnet")}
    assert set(table["training"]) == {"real"}
    assert metrics["real_auroc_100"].value > 0.9


def test_same_seed_same_figures():
    one, two = (measured(made(60, 3, "c"), seeds=1, fractions=())[1] for _ in range(2))
    assert one.equals(two)


def test_quick_and_progress():
    calls: list[tuple[int, int]] = []
    _, table, _ = measured(made(60, 3, "c"), quick=True, progress=lambda *each: calls.append(each))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert set(table["seed"]) == {0}


@pytest.mark.parametrize("bare", ["train", "holdout", "synthetic"])
def test_missing_labels_give_no_figures_but_a_note(bare: str):
    sets = {"train": made(20, 1, "a"), "holdout": made(20, 2, "b"), "synthetic": made(20, 3, "c")}
    sets[bare] = replace(sets[bare], labels=((),) * 20)
    metrics, table, notes = utility_metrics(*sets.values(), seed=1)
    assert metrics == []
    assert not len(table)
    assert bare in notes[0]


def test_a_person_counts_once_however_many_their_ecgs():
    train, holdout = made(60, 1, "a"), made(40, 2, "b")
    few = replace(holdout, patient_id=tuple(f"b{i % 2}" for i in range(40)))
    metrics, _, notes = utility_metrics(train, few, None, seed=1, seeds=1, classifiers=("resnet",))
    assert metrics == []
    assert "10 people of train and of holdout" in notes[0]
    twice = concat([holdout, replace(made(40, 2, "again"), patient_id=holdout.patient_id)])
    metrics, _, _ = utility_metrics(train, twice, made(60, 3, "c"), seed=1, seeds=1, classifiers=("resnet",))
    assert {metric.n for metric in metrics if metric.name.startswith("tstr")} == {40}


def test_a_label_of_one_person_is_not_named():
    train, holdout, synthetic = (made(n, k, x) for n, k, x in ((60, 1, "a"), (40, 2, "b"), (60, 3, "c")))
    one = tuple("a0" if i < 12 else f"a{i}" for i in range(60))
    labels = tuple((*each, *(["rare"] * (i < 12))) for i, each in enumerate(train.labels))
    other = tuple((*each, *(["rare"] * (i < 12))) for i, each in enumerate(holdout.labels))
    sets = replace(train, labels=labels, patient_id=one), replace(holdout, labels=other), synthetic
    metrics, table, notes = utility_metrics(*sets, seed=1, seeds=1, classifiers=("resnet",))
    assert metrics
    assert "tstr_f1_rare" not in {metric.name for metric in metrics}
    assert "rare" not in set(table["class"])
    assert "no synthetic ECG bears" not in " ".join(notes)


def test_where_one_side_is_seldom_drawn_there_is_no_interval():
    samples = np.linspace(0, 1, TIMES)[:, None]
    assert Figure(np.array([0.5]), samples).interval() == pytest.approx((0.025, 0.975), abs=0.01)
    samples[:100] = np.nan
    assert np.isnan(Figure(np.array([0.5]), samples).interval()).all()


@pytest.mark.parametrize(("bearers", "told"), [(6, "odd"), (2, "1 borne by fewer than 5 people")])
def test_rare_labels_are_left_out_and_said_by_name_unless_few_bear_them(bearers, told):
    train, holdout = made(60, 1, "a"), made(40, 2, "b")
    rare = replace(train, labels=tuple((*each, *(["odd"] * (i < bearers))) for i, each in enumerate(train.labels)))
    metrics, _, notes = utility_metrics(rare, holdout, None, seed=1, seeds=1, classifiers=("resnet",))
    assert metrics
    assert f"not so {told}." in notes[0]


def test_class_never_synthesised_is_guessed():
    synthetic = made(60, 3, "c")
    labels = tuple(tuple(name for name in each if name != "deep") for each in synthetic.labels)
    metrics, table, notes = measured(replace(synthetic, labels=labels), seeds=1)
    row = table[(table["training"] == "synthetic") & (table["class"] == "deep")]
    assert row["auroc"].tolist() == [0.5]
    assert row["f1"].tolist() == [0.0]
    assert any("deep" in note for note in notes)
    assert np.isfinite(metrics["trts_auroc"].value)  # of the class that the synthetic ECGs do bear


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ({"patient_id": tuple(f"a{i}" for i in range(40))}, {}, "40 patients are in both"),
        ({"fs": 200.0}, {}, "200 Hz"),
        ({"units": "sd"}, {}, "sd"),
        ({}, {"seeds": 0}, "seeds is 0"),
        ({}, {"fractions": (0.0,)}, "over 0"),
        ({}, {"classifiers": ("svm",)}, "svm"),
        ({}, {"classifiers": ()}, "none"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, more, said):
    holdout = replace(made(40, 2, "b"), **change)
    with pytest.raises(EvaluationError, match=said):
        utility_metrics(made(60, 1, "a"), holdout, made(60, 3, "c"), seed=1, **more)


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sktime_cython", None)
    with pytest.raises(EvaluationError, match=r"ecgveil\[utility\]"):
        measured(None, classifiers=("rocket",))


def test_rocket_learns_what_a_network_learns():
    pytest.importorskip("sktime_cython")
    metrics, table, _ = measured(made(60, 3, "c"), seeds=1, classifiers=("resnet", "rocket"))
    assert metrics["tstr_auroc_rocket"].value > 0.9
    both = (metrics["tstr_auroc_rocket"].value + metrics["tstr_auroc_resnet"].value) / 2
    assert metrics["tstr_auroc"].value == pytest.approx(both)
    assert set(table["classifier"]) == {"resnet", "rocket"}


def test_weighted_statistics_against_scikit_learn():
    rng = np.random.default_rng(0)
    borne, scores = rng.integers(2, size=50), np.round(rng.standard_normal(50), 1)  # with ties
    weights = rng.integers(3, size=(5, 50)).astype(float)
    for name, got in (("auc", weighted_auc(scores, borne, weights)), ("f1", weighted_f1(scores > 0, borne, weights))):
        reference = (
            (lambda w: roc_auc_score(borne, scores, sample_weight=w))
            if name == "auc"
            else (lambda w: f1_score(borne, scores > 0, sample_weight=w))
        )
        assert got == pytest.approx([reference(each) for each in weights])
    assert np.isnan(weighted_auc(scores, np.zeros(50, int), weights)).all()
    assert np.isnan(weighted_f1(scores > 0, np.zeros(50, int), weights)).all()


def test_draws_keep_a_patients_records_together():
    weights, of_seeds = draws(np.array(["a", "b", "a", "c"]), 3, seed=1)
    assert weights.shape == (TIMES + 1, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[0] == 1).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert of_seeds.sum(axis=1) == pytest.approx(1)
    assert weights[1:].std() > 0


def test_shares_are_nested_and_hold_every_class():
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < [0.5, 0.3, 0.02]).astype(int)
    parts = [set(share_rows(targets, share)) for share in (0.005, 0.01, 0.1, 1.0)]
    assert [len(part) for part in parts[1:]] == [max(2, len(parts[1])), 20, 200]
    for small, large in pairwise(parts):
        assert small <= large
    assert all(targets[sorted(part)].any(axis=0).all() for part in parts)


def test_as_many_training_records_are_called_as_bear_the_class():
    rng = np.random.default_rng(0)
    targets = (rng.random((100, 2)) < [0.2, 0.6]).astype(int)

    def noise(x, targets, tested, *, seed, quick):
        return [np.stack([each[:, 0, 0], -each[:, 0, 0]], axis=1) for each in tested]

    x = rng.standard_normal((100, 1, 1))
    ((_, calls),) = learn(noise, x, targets, [x], seed=0)
    assert calls.sum(axis=0).tolist() == targets.sum(axis=0).tolist()


def test_waveforms_are_independent_leads_at_100_hz():
    rng = np.random.default_rng(0)
    ecgs = ECGSet(rng.standard_normal((3, 12, 6000)) + 5, 500, LEADS_12, ("a", "b", "c"))
    x = waveforms(ecgs)
    assert x.shape == (3, len(LEADS_8), 1000)
    assert np.abs(x.mean(axis=-1)).max() < 1e-4


def test_class_missing_in_the_test_is_left_out_of_the_mean():
    value, samples = np.array([0.8, np.nan]), np.array([[0.7, np.nan], [np.nan, np.nan]])
    macro = Figure(value, samples).macro()
    assert macro.value.tolist() == [0.8]
    assert macro.samples[0].tolist() == [0.7]
    assert np.isnan(macro.samples[1]).all()
    assert np.isnan(Figure(value[1:], samples[:, 1:]).interval()).all()


def test_rocket_learns_from_two_ecgs():
    pytest.importorskip("sktime_cython")
    x = made(2, 1, "a").signal
    ((scores, calls),) = learn(classifiers.rocket, x, np.array([[1], [0]]), [x], seed=0)
    assert np.isfinite(scores).all()
    assert calls.shape == (2, 1)
