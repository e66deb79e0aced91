"""What the classifier was surest about, which rules broke, what was learned from the ECGs: charts and tables."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgveil.evaluation import Evaluation
from ecgveil.evaluation.metric import Metric, text
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.report.figures import _STYLE, _WIDTH, INK, _histogram, _legend, _svg

SUREST = 2  # ECGs of each side that are drawn
RULES = 8
CLASSIFIERS = {"resnet": "1-D residual network", "rocket": "random convolutions and a ridge"}


def surest(evaluation: Evaluation, *, public: bool) -> list[tuple[str, int, float]]:
    """('synthetic' or 'holdout', row, probability of being synthetic) of the ECGs told apart with most certainty.

    Synthetic ones that were called so, and real ones that were; none where the classifier did no better than chance.
    """
    judged = evaluation.told_apart
    if judged is None or judged.auc_low <= 0.5:
        return []
    made = np.argsort(-judged.synthetic, kind="stable")[:SUREST]
    found = [("synthetic", int(judged.rows[1][i]), float(judged.synthetic[i])) for i in made]
    if not public:
        real = np.argsort(judged.holdout, kind="stable")[:SUREST]
        found += [("holdout", int(judged.rows[0][i]), float(judged.holdout[i])) for i in real]
    return found


def scores(evaluation: Evaluation, *, public: bool) -> str:
    """How synthetic the classifier held the ECGs of either side to be; '' where it did not judge."""
    judged = evaluation.told_apart
    if judged is None:
        return ""
    values = {"real, holdout": judged.holdout, "synthetic": judged.synthetic}
    styles = {"real, holdout": (REAL_COLOUR, "-"), "synthetic": (SYNTHETIC_COLOUR, "-")}
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(_WIDTH, 2.6), layout="constrained")
        ax = fig.subplots()
        _histogram(ax, values, styles, public=public)
        ax.set(xlabel="probability of being synthetic, by a classifier that never saw the ECG", ylabel="% of ECGs")
        _legend(fig, ax)
        return _svg(fig, "classifier")


def rules(evaluation: Evaluation, *, public: bool) -> list[dict[str, str]]:
    """Rules of real ECGs, those first that synthetic ones break most surely; none on a public page.

    A rule's limits and shares are of real ECGs, some of few people.
    """
    table = evaluation.rules
    if table is None or public:
        return []
    return [
        {
            "rule": row["rule"].replace("_", " "),
            "broken": "broken" if row["p_adjusted"] < 0.05 else "holds",
            "support_real": f"{100 * row['support_holdout']:.0f} %",
            "right_real": _right(row["error_holdout"]),
            "support_synthetic": f"{100 * row['support_synthetic']:.0f} %",
            "right_synthetic": _right(row["error_synthetic"]),
        }
        for row in table.head(RULES).to_dict("records")
    ]


def usefulness(evaluation: Evaluation) -> str:
    """AUROC on real ECGs by what the classifiers learned from; '' where there were no labels."""
    found = {metric.name: metric for metric in evaluation.metrics if metric.family == "utility"}
    arms = _arms(found)
    if not arms:
        return ""
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(_WIDTH, 0.45 * len(arms) + 0.9), layout="constrained")
        ax = fig.subplots()
        for at, (_, metric, colour) in enumerate(arms):
            ax.plot([metric.ci_low, metric.ci_high], [at, at], color=colour, lw=2)
            ax.plot([metric.value], [at], "o", color=colour, ms=6)
        ax.axvline(0.5, color=INK, lw=0.8, linestyle=(0, (2, 2)))
        ax.set_yticks(range(len(arms)), [title for title, _, _ in arms])
        ax.invert_yaxis()
        ax.set(xlabel="macro AUROC on real ECGs of other people, with 95 % interval; dashed: guessing")
        return _svg(fig, "usefulness")


def classes(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Of each class and classifier the AUROC and F1, mean over seeds, learned from real and from synthetic ECGs."""
    table = evaluation.uses
    if table is None:
        return []
    mean = table[table["tested_on"] == "real"].groupby(["classifier", "class", "training", "share_of_real"])
    figures = mean[["auroc", "f1"]].mean()
    rows = []
    for (classifier, name), of in figures.groupby(level=[0, 1], sort=False):
        cells = [
            _cell(of, classifier, name, key) for key in (("real", 1.0), ("synthetic", 0.0), ("real + synthetic", 1.0))
        ]
        rows.append({"classifier": CLASSIFIERS.get(classifier, classifier), "name": name, "cells": cells})
    return rows


def _cell(of: pd.DataFrame, classifier: str, name: str, key: tuple[str, float]) -> str:
    at = (classifier, name, *key)
    return f"{text(of.loc[at, 'auroc'])} / {text(of.loc[at, 'f1'])}" if at in of.index else "-"


def _right(error: float) -> str:
    return f"{100 * (1 - error):.0f} %" if np.isfinite(error) else "-"


def _arms(found: dict[str, Metric]) -> list[tuple[str, Metric, str]]:
    """(title, figure, colour) of what was learned from, real first."""
    arms = []
    for name, metric in found.items():
        start, _, percent = name.rpartition("_")
        if start == "real_auroc":
            arms.append((float(percent), 0, f"{percent} % of the real ECGs", metric, REAL_COLOUR))
        elif start == "real_plus_synthetic_auroc":
            arms.append((float(percent), 1, f"{percent} % of the real, and synthetic ECGs", metric, SYNTHETIC_COLOUR))
    drawn = [(title, metric, colour) for _, _, title, metric, colour in sorted(arms, key=lambda arm: arm[:2])]
    if "tstr_auroc" in found:
        drawn.insert(0, ("synthetic ECGs alone", found["tstr_auroc"], SYNTHETIC_COLOUR))
    return drawn
