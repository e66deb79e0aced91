"""Which averaged generator along training is kept: the one that a stated criterion finds best; and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from ecgveil.ecg import ECGSet

Judge = Callable[
    [ECGSet, ECGSet], dict[str, float]
]  # (validation, synthetic) -> 'score', the lower the better, and parts
Choice = dict[str, Any]  # step, score
Criterion = Callable[[nn.Module, dict[str, Any]], dict[str, float]]

LEAST_PATIENTS = 20  # in the validation part; a choice by fewer would be a lottery
_JUDGED = 128  # ECGs drawn of each candidate, at most
FIRST = 2_000_000_000  # number of the first of them: beyond those that anybody samples


class Chooser:
    """Judges candidates, and keeps the best.

    Parameters
    ----------
    steps : at which the averaged generator is judged
    criterion : of (averaged generator, row of the log so far), returns 'score', the lower the better, and its parts;
        the same generator must always get the same score
    floor : what real ECGs score, logged beside the first candidate; None where that says nothing
    patience : candidates in a row no better than the best, after which training ends; 0 for never
    scores : of the candidates judged so far
    weights, choice : of the best candidate so far, as `RunFolder.load_chosen` returns them
    """

    def __init__(
        self,
        steps: set[int],
        criterion: Criterion,
        floor: Callable[[], float] | None,
        patience: int,
        scores: list[float],
        weights: dict[str, Tensor],
        choice: Choice | None,
    ):
        self.steps, self._criterion, self._floor = steps, criterion, floor
        self._patience, self._scores = patience, list(scores)
        self._best = (weights, choice) if choice else None

    @property
    def ended(self) -> bool:
        """No better candidate is waited for."""
        return lost_patience(self._scores, self._patience)

    def look(self, step: int, average: nn.Module, row: dict[str, Any]) -> dict[str, float]:
        """Judge a candidate; what of it goes to the log."""
        parts = self._criterion(average, row)
        self._scores.append(float(parts["score"]))
        told = {f"choice_{name}": float(value) for name, value in parts.items()}
        if step == min(self.steps) and self._floor is not None:
            told["choice_floor"] = self._floor()
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


def lost_patience(scores: Sequence[float], patience: int) -> bool:
    """The last `patience` scores are no better, that is no lower, than the best before them.

    >>> lost_patience([0.4, 0.3, 0.3, 0.5], 2), lost_patience([0.4, 0.3, 0.3, 0.2], 2)
    (True, False)
    """
    return 0 < patience < len(scores) and min(scores[-patience:]) >= min(scores[:-patience])


def class_criterion(average: nn.Module, row: dict[str, Any]) -> dict[str, float]:
    """How often the class head is wrong, mean of real validation windows and synthetic ones (P1 4.6 and 4.7)."""
    wrong = {kind: 1 - float(row[f"class_accuracy_{kind}"]) for kind in ("real", "synthetic")}
    return {"score": sum(wrong.values()) / 2, **wrong}


def one_of_each(ecgs: ECGSet, seed: int) -> ECGSet:
    """One ECG of each patient, of at most as many as are judged; drawn."""
    order = np.random.default_rng([seed, 70]).permutation(len(ecgs))
    _, first = np.unique(np.array(ecgs.patient_id)[order], return_index=True)
    return ecgs.take(order[np.sort(first)[:_JUDGED]])
