"""Step 5: the evidence. (train, holdout, synthetic) in, figures with intervals and real-against-real floors out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.attributes import attribute_metrics
from ecgveil.evaluation.classifiers import CLASSIFIERS, missing_library
from ecgveil.evaluation.clock import Clock, Tell
from ecgveil.evaluation.consistency import consistency_metrics, repeat_metrics
from ecgveil.evaluation.copies import LEAST_SECONDS, find_copies
from ecgveil.evaluation.distribution import clinical_features, clinical_metrics, distribution_metrics, scaled_features
from ecgveil.evaluation.embedding import encoder_metrics, prepare
from ecgveil.evaluation.features import Features, draw_rows
from ecgveil.evaluation.fidelity import fidelity_metrics, judge
from ecgveil.evaluation.membership import membership_metrics, membership_notes
from ecgveil.evaluation.metric import Metric
from ecgveil.evaluation.near_copies import copies_metric, real_copies_share
from ecgveil.evaluation.privacy import Apart, Distances, all_distances, privacy_metrics
from ecgveil.evaluation.rules import rules_metrics
from ecgveil.evaluation.spectra import spectral_metrics
from ecgveil.evaluation.summary import Progress, Summary, summarise
from ecgveil.evaluation.two_sample import EPOCHS, TwoSample, two_sample_metrics
from ecgveil.evaluation.two_sample import SECONDS as _SECONDS
from ecgveil.evaluation.utility import utility_metrics

__all__ = ["Distances", "Evaluation", "Features", "Metric", "evaluate"]

MOST = 10_000  # records of a set that are compared; distances grow with its square
QUICK = 300  # the same of a quick look
LEARNED = 1000  # people of a set whose ECGs a network learns from, or judges
SHORTEST_S = _SECONDS[0]
SAME_UV = 5.0  # two median beats nearer than the noise of a good recording are one and the same

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Sets = tuple[ECGSet, ECGSet, ECGSet]
Summaries = tuple[Summary, Summary, Summary]


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


def evaluate(
    train: ECGSet,
    holdout: ECGSet,
    synthetic: ECGSet,
    *,
    seed: int,
    quick: bool = False,
    drop_copies: bool = False,
    tell: Tell | None = None,
) -> Evaluation:
    """Measure how real the synthetic ECGs are, how useful, and what they give away of the training ECGs.

    Signals may lie on disk (`numpy.memmap`): they are looked at a block at a time.

    Parameters
    ----------
    train : the ECGs that the generator learned from
    holdout : real ECGs of other patients, that it never saw
    synthetic : what it made; same rate, unit and leads (in any order)
    seed : for the draws; the same seed gives the same figures
    quick : look at few records, and leave out what takes training; the notes say what
    drop_copies : leave the synthetic ECGs flagged in `copies` out of every other figure
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
    metrics, copies = _copies(given, seed, clock, notes)
    usable = np.ones(len(synthetic), bool)
    if drop_copies and copies is not None:
        usable = ~copies["flagged"].to_numpy()
        notes.append(f"{int((~usable).sum())} synthetic ECGs were flagged as copies and left out of all other figures.")
    if not usable.any():
        raise EvaluationError("synthetic: every ECG was flagged as a copy; nothing is left to evaluate")
    summaries = _summaries(given, _drawn(given, usable, seed, QUICK if quick else MOST, notes), clock)
    rows = (summaries[0].rows, summaries[1].rows, summaries[2].rows)
    with clock.part("distances") as progress:
        shapes = [each.shapes for each in summaries]
        apart = all_distances(shapes[0], shapes[1], shapes[2], progress)
    fidelity, rules = _fidelity(summaries, apart, seed, clock, notes)
    learned, told_apart = _learned(summaries, seed, quick, clock, notes)
    privacy, distances = _privacy(summaries, apart, seed, clock, notes)
    useful, uses = _utility(given, usable, seed, quick, clock, notes)
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
    )


def _fidelity(
    summaries: Summaries, apart: Apart, seed: int, clock: Clock, notes: list[str]
) -> tuple[list[Metric], pd.DataFrame]:
    """Figures of likeness, and the rules of real ECGs."""
    one, other, made = [each.features for each in summaries]
    in_mv = summaries[0].ecgs.units == "mV"
    if not in_mv:
        notes.append(f"The unit is {summaries[0].ecgs.units}, not mV: amplitudes and limb leads are not compared.")
    with clock.part("likeness"):
        metrics = fidelity_metrics(one, other, made, seed=seed, in_mv=in_mv)
        metrics += spectral_metrics(one, other, made, seed=seed)
    tables, people = (one.table, other.table, made.table), (one.patient_id, other.patient_id, made.patient_id)
    with clock.part("consistency"):
        variation = [each.variation for each in summaries]
        metrics += consistency_metrics(variation[0], variation[1], variation[2], people, seed=seed)
        shapes = [each.shapes for each in summaries]
        metrics += repeat_metrics(shapes[0], shapes[1], shapes[2], seed=seed, apart=apart)
    with clock.part("distributions"):
        if in_mv:
            scaled = scaled_features(tables)
            metrics += distribution_metrics(scaled[0], scaled[1], scaled[2], people, seed=seed)
        metrics += clinical_metrics(*tables, people, seed=seed)
    with clock.part("rules") as progress:
        found, rules = rules_metrics(*tables, people, seed=seed, progress=progress)
    return metrics + found, rules


