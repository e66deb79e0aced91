"""How many of the synthetic ECGs are copies of real ones, beside how often unrelated real ECGs are taken for such."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom, fisher_exact

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.copies import find_copies
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.evaluation.privacy import clopper_pearson

COPIES = "copies of training ECGs"
OF_HOLDOUT = "copies of holdout ECGs, never to be trained on: were the sets exchanged, or the holdout used?"
TAKEN_OUT = "copies, taken out before anything else was measured"
NO_COPIES = "no evidence of copies"
SOME = "no more than unrelated real ECGs give by chance; look at those flagged"
FALSE_ALARMS = 0.01  # share of unrelated real ECGs that may be flagged
LEVEL = 0.025
_CERTAIN = 0.002  # distance that ECGs of two people do not reach: a stretch of 5 s, 99.8 % explained
_FLOOR_ECGS = 500


def copies_metric(table: pd.DataFrame, floor: float, n_floor: int) -> Metric:
    """Share of synthetic ECGs flagged in `table`, from `find_copies`.

    They are too many where they are more than `FALSE_ALARMS` of all, or more than are flagged of real ECGs in their
    place (binomial and Fisher's test, twice the smaller p); or where one is surely a copy.

    Parameters
    ----------
    table : a row for each synthetic ECG
    floor, n_floor : share flagged of holdout ECGs in their place, and how many these were
    """
    n, flagged = len(table), int(table["flagged"].sum())
    certain = table["flagged"] & (table["distance"] < _CERTAIN)
    alarms = round(floor * n_floor) if n_floor else 0
    against_floor = fisher_exact([[flagged, n - flagged], [alarms, n_floor - alarms]], alternative="greater").pvalue
    p = min(1.0, 2 * min(float(binom.sf(flagged - 1, n, FALSE_ALARMS)), float(against_floor) if n_floor else 1.0))
    if certain.any() or p < LEVEL:
        of_train = table["part"][certain if certain.any() else table["flagged"]] == "train"
        verdict = COPIES if of_train.mean() >= 0.5 else OF_HOLDOUT
    else:
        verdict = TOO_FEW if n < LEAST_N else SOME if flagged else NO_COPIES
    low, high = clopper_pearson(flagged, n)
    of = f"{n_floor} holdout ECGs against training ECGs and the other holdout ECGs"
    return Metric("privacy", "copies_share", flagged / n, low, high, "lower", floor, n, verdict, of, p_value=p)


def same_recordings_note(floor: float, n_floor: int) -> list[str]:
    """A warning where holdout ECGs look like copies of training ECGs."""
    found = round(floor * n_floor) if n_floor else 0
    if not found or binom.sf(found - 1, n_floor, FALSE_ALARMS) >= LEVEL:
        return []
    return [
        f"{found} of {n_floor} holdout ECGs look like copies of other real ECGs: the same recordings may be in both "
        "parts, or twice in one; then floors and privacy figures mean little."
    ]


def real_copies_share(train: ECGSet, holdout: ECGSet, *, seed: int) -> tuple[float, int]:
    """Share of holdout ECGs flagged as copies of training ECGs or of other people's holdout ECGs, and of how many."""
    people, of = np.unique(holdout.patient_id, return_inverse=True)
    if len(people) < 2:
        return float("nan"), 0
    rng = np.random.default_rng([seed, 41])
    half = (rng.permutation(len(people)) % 2 == 0)[of]
    asked = rng.permutation(np.flatnonzero(half))[:_FLOOR_ECGS]
    table = find_copies(train, holdout.take(np.flatnonzero(~half)), holdout.take(np.sort(asked)), seed=seed)
    return float(table["flagged"].mean()), len(table)
