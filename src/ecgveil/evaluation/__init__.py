"""Step 5: the evidence. (train, holdout, synthetic) in, figures with intervals and real-against-real floors out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import parts
from ecgveil.evaluation.clock import Clock, Tell
from ecgveil.evaluation.features import Features
from ecgveil.evaluation.fidelity import judge
from ecgveil.evaluation.metric import Metric
from ecgveil.evaluation.near_copies import OF_HOLDOUT, TAKEN_OUT
from ecgveil.evaluation.parts import Means, Rows, Sets
from ecgveil.evaluation.privacy import Distances, all_distances
from ecgveil.evaluation.two_sample import TwoSample

__all__ = ["Distances", "Evaluation", "Features", "Means", "Metric", "evaluate"]

MOST = 10_000  # records of a set that are compared; distances grow with its square
QUICK = 300  # the same of a quick look


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures, and the arrays behind them for drawing.

    Parameters
    ----------
    metrics : every figure
    train, holdout, synthetic : features of the records compared
    distances : distances to nearest records, None where a set has no beats
    copies : a row for each synthetic ECG, see `copies.find_copies`; None where it could not be looked for
    rows : (train, holdout, synthetic) rows compared, of the sets given; `distances.pairs` counts in the sets given
    notes : sentences on what was left out
    rules : if-then rules of the training ECGs, and where they hold; see `rules.rules_metrics`
    told_apart : ECGs judged by the two-sample classifier, rows of the sets given; None where there were too few
    uses : what classifiers of the labels reached, see `utility.utility_metrics`; None where there are no labels
    seconds : time that each part took
    quick : a first look at few records
    """

    metrics: list[Metric]
    train: Features
    holdout: Features
    synthetic: Features
    distances: Distances | None
    rows: Rows
    notes: list[str]
    copies: pd.DataFrame | None = None
    rules: pd.DataFrame | None = None
    told_apart: TwoSample | None = None
    uses: pd.DataFrame | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    quick: bool = False


def evaluate(
    train: ECGSet,
    holdout: ECGSet,
    synthetic: ECGSet,
    *,
    seed: int,
    quick: bool = False,
    drop_copies: bool = False,
    means: Means | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Measure how real the synthetic ECGs are, how useful, and what they give away of the training ECGs.

    Signals may lie on disk, mapped into memory: they are looked at a block at a time.

    Parameters
    ----------
    train : the ECGs that the generator learned from
    holdout : real ECGs of other patients, that it never saw
    synthetic : what it made; same rate, unit and leads (in any order)
    seed : for the draws; the same seed gives the same figures
    quick : look at few records, and leave out what takes training; the notes say what
    drop_copies : leave the synthetic ECGs flagged in `copies` out of every other figure
    means : what attackers have beside the synthetic ECGs
    tell : called with (part, done, total)

    Raises
    ------
    EvaluationError
        A set is empty, the sets differ in rate, unit or leads, or a patient is in both train and holdout.
    """
    _check({"train": train, "holdout": holdout, "synthetic": synthetic})
    clock = Clock(tell)
    notes: list[str] = []
    given = (train, holdout, synthetic)
    metrics, copies = parts.copies(given, seed, clock, notes)
    usable = np.ones(len(synthetic), bool)
    if drop_copies and copies is not None:
        usable = ~copies["flagged"].to_numpy()
        dropped = int((~usable).sum())
        notes.append(f"Synthetic ECGs flagged as copies, and left out of all other figures: {dropped}.")
        if dropped:  # that the holdout was used is no less true without them
            metrics = [each if each.verdict == OF_HOLDOUT else replace(each, verdict=TAKEN_OUT) for each in metrics]
    if not usable.any():
        raise EvaluationError("synthetic: every ECG was flagged as a copy; nothing is left to evaluate")
    summaries = parts.summaries_of(given, _drawn(given, usable, seed, QUICK if quick else MOST, notes), clock)
    rows = (summaries[0].rows, summaries[1].rows, summaries[2].rows)
    with clock.part("distances") as progress:
        shapes = [each.shapes for each in summaries]
        apart = all_distances(shapes[0], shapes[1], shapes[2], progress)
    fidelity, rules = parts.fidelity(summaries, apart, seed, clock, notes)
    learned, told_apart = parts.learned(summaries, seed, quick, clock, notes)
    privacy, distances = parts.privacy(summaries, apart, means or Means(), seed, clock, notes)
    useful, uses = parts.utility(given, usable, seed, quick, clock, notes)
    metrics = judge([*learned, *fidelity, *useful, *metrics, *privacy])
    if distances:
        distances = _in_given_rows(distances, rows)
    of_train, of_holdout, of_synthetic = (each.features for each in summaries)
    return Evaluation(
        metrics,
        of_train,
        of_holdout,
        of_synthetic,
        distances,
        rows,
        notes,
        copies,
        rules,
        told_apart,
        uses,
        clock.seconds,
        quick,
    )


def _drawn(given: Sets, usable: np.ndarray, seed: int, most: int, notes: list[str]) -> Rows:
    """Rows to compare, of the synthetic set only the usable ones."""
    rng = np.random.default_rng([seed, 5])
    rows = []
    allowed = (np.arange(len(given[0])), np.arange(len(given[1])), np.flatnonzero(usable))
    for name, of in zip(("train", "holdout", "synthetic"), allowed, strict=True):
        rows.append(np.sort(rng.choice(of, min(most, len(of)), replace=False)))
        if most < len(of):
            notes.append(f"{name}: {most} of the {len(of)} ECGs, drawn at random, are compared.")
    return rows[0], rows[1], rows[2]


def _check(sets: dict[str, ECGSet]) -> None:
    train = sets["train"]
    for name, ecgs in sets.items():
        if not len(ecgs):
            raise EvaluationError(f"{name} holds no ECG; evaluation needs train, holdout and synthetic ECGs")
        for what in ("fs", "units", "n_samples"):
            if getattr(ecgs, what) != getattr(train, what):
                found, needed = getattr(ecgs, what), getattr(train, what)
                raise EvaluationError(
                    f"{name}: {what} is {found}, of train {needed}; bring the sets to one {what} first"
                )
        if set(ecgs.leads) != set(train.leads):
            raise EvaluationError(
                f"{name} has the leads {', '.join(ecgs.leads)}, train {', '.join(train.leads)}; pick the same leads"
            )
    shared = set(train.patient_id) & set(sets["holdout"].patient_id)
    if shared:
        raise EvaluationError(
            f"train and holdout share patients ({len(shared)}); split by patient, or no floor means anything"
        )


def _in_given_rows(distances: Distances, rows: Rows) -> Distances:
    """The same with the pairs' rows counted in the sets that were given."""
    pairs = [
        replace(pair, synthetic_row=int(rows[2][pair.synthetic_row]), train_row=int(rows[0][pair.train_row]))
        for pair in distances.pairs
    ]
    return replace(distances, pairs=pairs)
