"""A classifier of the labels that learns from synthetic ECGs, and how often it is right of real ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.bootstrap import draws, weighted_f1
from ecgveil.evaluation.classifiers import lead_scale, missing_library, rocket, waveforms
from ecgveil.evaluation.privacy import clopper_pearson

LEAST = 10  # ECGs of a class that are needed in the training and in the holdout part
SCORES = ("accuracy", "macro_f1")
UNKNOWN = dict.fromkeys([f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")], float("nan"))


@dataclass(frozen=True, eq=False)
class Task:
    """Which of several labels an ECG bears: real ECGs to be tested on.

    Parameters
    ----------
    names : the labels; fewer than two where there is no such task
    scale : (C, 1) of the leads, in training ECGs
    tested : float32 (n, C, T) of `classifiers.waveforms`, scaled
    classes : (n,) which of the labels each bears
    patient_id : (n,)
    seed : of the classifier
    """

    names: tuple[str, ...]
    scale: np.ndarray
    tested: np.ndarray
    classes: np.ndarray
    patient_id: np.ndarray
    seed: int

    @classmethod
    def of(cls, train: ECGSet, holdout: ECGSet, *, seed: int) -> tuple[Task, list[str]]:
        """The task, and sentences on what is left out of it. ECGs that bear not just one of the labels are left out."""
        counts = [Counter(label for labels in ecgs.labels for label in set(labels)) for ecgs in (train, holdout)]
        names = tuple(sorted(label for label in counts[0] if min(each[label] for each in counts) >= LEAST))
        notes = []
        if missing := missing_library():
            names, notes = (), [f"No classifier was trained: {missing}."]
        elif len(names) < 2:
            names = ()
            notes = [
                f"No classifier was trained: it takes two labels or more that at least {LEAST} training and {LEAST} "
                "holdout ECGs bear."
            ]
        classes = _classes(holdout, names)
        if names and (classes < 0).any():
            notes.append(
                f"The classifier knows {', '.join(names)}; left out of its test are {int((classes < 0).sum())} holdout "
                "ECGs that do not bear just one of these."
            )
        rows = np.flatnonzero(classes >= 0)
        people = np.array(holdout.patient_id)[rows]
        scale = lead_scale(waveforms(train)) if names else np.ones((1, 1), np.float32)
        tested = waveforms(holdout.take(rows)) / scale if len(rows) else np.empty((0, 1, 1), np.float32)
        return cls(names, scale, tested, classes[rows], people, seed), notes

    def learn_from(self, ecgs: ECGSet) -> tuple[dict[str, float], list[str]]:
        """Accuracy and macro F1 on the real ECGs, with 95 % intervals over their patients, and why there are none.

        The classifier is `classifiers.rocket`, the quick one; the likeliest label is its answer. The interval of
        accuracy is never narrower than the exact one; that of F1 has no width where every answer is right.
        """
        if not self.names:
            return dict(UNKNOWN), []
        classes = _classes(ecgs, self.names)
        rows = np.flatnonzero(classes >= 0)
        if len(np.unique(classes[rows])) < 2:
            return dict(UNKNOWN), [f"no classifier, as its ECGs do not bear two of {', '.join(self.names)}."]
        x = waveforms(ecgs.take(rows)) / self.scale
        one_hot = np.eye(len(self.names), dtype=int)[classes[rows]]
        scores = rocket(x, one_hot, [self.tested], seed=self.seed, quick=True)[0]
        scores[:, ~one_hot.any(axis=0)] = -np.inf  # a label that it never saw is never its answer
        return self._scores(scores.argmax(axis=1)), []

    def _scores(self, answers: np.ndarray) -> dict[str, float]:
        weights = draws(self.patient_id, 1, self.seed)[0]  # the first are the ECGs themselves
        right = weights @ (answers == self.classes) / weights.sum(axis=1)
        f1 = np.stack([weighted_f1(answers == i, self.classes == i, weights) for i in range(len(self.names))])
        known = np.isfinite(f1)
        macro = np.where(known, f1, 0).sum(axis=0) / known.sum(axis=0)
        found: dict[str, float] = {}
        for name, values in zip(SCORES, (right, macro), strict=True):
            low, high = np.percentile(values[1:], [2.5, 97.5])
            if name == "accuracy":  # where every answer is right, nothing varies
                exact = clopper_pearson(int((answers == self.classes).sum()), len(answers))
                low, high = min(low, exact[0]), max(high, exact[1])
            found |= {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
        return found


def _classes(ecgs: ECGSet, names: tuple[str, ...]) -> np.ndarray:
    """Number of the one label that each ECG bears, (n,); -1 where it is none or several."""
    borne = [[i for i, name in enumerate(names) if name in labels] for labels in ecgs.labels]
    return np.array([each[0] if len(each) == 1 else -1 for each in borne], int)
