"""How like the validation part's ECGs those of a half-trained generator are: one number to choose a checkpoint by.

Two judges: a mean of parts that each lie from 0 to 1 (`judge`), and the Frechet distance (`judge_frechet`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.consistency import beat_variation
from ecgveil.evaluation.distribution import Scaling, clinical_features, frechet, prdc
from ecgveil.evaluation.features import Features, compute_features, draw_rows, lead_correlation, psd_db
from ecgveil.evaluation.fidelity import ks
from ecgveil.evaluation.metric import LEAST_N
from ecgveil.evaluation.two_sample import SECONDS, prepare, two_sample
from ecgveil.measure import measure
from ecgveil.measure.beats import LEAST_FS_HZ, LEAST_SECONDS, r_peaks

MOST = 100  # people of a side, and so a few seconds
FOLDS, NEIGHBOURS = 3, 5
LEAST_DB = -200.0  # of a spectrum: no power is -inf, which no distance is known of
_BLOCKS = 2  # of synthetic ECGs, each as large as the validation part, where that is small


def judge(validation: ECGSet, synthetic: ECGSet, *, seed: int = 0) -> dict[str, float]:
    """Score of a synthetic set against the validation part: the mean of parts that each lie from 0 to 1.

    Every part is made of ranks, neighbourhoods or shares: none has a unit that would need a weight, none can be carried
    off by one wild ECG, and none needs a covariance, which a few dozen people do not tell. A part is left out only for
    what the validation part is (its length, rate, leads, unit), so the scores of all candidates are means of the same
    parts. Scores of other validation parts mean something else: real ECGs do not reach 0, and reach less the more
    people there are. One ECG of each patient is compared, at most `MOST`, the same ones for the same seed.

    What it does not see is memory: a generator that repeats its training ECGs may score well. Ask the privacy figures.

    Parameters
    ----------
    validation : real ECGs, of people not trained on and not in the holdout
    synthetic : equal in leads, rate, length and unit; better at least as many
    seed : of draws and folds; the same one for all candidates

    Returns
    -------
    dict
        score : mean of the following, the lower the better
        clinical : mean Kolmogorov-Smirnov distance over the clinical representation (`clinical_features`; a missing
            value counts as beyond all others); needs 60 Hz and 1 s, as `beats` and `uncovered` do
        spectrum : the same over the levels of every lead at every frequency of 0.5 to 40 Hz
        leads : the same over the correlations between leads; needs two
        beats : the same over the likeness of a record's beats and their variation in QRS and T
        uncovered : share of validation ECGs in whose neighbourhood, out to the fifth nearest of their own, no synthetic
            one lies (1 - coverage; Naeem et al., ICML 2020), on the scaled clinical representation
        told_apart : 2 AUC - 1, or 0 where that is less, of trees on simple features that tell the two sets apart
            (`two_sample` without its network); needs 2 s

    Raises
    ------
    EvaluationError
        The sets differ in form, or one has fewer than `LEAST_N` patients.
    """
    sets = _drawn(validation, synthetic, seed)
    real, made = sets
    parts: dict[str, float] = {}
    if real.fs >= LEAST_FS_HZ and real.seconds >= LEAST_SECONDS:
        peaks = [r_peaks(each) for each in sets]
        features = [compute_features(each, at) for each, at in zip(sets, peaks, strict=True)]
        beats = [
            np.column_stack([of.beat_likeness, beat_variation(each, at)])
            for of, each, at in zip(features, sets, peaks, strict=True)
        ]
        parts |= _clinical(features[0], features[1])
        parts["beats"] = mean_ks(*beats)
    parts["spectrum"] = mean_ks(*(psd_db(each.signal, each.fs)[1].reshape(len(each), -1) for each in sets))
    if len(real.leads) > 1:
        above = np.triu_indices(len(real.leads), 1)
        parts["leads"] = mean_ks(*(lead_correlation(each.signal)[:, *above] for each in sets))
    if real.seconds >= SECONDS[0]:
        parts["told_apart"] = _told_apart(real, made, seed)
    return {"score": float(np.mean(list(parts.values()))), **parts}


def judge_frechet(validation: ECGSet, synthetic: ECGSet, *, seed: int = 0) -> dict[str, float]:
    """Frechet distance of a synthetic set from the validation part (Heusel et al., NeurIPS 2017; P1 4.7, P3).

    Measured on the clinical representation; on levels of the spectrum, in units of their spread in the validation part,
    where the ECGs are too short or coarse for that one. Its bias depends on how many people there are, so that only
    scores by the same validation part may be compared: what a choice between candidates does. One ECG of each patient
    counts, at most `MOST`.

    Parameters
    ----------
    validation, synthetic, seed : as for `judge`

    Returns
    -------
    dict
        score : the lower the better; and the same as frechet_clinical or frechet_spectrum

    Raises
    ------
    EvaluationError
        As `judge`.
    """
    real, made = _drawn(validation, synthetic, seed)
    if real.fs >= LEAST_FS_HZ and real.seconds >= LEAST_SECONDS:
        name = "frechet_clinical"
        (known, names), (found, _) = (clinical_features(measure(each, r_peaks(each))) for each in (real, made))
    else:
        name = "frechet_spectrum"
        levels = (psd_db(each.signal, each.fs)[1].reshape(len(each), -1) for each in (real, made))
        known, found = (np.maximum(each, LEAST_DB) for each in levels)
        names = tuple(f"level {i}" for i in range(known.shape[1]))
    scaling = Scaling.fit(known, names)
    x, y = scaling.apply(known), scaling.apply(found)
    distance = float(np.mean([frechet(x[a], y[b]) for a, b in _blocks(len(x), len(y))]))
    return {"score": distance, name: distance}


JUDGES = {"mix": judge, "frechet": judge_frechet}


def judge_by(name: str, seed: int) -> Callable[[ECGSet, ECGSet], dict[str, float]] | None:
    """The judge of a recipe's `training.choose_by`; None for what needs no ECGs (the critic's class accuracy)."""
    return partial(JUDGES[name], seed=seed) if name in JUDGES else None


def mean_ks(real: np.ndarray, other: np.ndarray) -> float:
    """Mean Kolmogorov-Smirnov distance over columns, (n, d) and (m, d); those that `real` has no value of left out.

    >>> mean_ks(np.array([[1.0, np.nan], [2.0, np.nan]]), np.array([[2.0, 5.0], [3.0, 5.0]]))
    0.5
    """
    known = np.flatnonzero(~np.isnan(real).all(axis=0))
    return float(np.mean([ks(real[:, i], other[:, i]) for i in known])) if len(known) else 0.0


def _drawn(validation: ECGSet, synthetic: ECGSet, seed: int) -> tuple[ECGSet, ECGSet]:
    """One ECG of each patient, at most `MOST` of a side."""
    forms = [(each.fs, each.leads, each.n_samples, each.units) for each in (validation, synthetic)]
    if forms[0] != forms[1]:
        raise EvaluationError(
            f"validation and synthetic ECGs differ in form: {forms[0]} and {forms[1]} (Hz, leads, samples, unit)"
        )
    rng = np.random.default_rng([seed, 60])
    drawn = []
    for name, each in (("validation", validation), ("synthetic", synthetic)):
        people = np.array(each.patient_id)
        n = len(np.unique(people))
        if n < LEAST_N:
            raise EvaluationError(f"{name} has ECGs of {n} patients; a checkpoint is chosen by {LEAST_N} or more")
        drawn.append(each.take(draw_rows(people, min(MOST, n), rng, replace=False)))
    return drawn[0], drawn[1]


def _clinical(real: Features, made: Features) -> dict[str, float]:
    """The parts clinical and uncovered."""
    (known, names), (found, _) = (clinical_features(each.table) for each in (real, made))
    scaling = Scaling.fit(known, names)
    covered = [
        prdc(scaling.apply(known[a]), scaling.apply(found[b]), NEIGHBOURS)[3]
        for a, b in _blocks(len(known), len(found))
    ]
    return {"clinical": mean_ks(known, found), "uncovered": 1 - float(np.mean(covered))}


def _told_apart(real: ECGSet, made: ECGSet, seed: int) -> float:
    x, y = prepare(real), prepare(made)
    areas = [two_sample(x[a], y[b], seed=seed, folds=FOLDS, epochs=0).auc for a, b in _blocks(len(x), len(y))]
    return max(0.0, 2 * float(np.mean(areas)) - 1)


def _blocks(n: int, m: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows of equally many of n real and of m synthetic ECGs; of the latter others each time, up to `_BLOCKS` times."""
    size = min(n, m)
    return [(np.arange(size), np.arange(i * size, (i + 1) * size)) for i in range(min(_BLOCKS, m // size))]
