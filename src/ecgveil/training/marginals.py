"""Simple features of synthetic samples, drawn towards how the population's are distributed.

A critic overfits on the few hundred records of a clinic long before it has told the generator how often and how much
each figure varies. A distance between distributions has nothing to learn and so nothing to overfit with: the energy
distance (Szekely and Rizzo 2013; in one dimension Cramer's), of each feature by itself and along random directions
through many of them, fresh at each step, so that what goes together is seen too. Its gradient is unbiased, for the
synthetic samples of a batch are compared with each other without themselves, and with many real ones at once.

A group is compared besides, whichever: those who bear a label, where labels are learned, or whose hearts are about as
fast. A label of few is then as much to the generator as one of many, which a critic that sees one such sample a batch
cannot bring about; and QT and T are as the rhythm makes them, in a fast heart as in a slow one. What a group has in
common, such as that there is no P, is compared as finely as its people agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecgveil.models.veil_looks import spread
from ecgveil.people import LEAST_PEOPLE

_MOST_REAL = 4096  # samples that stand for the population
_MOST_FEATURES = 512  # of a kind, drawn anew at each step
_COMPONENTS = 80
_DIRECTIONS = 256
_WEIGHTS = {
    "levels": 1.0, "bends": 1.0, "features": 3.0, "waves": 3.0, "times": 3.0, "qrs": 3.0, "qrs times": 3.0,
    "numbers": 1.0, "components": 2.0,
}  # fmt: skip
# Kinds that are also compared along directions, with the numbers.
_JOINT = ("components", "features", "waves", "times", "qrs")
_JOINT_WEIGHT = 2.0
_SCALE = 1 / 20  # of all together, beside a critic's loss
_PACES = (0.1, 0.35, 0.65, 0.9)  # quantiles of the mean RR where groups of like hearts end
_FINEST = 0.25  # spread of a feature within a group that distances are still measured by, of the population's

Groups = Callable[[Tensor], dict[str, Tensor]]


class Marginals:
    """The population's features, sorted.

    Parameters
    ----------
    groups : samples (B, ...) -> features of several kinds, each (B, k); 'levels', 'compressed', 'bends', 'features',
        'waves', 'times', 'qrs', 'qrs times' and 'numbers'. Of the compressed levels the principal components are
        compared. And 'pace', (B,): the mean RR on any scale
    real : samples (n, ...)
    conditions : of each, (n, k), if there are any: along random directions they are compared like features
    rng : draws those that stand for the rest where there are many
    labels : how many values of a condition, the first ones, are labels: 1 where borne
    people : whose each sample is; within a group each of them counts once
    """

    def __init__(
        self,
        groups: Groups,
        real: Tensor,
        rng: torch.Generator,
        conditions: Tensor | None = None,
        labels: int = 0,
        people: Sequence[str] | None = None,
    ):
        self._groups = groups
        whose = np.array(range(len(real)) if people is None else people)
        rows = torch.arange(len(real))
        if len(real) > _MOST_REAL:
            rows = torch.randperm(len(real), generator=rng)[:_MOST_REAL]
            whose, here = whose[rows.numpy()], rows.to(real.device)
            real, conditions = real[here], None if conditions is None else conditions[here]
        with torch.no_grad():
            found = groups(real)
            raw, pace = self._of(found, conditions), found["pace"].cpu().numpy()
            self._scale = {name: (x.mean(dim=0), spread(x)) for name, x in raw.items()}
            plain = {name: self._standard(name, x) for name, x in raw.items()}
            _, size, axes = torch.linalg.svd(plain["compressed"], full_matrices=False)
            k = min(_COMPONENTS, len(real) // 4)
            self._axes = axes[:k].T / size[:k].clamp(min=1e-3) * len(real) ** 0.5
            compared = self._compared(plain)
            self._whole = _Population.of(compared, {name: torch.ones_like(x[0]) for name, x in compared.items()})
            borne = np.zeros((len(real), 0)) if conditions is None else conditions[:, :labels].cpu().numpy() > 0.5
            alike = np.digitize(pace, np.quantile(pace, _PACES))
            self.groups: list[Group] = []
            for mine in [*borne.T, *(alike == band for band in range(len(_PACES) + 1))]:
                members = np.flatnonzero(mine)
                once = members[np.unique(whose[members], return_index=True)[1]]
                if len(once) >= LEAST_PEOPLE:
                    theirs = {name: x[once] for name, x in compared.items()}
                    population = _Population.of(theirs, _finer(theirs, compared))
                    self.groups.append(Group(rows[once].numpy(), population))

    def parts(self, rng: np.random.Generator) -> list[Group | None]:
        """What is to be compared in a step: the whole population (None), and a group, whichever."""
        return [None, self.groups[rng.integers(len(self.groups))]] if self.groups else [None]

    def loss(
        self, fake: Tensor, rng: torch.Generator, conditions: Tensor | None = None, group: Group | None = None
    ) -> Tensor:
        """Samples (B, ...) and their conditions -> a number whose gradient is that of the weighted distances.

        With `group`, all samples are made for what its `rows` show, and compared with those.
        """
        population = self._whole if group is None else group.population
        plain = {name: self._standard(name, each) for name, each in self._of(self._groups(fake), conditions).items()}
        x = {name: each / population.scale[name] for name, each in self._compared(plain).items()}
        total = fake.new_zeros(())
        for name, weight in _WEIGHTS.items():
            each = x[name]
            columns = torch.randperm(each.shape[1], generator=rng)[:_MOST_FEATURES].to(each.device)
            total = total + weight * _pull(each[:, columns], population.sorted[name][columns])
        for kind in _JOINT:
            mine, theirs = (torch.cat([all_[kind], all_["numbers"]], dim=1) for all_ in (x, population.real))
            directions = _directions(mine.shape[1], rng).to(mine.device)
            total = total + _JOINT_WEIGHT * _pull(mine @ directions, (directions.T @ theirs.T).sort(dim=1).values)
        return total * _SCALE

    @staticmethod
    def _of(groups: dict[str, Tensor], conditions: Tensor | None) -> dict[str, Tensor]:
        """What is compared of samples with these groups of features."""
        found = {name: each for name, each in groups.items() if name != "pace"}
        return found if conditions is None else {**found, "numbers": torch.cat([found["numbers"], conditions], dim=1)}

    def _standard(self, name: str, x: Tensor) -> Tensor:
        mean, sd = self._scale[name]
        return (x - mean) / sd

    def _compared(self, plain: dict[str, Tensor]) -> dict[str, Tensor]:
        rest = {name: x for name, x in plain.items() if name != "compressed"}
        return rest | {"components": plain["compressed"] @ self._axes}


class _Population(NamedTuple):
    """Standard features of real samples by kind: as they are compared, (n, k), each sorted, (k, n), and by what they
    were divided for it, (k,)."""

    real: dict[str, Tensor]
    sorted: dict[str, Tensor]
    scale: dict[str, Tensor]

    @classmethod
    def of(cls, standard: dict[str, Tensor], scale: dict[str, Tensor]) -> _Population:
        real = {name: x / scale[name] for name, x in standard.items()}
        return cls(real, {name: x.T.sort(dim=1).values.contiguous() for name, x in real.items()}, scale)


class Group(NamedTuple):
    """Some of the samples: their rows, and what they are compared as."""

    rows: np.ndarray
    population: _Population


def _finer(some: dict[str, Tensor], all_: dict[str, Tensor]) -> dict[str, Tensor]:
    """How much less some people's features, each (n, k), vary than all people's: (k,) of `_FINEST` to 1."""
    found = {}
    for name, x in some.items():
        theirs, everybody = spread(x), spread(all_[name])  # infinite where nothing varies
        share = torch.where(theirs.isinf(), 0.0, theirs / everybody).clamp(_FINEST, 1.0)
        found[name] = torch.where(everybody.isinf(), 1.0, share)
    return found


def _directions(k: int, rng: torch.Generator) -> Tensor:
    """Random unit vectors, (k, _DIRECTIONS): some of few features, some of many."""
    share = 0.5 * torch.rand(_DIRECTIONS, generator=rng) + 0.02
    drawn = torch.randn(k, _DIRECTIONS, generator=rng) * (torch.rand(k, _DIRECTIONS, generator=rng) < share)
    return drawn / (drawn.norm(dim=0) + 1e-6)


def _pull(x: Tensor, real: Tensor) -> Tensor:
    """Energy distances of the columns of x, (B, k), to the sorted rows of real, (k, n), added up: of that the gradient.

    The derivative of 2 E|x - y| - E|x - x'| by one x is a difference of two shares: of real and of synthetic values
    that lie below it.
    """
    with torch.no_grad():
        mine = x.detach().T.contiguous()  # (k, B)
        b, n = len(x), real.shape[1]
        below_real = torch.searchsorted(real.contiguous(), mine) / n
        rank = torch.empty_like(mine).scatter_(1, mine.argsort(dim=1), torch.arange(b).to(mine).expand_as(mine))
        slope = ((2 * below_real - 1) - (2 * rank + 1 - b) / (b - 1)) / b
    return (x.T * slope).sum() / x.shape[1] ** 0.5
