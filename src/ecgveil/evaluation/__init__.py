"""Step 5: the evidence. (train, holdout, synthetic) in, figures with intervals and real-against-real floors out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.distribution import clinical_features, clinical_metrics, distribution_metrics, scaled_features
from ecgveil.evaluation.features import Features, compute_features
from ecgveil.evaluation.fidelity import fidelity_metrics
from ecgveil.evaluation.membership import membership_metrics, membership_notes
from ecgveil.evaluation.metric import Metric
from ecgveil.evaluation.privacy import Distances, beat_shapes, privacy_metrics
from ecgveil.measure.beats import r_peaks

__all__ = ["Distances", "Evaluation", "Features", "Metric", "evaluate"]

MOST = 2000  # records of a set that are compared; distances grow with its square
SAME_UV = 5.0  # two median beats nearer than the noise of a good recording are one and the same


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Figures, and the arrays behind them for drawing.

    Parameters
    ----------
    metrics : every figure
    train, holdout, synthetic : features of the records compared
    distances : distances to nearest records, None where a set has no beats
    rows : (train, holdout, synthetic) rows compared, of the sets given; `distances.pairs` counts in the sets given
    notes : sentences on what was left out
    """

    metrics: list[Metric]
    train: Features
    holdout: Features
    synthetic: Features
    distances: Distances | None
    rows: tuple[np.ndarray, np.ndarray, np.ndarray]
    notes: list[str]


def evaluate(train: ECGSet, holdout: ECGSet, synthetic: ECGSet, *, seed: int) -> Evaluation:
    """Measure how real the synthetic ECGs are, and how near they come to the training ECGs.

    Parameters
    ----------
    train : the ECGs that the generator learned from
    holdout : real ECGs of other patients, that it never saw
    synthetic : what it made; same rate, unit and leads (in any order)
    seed : for the draws; the same seed gives the same figures

    Raises
    ------
    EvaluationError
        A set is empty, the sets differ in rate, unit or leads, or a patient is in both train and holdout.
    """
    sets = {"train": train, "holdout": holdout, "synthetic": synthetic}
    _check(sets)
    rows, compared, notes = _compared(sets, seed)
    in_mv = train.units == "mV"
    if not in_mv:
        notes.append(f"The unit is {train.units}, not mV: amplitudes and limb leads are not compared.")
    peaks = [r_peaks(each) for each in compared]
    features = [compute_features(each, at) for each, at in zip(compared, peaks, strict=True)]
    metrics = fidelity_metrics(features[0], features[1], features[2], seed=seed, in_mv=in_mv)
    tables, people = [each.table for each in features], [each.patient_id for each in features]
    if in_mv:
        one, other, made = scaled_features(tuple(tables))
        metrics += distribution_metrics(one, other, made, tuple(people), seed=seed)
    metrics += clinical_metrics(tables[0], tables[1], tables[2], tuple(people), seed=seed)
    shapes = [beat_shapes(each, at) for each, at in zip(compared, peaks, strict=True)]
    nearness, distances = privacy_metrics(shapes[0], shapes[1], shapes[2], seed=seed)
    notes += _distance_notes(distances)
    values = [clinical_features(table)[0] for table in tables]
    clinical = (values[0], values[1], values[2]) if in_mv else None
    attacks = membership_metrics(shapes[0], shapes[1], shapes[2], seed=seed, clinical=clinical)
    notes += membership_notes(attacks)
    if distances:
        distances = _in_given_rows(distances, rows)
    kept = (rows[0], rows[1], rows[2])
    return Evaluation(metrics + nearness + attacks, features[0], features[1], features[2], distances, kept, notes)


def _compared(sets: dict[str, ECGSet], seed: int) -> tuple[list[np.ndarray], list[ECGSet], list[str]]:
    """Rows drawn of each set, the sets cut to them, and sentences on what was left out."""
    rng = np.random.default_rng([seed, 5])
    rows, compared, notes = [], [], []
    for name, ecgs in sets.items():
        chosen = np.sort(rng.choice(len(ecgs), min(MOST, len(ecgs)), replace=False))
        if len(chosen) < len(ecgs):
            notes.append(f"{name}: {MOST} of the {len(ecgs)} ECGs, drawn at random, are compared.")
            ecgs = ecgs.take(chosen)
        rows.append(chosen)
        compared.append(ecgs.pick(sets["train"].leads))
    return rows, compared, notes


def _check(sets: dict[str, ECGSet]) -> None:
    train = sets["train"]
    for name, ecgs in sets.items():
        if not len(ecgs):
            raise EvaluationError(f"{name} holds no ECG; evaluation needs train, holdout and synthetic ECGs")
        for what in ("fs", "units"):
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
            f"{len(shared)} patients are in both train and holdout; split by patient, or no floor means anything"
        )


def _distance_notes(distances: Distances | None) -> list[str]:
    if distances is None:
        return ["Distances to training records could not be made: one of the sets has no ECG with a whole beat."]
    names = ("train", "holdout", "synthetic")
    notes = [
        f"{name}: {count} ECGs without a whole beat have no distance."
        for name, count in zip(names, distances.no_beat, strict=True)
        if count
    ]
    same = sum(pair.distance < SAME_UV for pair in distances.pairs)
    if same:
        notes.append(
            f"At least {same} synthetic ECGs lie within {SAME_UV:g} uV of a training ECG: take them for copies."
        )
    return notes


def _in_given_rows(distances: Distances, rows: list[np.ndarray]) -> Distances:
    """The same with the pairs' rows counted in the sets that were given."""
    pairs = [
        replace(pair, synthetic_row=int(rows[2][pair.synthetic_row]), train_row=int(rows[0][pair.train_row]))
        for pair in distances.pairs
    ]
    return replace(distances, pairs=pairs)
