"""Charts and tables of what was learned from the ECGs."""

import numpy as np
import pandas as pd
import pytest

from ecgveil import report
from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Evaluation, Metric, evaluate
from ecgveil.evaluation.two_sample import TwoSample
from ecgveil.report import About, evidence, write_report
from ecgveil.simulate import simulate

NAN = float("nan")


def found(**more) -> Evaluation:
    metrics = more.pop("metrics", [])
    return Evaluation(metrics, None, None, None, None, None, [], **more)


def judged(low=0.8) -> TwoSample:
    holdout, synthetic = np.array([0.3, 0.1, 0.45, 0.2]), np.array([0.6, 0.9, 0.7, 0.95])
    rows = np.array([10, 11, 12, 13]), np.array([20, 21, 22, 23])
    return TwoSample(holdout, synthetic, rows, (np.zeros(4), np.zeros(4)), 0.9, low, 0.95)


def test_the_surest_are_the_surest_and_in_the_rows_of_the_sets():
    assert evidence.surest(found(told_apart=judged()), public=False) == [
        ("synthetic", 23, 0.95),
        ("synthetic", 21, 0.9),
        ("holdout", 11, 0.1),
        ("holdout", 13, 0.2),
    ]


def test_a_public_page_draws_no_real_ecg_and_a_guessing_classifier_none_at_all():
    assert {name for name, _, _ in evidence.surest(found(told_apart=judged()), public=True)} == {"synthetic"}
    assert evidence.surest(found(told_apart=judged(low=0.5)), public=False) == []
    assert evidence.surest(found(), public=False) == []


def test_the_chart_of_scores(monkeypatch):
    assert evidence.scores(found(), public=False) == ""
    drawn = evidence.scores(found(told_apart=judged()), public=False)
    assert drawn.startswith("<svg")
    assert "real, holdout" in drawn
    seen = []
    monkeypatch.setattr(evidence, "_histogram", lambda *_, public: seen.append(public))
    monkeypatch.setattr(evidence, "_legend", lambda *_: None)
    for public in (True, False):  # on a public page no bar stands for one person
        evidence.scores(found(told_apart=judged()), public=public)
    assert seen == [True, False]


RULES = pd.DataFrame(
    {
        "rule": [f"wide_qrs_{i}" for i in range(10)],
        "p_adjusted": [0.01, 0.049, 0.05, NAN, *[0.9] * 6],
        "support_holdout": 0.25,
        "error_holdout": [0.1, NAN, *[0.0] * 8],
        "support_synthetic": 0.5,
        "error_synthetic": [0.4, 0.4, NAN, *[0.0] * 7],
    }
)


def test_rules_say_whether_they_are_broken():
    rows = evidence.rules(found(rules=RULES), public=False)
    assert len(rows) == evidence.RULES
    assert [row["broken"] for row in rows[:4]] == ["broken", "broken", "holds", "holds"]
    assert rows[0] == {
        "rule": "wide qrs 0",
        "broken": "broken",
        "support_real": "25 %",
        "right_real": "90 %",
        "support_synthetic": "50 %",
        "right_synthetic": "60 %",
    }
    assert rows[1]["right_real"] == "-"
    assert rows[2]["right_synthetic"] == "-"


def test_rules_of_real_people_are_not_for_the_public():
    assert evidence.rules(found(rules=RULES), public=True) == []
    assert evidence.rules(found(), public=False) == []


def use(name, value) -> Metric:
    return Metric("utility", name, value, value - 0.05, value + 0.05, "higher", 0.5, 100, "")