def _learned(
    summaries: Summaries, seed: int, quick: bool, clock: Clock, notes: list[str]
) -> tuple[list[Metric], TwoSample | None]:
    """Figures that take training: a classifier of real and synthetic, and a representation of ECGs."""
    rng = np.random.default_rng([seed, 9])
    rows, sets = [], []
    for each in summaries:
        people = each.features.patient_id
        drawn = np.sort(draw_rows(people, min(LEARNED, len(np.unique(people))), rng, replace=False))
        rows.append(each.rows[drawn])
        sets.append(each.ecgs.take(rows[-1]).pick(summaries[0].ecgs.leads))
    if sets[0].seconds < SHORTEST_S:
        notes.append(f"No classifier tried to tell synthetic from real ECGs: it takes {SHORTEST_S:g} s or more.")
        return [], None
    epochs = 0 if quick else EPOCHS
    with clock.part("two-sample classifier") as progress:
        metrics, judged = two_sample_metrics(sets[0], sets[1], sets[2], seed=seed, epochs=epochs, progress=progress)
    if judged:
        judged = replace(judged, rows=(rows[1][judged.rows[0]], rows[2][judged.rows[1]]))
    if quick:
        notes.append(
            "A quick look: the classifier that tells synthetic from real ECGs is made of decision trees alone, without "
            "a network; and no representation was learned to compare ECGs by."
        )
        return metrics, judged
    with clock.part("encoder") as progress:
        seen = [prepare(each) for each in sets]
        persons = (np.array(sets[0].patient_id), np.array(sets[1].patient_id), np.array(sets[2].patient_id))
        metrics += encoder_metrics(seen[0], seen[1], seen[2], persons, seed=seed, progress=progress)
    return metrics, judged


def _utility(
    given: Sets, usable: np.ndarray, seed: int, quick: bool, clock: Clock, notes: list[str]
) -> tuple[list[Metric], pd.DataFrame | None]:
    """What classifiers learn from the synthetic ECGs."""
    train, holdout, synthetic = given
    if quick:
        notes.append("A quick look: no classifier of diagnoses was trained on them.")
        return [], None
    if not usable.all():
        synthetic = synthetic.take(np.flatnonzero(usable))
    if missing := missing_library():
        notes.append(f"Usefulness was tested with one kind of classifier only: {missing}.")
    kinds = ("resnet",) if missing else tuple(CLASSIFIERS)
    with clock.part("utility") as progress:
        metrics, table, said = utility_metrics(
            train, holdout, synthetic, seed=seed, classifiers=kinds, progress=progress
        )
    notes += said
    return metrics, table if len(table) else None


def _privacy(
    summaries: Summaries, apart: Apart, seed: int, clock: Clock, notes: list[str]
) -> tuple[list[Metric], Distances | None]:
    """Nearness to the training ECGs, and attacks on who was among them."""
    one, other, made = (each.shapes for each in summaries)
    with clock.part("nearness"):
        metrics, distances = privacy_metrics(one, other, made, seed=seed, apart=apart)
    notes += _distance_notes(distances)
    clinical = None
    if summaries[0].ecgs.units == "mV":
        values = [clinical_features(each.features.table)[0] for each in summaries]
        clinical = (values[0], values[1], values[2])
    with clock.part("membership"):
        attacks = membership_metrics(one, other, made, seed=seed, clinical=clinical, apart=apart)
    notes += membership_notes(attacks)
    known = (_without_signals(summaries[0]), _without_signals(summaries[1]), _without_signals(summaries[2]))
    with clock.part("attributes"):
        revealed, said = attribute_metrics(one, other, made, known, seed=seed, apart=(apart.to_train, apart.to_holdout))
    notes += said
    return metrics + attacks + revealed, distances


def _without_signals(summary: Summary) -> ECGSet:
    """The records compared, with who they are of and what they show."""
    ecgs = summary.ecgs
    return replace(ecgs, signal=np.empty((len(ecgs), len(ecgs.leads), 0), np.float32)).take(summary.rows)


def _copies(sets: Sets, seed: int, clock: Clock, notes: list[str]) -> tuple[list[Metric], pd.DataFrame | None]:
    """Which of all synthetic ECGs are copies, and what share."""
    if min(each.seconds for each in sets) < LEAST_SECONDS:
        notes.append(f"Copies were not looked for: it takes ECGs of {LEAST_SECONDS:g} s or more.")
        return [], None
    try:
        with clock.part("copies") as progress:
            table = find_copies(*sets, seed=seed, progress=progress)
            return [copies_metric(table, *real_copies_share(sets[0], sets[1], seed=seed))], table
    except EvaluationError as error:
        notes.append(f"Copies were not looked for: {error}.")
        return [], None


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


def _summaries(sets: Sets, rows: Rows, clock: Clock) -> Summaries:
    """Of the three sets, their leads in one order."""
    total, done, found = sum(map(len, rows)), 0, []
    with clock.part("measuring") as progress:
        for ecgs, chosen in zip(sets, rows, strict=True):
            found.append(summarise(ecgs, chosen, sets[0].leads, partial(_add, progress, done, total)))
            done += len(chosen)
    return found[0], found[1], found[2]


def _add(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


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


def _in_given_rows(distances: Distances, rows: Rows) -> Distances:
    """The same with the pairs' rows counted in the sets that were given."""
    pairs = [
        replace(pair, synthetic_row=int(rows[2][pair.synthetic_row]), train_row=int(rows[0][pair.train_row]))
        for pair in distances.pairs
    ]
    return replace(distances, pairs=pairs)
