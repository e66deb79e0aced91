"""How many of the synthetic ECGs are copies of real ones, beside how often unrelated real ECGs are taken for such."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.copies import find_copies
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.evaluation.privacy import clopper_pearson

COPIES = "copies of real ECGs"
NO_COPIES = "no evidence of copies"
SOME = "no more than unrelated real ECGs give by chance; look at those flagged"
FALSE_ALARMS = 0.01  # share of unrelated real ECGs that may be flagged
LEVEL = 0.025
_CERTAIN = 0.002  # distance that ECGs of two people do not reach: a stretch of 5 s, 99.8 % explained
_FLOOR_ECGS = 500


def copies_metric(table: pd.DataFrame, floor: float, n_floor: int) -> Metric:
    """Share of synthetic ECGs flagged in `table`, from `find_copies`.

    Parameters
    ----------
    table : a row for each synthetic ECG
    floor, n_floor : share flagged of holdout ECGs in their place, and how many these were
    """
    n, flagged = len(table), int(table["flagged"].sum())
    certain = int((table["flagged"] & (table["distance"] < _CERTAIN)).sum())
    p = float(binom.sf(flagged - 1, n, FALSE_ALARMS))
    verdict = COPIES if certain or p < LEVEL else TOO_FEW if n < LEAST_N else SOME if flagged else NO_COPIES
    low, high = clopper_pearson(flagged, n)
    of = f"{n_floor} holdout ECGs against training ECGs and the other holdout ECGs"
    return Metric("privacy", "copies_share", flagged / n, low, high, "lower", floor, n, verdict, of, p_value=p)


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