def test_usefulness_is_drawn_by_what_was_learned_from():
    metrics = [
        use("tstr_auroc", 0.7),
        use("tstr_auroc_resnet", 0.1),
        use("trts_auroc", 0.1),
        use("real_auroc_10", 0.6),
        use("real_auroc_100", 0.8),
        use("real_auroc_100_resnet", 0.1),
        use("real_plus_synthetic_auroc_10", 0.65),
        use("augmentation_gain_auroc_10", 0.05),
        use("tstr_f1_auroc_100", 0.1),  # of a class so named
    ]
    arms = evidence._arms({metric.name: metric for metric in metrics})
    assert [(title, metric.value) for title, metric, _ in arms] == [
        ("synthetic ECGs alone", 0.7),
        ("10 % of the real ECGs", 0.6),
        ("10 % of the real, and synthetic ECGs", 0.65),
        ("100 % of the real ECGs", 0.8),
    ]
    assert "synthetic ECGs alone" in evidence.usefulness(found(metrics=metrics))
    assert evidence.usefulness(found(metrics=[Metric("privacy", "tstr_auroc", 1, 1, 1, "lower", 1, 1, "")])) == ""


def test_classes_are_means_over_seeds_of_tests_on_real_ecgs():
    columns = ("classifier", "training", "share_of_real", "tested_on", "seed", "class", "auroc", "f1")
    rows = [
        ("resnet", "real", 1.0, "real", 0, "MI", 0.8, 0.4),
        ("resnet", "real", 1.0, "real", 1, "MI", 0.9, 0.6),
        ("resnet", "real", 0.1, "real", 0, "MI", 0.1, 0.1),
        ("resnet", "real", 1.0, "synthetic", 0, "MI", 0.1, 0.1),
        ("resnet", "synthetic", 0.0, "real", 0, "MI", 0.7, NAN),
        ("rocket", "real", 1.0, "real", 0, "macro", 0.6, 0.3),
    ]
    assert evidence.classes(found(uses=pd.DataFrame(rows, columns=columns))) == [
        {"classifier": "1-D residual network", "name": "MI", "cells": ["0.85 / 0.5", "0.7 / -", "-"]},
        {"classifier": "random convolutions and a ridge", "name": "macro", "cells": ["0.6 / 0.3", "-", "-"]},
    ]
    assert evidence.classes(found()) == []


@pytest.fixture(scope="module")
def sets() -> tuple[ECGSet, ECGSet, ECGSet]:
    ecgs = simulate(12, seed=3, fs=100)[0]
    return ecgs.take(range(4)), ecgs.take(range(4, 8)), ecgs.take(range(8, 12))


def test_no_page_draws_an_ecg_that_was_taken_out_as_a_copy(sets, tmp_path, monkeypatch):
    """With copies dropped, the page that may be shared must not draw one of them: it is a real person's ECG."""
    train, holdout, synthetic = sets

    def find(*_, **__):
        copied = {"record_name": synthetic.record_name, "nearest_record": "x", "part": "train", "distance": 0.0}
        return pd.DataFrame({**copied, "flagged": [True, True, False, True]})

    monkeypatch.setattr("ecgveil.evaluation.parts.find_copies", find)
    evaluation = evaluate(*sets, seed=0, quick=True, drop_copies=True)
    drawn = []
    monkeypatch.setattr(report, "_sheet", lambda ecgs, row, *_, synthetic: drawn.append((synthetic, row)) or _blank())
    monkeypatch.setattr(
        report.fiducials, "beats_of", lambda ecgs, row, *_: drawn.append((ecgs is synthetic, row)) or []
    )
    for seed in range(2):
        about = About("t", "", {}, seed, {}, {}, 100, 10)
        write_report(
            tmp_path / "page.html",
            train=train,
            holdout=holdout,
            synthetic=synthetic,
            evaluation=evaluation,
            about=about,
            show_real=False,
        )
    assert {row for made, row in drawn if made} == {2}
    assert all(made for made, _ in drawn)
    assert "3 of 4 ECGs (75 %) were copies of real ones, and were taken out" in (tmp_path / "page.html").read_text()


def _blank() -> dict:
    return {"src": "data:image/png;base64,", "alt": "", "width_mm": "1"}
