"""Does training go wrong, and since when: mode collapse, vanishing gradients, a critic that is no match, divergence.

Rules on the figures of `looks`, and on nothing else: what is known at a step follows from the logged rows up to it, so
that a run resumed says what a run never interrupted would have said. Each finding is told once, until it has passed.
The remedies are those of Piacentino et al. 2021 (P1), with their sections.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ecgveil.recipe import Recipe
from ecgveil.training.looks import ClassLooks, Looks, Windows
from ecgveil.training.objectives import OBJECTIVES

if TYPE_CHECKING:
    from ecgveil.training.players import Players

Row = dict[str, Any]

PLAYERS = ("generator", "critic")
LOOK_EVERY = 20  # steps, about
CLASS_LOOKS = 100  # of the class head along training, about
SEEN = 4  # looks in a row before anything is said, or taken back
SEEN_OVERTAKEN = 8  # the players overtake each other now and then
MEMORY = 10  # looks that growth is judged over
KEPT = 500  # looks that tell what is usual

LOW, NONE, ENOUGH = 0.06, 0.02, 0.12  # diversity: too low for long, hardly any, and what ends a collapse
FALLEN = 0.2  # of what it was MEMORY looks ago
LONG = 8  # looks with a low diversity that are too many: what is learned first is what all ECGs have in common
RISING = 1.15  # a diversity that grows by this over SEEN looks is that of a beginning
GONE = 1e-3  # of the gradient's usual norm
CONSTANT = 1e-8  # spread of scores
SATURATED = 20.0  # margin of logits: neither player's gradient tells anything any more
OVERTAKEN, BY = 0.05, -1.0  # critic accuracy, and margin of logits: near a balance the sign of a margin means little
CLEAR, TURNED = 1.0, -0.1  # a Wasserstein distance that is one; share of it that a loss which has turned reaches
GROWN_WEIGHTS, GROWN_LOSS = 1.4, 30.0  # healthy runs: 1.1 at the most; batch norm bears a wild rate without a loss


class Finding(NamedTuple):
    """What is wrong, by which figure, since which step."""

    kind: str
    since: int
    figure: float


TOLD = {
    "mode collapse": (
        "synthetic windows are {figure:.2f} times as diverse as real ones",
        "a larger training.batch (30 to 60 in P1 4.3), training.label_smoothing = 0.1 (P1 4.5), or, where classes are "
        "uneven, data.undersample (P1 4.6)",
    ),
    "vanishing gradient": (
        "the generator's gradient is {figure:.1e} of what it was",
        "training.label_smoothing = 0.1 (P1 4.5), fewer training.critic_steps, or a lower training.learning_rate",
    ),
    "saturated critic": (
        "the critic separates real from synthetic perfectly, by {figure:.0f} logits",
        "training.label_smoothing = 0.1 (P1 4.5), fewer training.critic_steps, or a smaller critic",
    ),
    "dead critic": (
        "the critic does not learn (its scores spread by {figure:.1e})",
        "a lower training.learning_rate, or another seed",
    ),
    "overtaken critic": (
        "the critic takes synthetic windows for real: it orders {figure:.0%} of pairs rightly (P1 3.3.3)",
        "more training.critic_steps, or a larger critic",
    ),
    "divergence": (
        "weights or losses are {figure:.1f} times what they were",
        "a lower training.learning_rate",
    ),
}


class Monitor:
    """Judges the figures of each look beside those before.

    Parameters
    ----------
    rows : the log so far; what was found in it counts as told
    saturates : the objective's scores are logits, which a margin can saturate
    """

    def __init__(self, rows: Iterable[Row] = (), *, saturates: bool = True):
        self._saturates = saturates
        self._looks: list[Row] = []
        self._held: dict[str, list[Finding]] = {}  # of each kind, look by look, while it holds
        self._passed: dict[str, int] = {}  # looks in a row without it
        self.active: dict[str, Finding] = {}
        for row in rows:
            if "critic_spread" in row:
                self.see(row)

    def see(self, look: Row) -> Row:
        """What the log is to say of this look: 'warning', findings not yet told, and 'recovered', kinds that passed."""
        self._looks = [*self._looks[-KEPT:], look]
        told: Row = {}
        for kind, (holds, figure) in self._rules().items():
            if holds:
                held = self._held.setdefault(kind, [])
                held.append(Finding(kind, look["step"], figure))
                self._passed[kind] = 0
                if len(held) == (SEEN_OVERTAKEN if kind == "overtaken critic" else SEEN) and kind not in self.active:
                    self.active[kind] = Finding(kind, held[0].since, figure)
                    told.setdefault("warning", []).append(as_row(self.active[kind], look["step"]))
                continue
            self._held.pop(kind, None)
            self._passed[kind] = self._passed.get(kind, 0) + 1
            if kind in self.active and self._passed[kind] == SEEN:
                del self.active[kind]
                told.setdefault("recovered", []).append(kind)
        return told

    def _rules(self) -> dict[str, tuple[bool, float]]:
        """Of each kind, whether the last look speaks for it, and the figure that does."""
        look = self._looks[-1]
        dead = self._dead(look)
        gradient = look["generator_gradient"] / max(self._usual("generator_gradient"), 1e-12)
        margin, accuracy = look["critic_margin"], look["critic_accuracy"]
        return {
            "mode collapse": (self._collapsed(), _diversity(look)),
            "dead critic": (dead, look["critic_spread"]),
            "vanishing gradient": (not dead and gradient < GONE, gradient),
            "saturated critic": (self._saturates and accuracy == 1.0 and margin > SATURATED, margin),
            "overtaken critic": (self._saturates and accuracy < OVERTAKEN and margin < BY, accuracy),
            "divergence": self._growth(dead),
        }

    def _collapsed(self) -> bool:
        """Fallen within a few looks, gone, or low for long; what is about to rise is a beginning."""
        seen = [_diversity(each) for each in self._looks[-MEMORY - 1 :]]
        now, earlier = seen[-1], seen[-SEEN - 1 :][0]
        if "mode collapse" in self.active:
            return now < ENOUGH
        if len(seen) > MEMORY and now < ENOUGH and now < FALLEN * float(np.median(seen[:-SEEN])):
            return True
        rising = len(seen) <= MEMORY or now > RISING * earlier
        return not rising and (now < NONE or max(seen[-LONG:]) < LOW)

    def _dead(self, look: Row) -> bool:
        """All scores alike, or weights that training does not move."""
        before = self._looks[-2]["critic_weights"] if len(self._looks) > 1 else math.nan
        return look["critic_spread"] < CONSTANT or (math.isfinite(before) and look["critic_weights"] == before)

    def _usual(self, name: str) -> float:
        return float(np.median([each[name] for each in self._looks]))

    def _growth(self, dead: bool) -> tuple[bool, float]:
        """Whether weights or losses have outgrown what is allowed, and how many times as large they are as before."""
        now = self._looks[-1]
        finite = [now[f"{player}_{figure}"] for player in PLAYERS for figure in ("weights", "gradient")]
        if not np.isfinite(finite).all():
            return True, math.inf
        if len(self._looks) <= MEMORY:
            return False, 0.0
        then, grown = self._looks[-MEMORY - 1], []
        for player in PLAYERS:
            weights, loss = f"{player}_weights", f"{player}_loss"
            grown.append((now[weights] / max(then[weights], 0.1), GROWN_WEIGHTS))
            usual = float(np.median([abs(each[loss]) for each in self._looks[:-MEMORY]]))
            grown.append((abs(now[loss]) / max(1.0, usual), GROWN_LOSS))
        times, limit = max(grown, key=lambda each: each[0] / each[1])
        if times > limit or self._saturates or dead:
            return times > limit, times
        # A Wasserstein critic's loss is minus a distance: positive for long, its penalty is all that it earns.
        distance = float(np.median([each["critic_loss"] for each in self._looks[:-MEMORY]]))
        turned = now["critic_loss"] / min(distance, -CLEAR)
        return distance < -CLEAR and turned < TURNED, turned


def _diversity(look: Row) -> float:
    """The lower one: what is sampled may still be diverse when the generator in training no longer is."""
    return min(look["diversity"], look["diversity_training"])


def as_row(finding: Finding, step: int) -> Row:
    """A finding as the log keeps it, with the line to print."""
    what, remedy = TOLD[finding.kind]
    told = f"step {step}: {finding.kind} since step {finding.since}: {what.format(figure=finding.figure)}; try {remedy}"
    return {**finding._asdict(), "step": step, "text": told}


class Watch:
    """What `train` logs beside the losses.

    Parameters
    ----------
    players, data, recipe, seed : of the run
    validation : windows not trained on, for the accuracy of the class head
    total : steps
    rows : the log so far
    """

    def __init__(
        self,
        players: Players,
        data: Windows,
        validation: Windows | None,
        recipe: Recipe,
        seed: int,
        total: int,
        device: torch.device,
        rows: Sequence[Row],
    ):
        self._known = players, data, validation, recipe.training.batch, seed, device
        self._total = total
        self.log_every = min(LOOK_EVERY, max(1, total // 500))
        self._every = self.log_every * math.ceil(LOOK_EVERY / self.log_every)
        objective = recipe.training.objective
        self._monitor = Monitor(rows, saturates="wgan" not in objective)
        self._classifies = OBJECTIVES[objective].classifies
        self._looks: Looks | None = None
        self._classes: ClassLooks | None = None

    def look(self, row: Row, candidate: bool) -> Row:
        """What is to be added to a row of the log."""
        players, data, validation, batch, seed, device = self._known
        told: Row = {}
        if row["step"] % self._every == 0:
            self._looks = self._looks or Looks(players, data, batch, seed, device)
            told |= self._looks.figures()
            told |= self._monitor.see({**row, **told})
        if self._classifies and self._class_look_due(row["step"], candidate):
            self._classes = self._classes or ClassLooks(players, data, validation, seed, device)
            told |= self._classes.accuracies()
        return told

    def _class_look_due(self, step: int, candidate: bool) -> bool:
        every = self._every * max(1, self._total // CLASS_LOOKS // self._every)
        return candidate or step == self._total or step % every == 0
