"""Which averaged generator along training is kept: the one whose ECGs a judge finds most like the validation part's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from ecgveil.ecg import ECGSet

Judge = Callable[
    [ECGSet, ECGSet], dict[str, float]
]  # (validation, synthetic) -> 'score', the lower the better, and parts
Choice = dict[str, Any]  # step, score

LEAST_PATIENTS = 20  # in the validation part; a choice by fewer would be a lottery
_JUDGED = 128  # ECGs drawn of each candidate, at most
FIRST = 2_000_000_000  # number of the first of them: beyond those that anybody samples


class Chooser:
    """Judges candidates, and keeps the best.

    Parameters
    ----------
    steps : at which the averaged generator is judged
    judge : of (validation, synthetic); the same two sets must always get the same score
    validation : ECGs to compare with, of at least `LEAST_PATIENTS`
    reference : real ECGs not in `validation`, of as many patients as synthetic ones are to be drawn; what they score is
        logged beside the first candidate
    made : averaged generator -> as many synthetic ECGs, from the same noise each time
    weights, choice : of the best candidate so far, as `RunFolder.load_chosen` returns them
    """

    def __init__(
        self,
        steps: set[int],
        judge: Judge,
        validation: ECGSet,
        reference: ECGSet,
        made: Callable[[nn.Module], ECGSet],
        weights: dict[str, Tensor],
        choice: Choice | None,
    ):
        self.steps, self._judge, self._made = steps, judge, made
        self._validation, self._reference = validation, reference
        self._best = (weights, choice) if choice else None

    def look(self, step: int, average: nn.Module) -> dict[str, float]:
        """Judge a candidate; what of it goes to the log."""
        parts = self._judge(self._validation, self._made(average))
        told = {f"choice_{name}": float(value) for name, value in parts.items()}
        if step == min(self.steps):
            told["choice_floor"] = float(self._judge(self._validation, self._reference)["score"])
        if self._best is None or parts["score"] <= self._best[1]["score"]:  # of equals the one trained longer
            weights = {name: value.detach().clone() for name, value in average.state_dict().items()}
            self._best = weights, {"step": step, "score": float(parts["score"])}
        return told

    def kept(self, average: nn.Module) -> tuple[dict[str, Tensor], Choice | None]:
        """Weights to sample from: of the best candidate, before the first one of the averaged generator as it is."""
        return self._best or (average.state_dict(), None)


def candidate_steps(total: int, number: int) -> set[int]:
    """`number` steps evenly along the last half of `total`, its last among them.

    >>> sorted(candidate_steps(100, 5))
    [60, 70, 80, 90, 100]
    """
    return {round(total / 2 + total / 2 * i / number) for i in range(1, number + 1)}


def one_of_each(ecgs: ECGSet, seed: int) -> ECGSet:
    """One ECG of each patient, of at most as many as are judged; drawn."""
    order = np.random.default_rng([seed, 70]).permutation(len(ecgs))
    _, first = np.unique(np.array(ecgs.patient_id)[order], return_index=True)
    return ecgs.take(order[np.sort(first)[:_JUDGED]])
