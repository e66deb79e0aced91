"""The parts of the evidence, one function each: summaries in, figures out, what was left out told in `notes`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.attributes import attribute_metrics
from ecgveil.evaluation.canaries import canary_metrics, canary_notes
from ecgveil.evaluation.classifiers import CLASSIFIERS, missing_library
from ecgveil.evaluation.clock import Clock
from ecgveil.evaluation.consistency import consistency_metrics, repeat_metrics
from ecgveil.evaluation.copies import LEAST_SECONDS, best_scores, find_copies
from ecgveil.evaluation.distribution import clinical_features, clinical_metrics, distribution_metrics, scaled_features
from ecgveil.evaluation.embedding import encoder_metrics, prepare
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.fidelity import fidelity_metrics
from ecgveil.evaluation.membership import membership_metrics, membership_notes
from ecgveil.evaluation.metric import Metric
from ecgveil.evaluation.near_copies import copies_metric, real_copies_share, same_recordings_note
from ecgveil.evaluation.privacy import Apart, Distances, privacy_metrics
from ecgveil.evaluation.rules import rules_metrics
from ecgveil.evaluation.spectra import spectral_metrics
from ecgveil.evaluation.summary import Progress, Summary, shapes_of, summarise
from ecgveil.evaluation.two_sample import EPOCHS, TwoSample, two_sample_metrics
from ecgveil.evaluation.two_sample import SECONDS as _SECONDS
from ecgveil.evaluation.utility import utility_metrics

LEARNED = 1000  # people of a set whose ECGs a network learns from, or judges
SHORTEST_S = _SECONDS[0]

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Sets = tuple[ECGSet, ECGSet, ECGSet]
Summaries = tuple[Summary, Summary, Summary]
Two = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Means:
    """What an attacker may have beside the synthetic ECGs.

    Parameters
    ----------
    others : recordings of train and holdout patients that training never saw, named by `patient_id`
    critic : scores of every train and every holdout ECG by the trained critic, the higher the more real to it
    canaries : ECGs planted in training, and as odd ones that were not; see `canaries.make_canaries`
    """

    others: ECGSet | None = None
    critic: tuple[np.ndarray, np.ndarray] | None = None
    canaries: tuple[ECGSet, ECGSet] | None = None


def summaries_of(sets: Sets, rows: Rows, clock: Clock) -> Summaries:
    """Of the three sets, their leads in one order."""
    total, done, found = sum(map(len, rows)), 0, []
    with clock.part("measuring") as progress:
        for ecgs, chosen in zip(sets, rows, strict=True):
            found.append(summarise(ecgs, chosen, sets[0].leads, partial(_add, progress, done, total)))
            done += len(chosen)
    return found[0], found[1], found[2]


def _add(progress: Progress, before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def fidelity(
    summaries: Summaries, apart: Apart, seed: int, clock: Clock, notes: list[str]
) -> tuple[list[Metric], pd.DataFrame]:
    """Figures of likeness, and the rules of real ECGs."""
    one, other, made = [each.features for each in summaries]
    in_mv = summaries[0].ecgs.units == "mV"
    if not in_mv:
        unit = summaries[0].ecgs.units
        notes.append(
            f"The unit is {unit}, not mV: amplitudes and limb leads are not compared; for uV read 0.001 {unit}."
        )
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


def learned(
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


def utility(
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


def copies(sets: Sets, seed: int, clock: Clock, notes: list[str]) -> tuple[list[Metric], pd.DataFrame | None]:
    """Which of all synthetic ECGs are copies, and what share."""
    if min(each.seconds for each in sets) < LEAST_SECONDS:
        notes.append(f"Copies were not looked for: it takes ECGs of {LEAST_SECONDS:g} s or more.")
        return [], None
    try:
        with clock.part("copies") as progress:
            table = find_copies(*sets, seed=seed, progress=progress)
            floor = real_copies_share(sets[0], sets[1], seed=seed)
            notes += same_recordings_note(*floor)
            return [copies_metric(table, *floor)], table
    except EvaluationError as error:
        notes.append(f"Copies were not looked for: {error}.")
        return [], None


def privacy(
    summaries: Summaries, apart: Apart, means: Means, seed: int, clock: Clock, notes: list[str]
) -> tuple[list[Metric], Distances | None]:
    """Nearness to the training ECGs, and attacks on who was among them."""
    one, other, made = (each.shapes for each in summaries)
    leads = summaries[0].features.leads
    with clock.part("nearness"):
        metrics, distances = privacy_metrics(one, other, made, seed=seed, apart=apart)
    notes += _distance_notes(distances)
    clinical = None
    if summaries[0].ecgs.units == "mV":
        values = [clinical_features(each.features.table)[0] for each in summaries]
        clinical = (values[0], values[1], values[2])
    critic = None
    if means.critic is not None:
        critic = (means.critic[0][summaries[0].rows], means.critic[1][summaries[1].rows])

    def stretch(members: np.ndarray, non_members: np.ndarray) -> Two:
        return _stretch(summaries, (members, non_members), seed)

    with clock.part("membership"):
        others = None if means.others is None else shapes_of(means.others, leads)
        attacks = membership_metrics(
            one,
            other,
            made,
            seed=seed,
            clinical=clinical,
            critic=critic,
            stretch=stretch if summaries[2].ecgs.seconds >= LEAST_SECONDS else None,
            others=others,
            apart=apart,
        )
    notes += membership_notes(attacks)
    known = (_without_signals(summaries[0]), _without_signals(summaries[1]), _without_signals(summaries[2]))
    with clock.part("attributes"):
        revealed, said = attribute_metrics(one, other, made, known, seed=seed, apart=(apart.to_train, apart.to_holdout))
    notes += said
    if means.canaries is not None:
        with clock.part("canaries"):
            planted, references = (shapes_of(each, leads) for each in means.canaries)
            revealed += canary_metrics(planted, references, made, seed=seed)
        notes += canary_notes(len(planted.rows), len(references.rows))
    return metrics + attacks + revealed, distances


def _stretch(summaries: Summaries, rows: Two, seed: int) -> Two:
    """How surely some seconds of these train and holdout ECGs (rows of the summaries) are in a synthetic one."""
    one, other, made = summaries
    # Copied only where not all are compared: the signals may lie on disk.
    synthetic = made.ecgs if len(made) == len(made.ecgs) else made.ecgs.take(made.rows)
    asked = [each.ecgs.take(each.rows[at]) for each, at in zip((one, other), rows, strict=True)]
    try:
        scores = best_scores(synthetic, asked, seed=seed)
    except EvaluationError:  # no beat in the synthetic ECGs: there is nothing to recognise anybody by
        scores = [np.zeros(len(each)) for each in rows]
    return scores[0], scores[1]


def _without_signals(summary: Summary) -> ECGSet:
    """The records compared, with who they are of and what they show."""
    ecgs = summary.ecgs
    return replace(ecgs, signal=np.empty((len(ecgs), len(ecgs.leads), 0), np.float32)).take(summary.rows)


def _distance_notes(distances: Distances | None) -> list[str]:
    if distances is None:
        return ["Distances to training records could not be made: one of the sets has no ECG with a whole beat."]
    names = ("train", "holdout", "synthetic")
    return [
        f"{name}: {count} ECGs without a whole beat have no distance."
        for name, count in zip(names, distances.no_beat, strict=True)
        if count
    ]
