"""Simple features of synthetic samples, drawn towards how the population's are distributed.

A critic overfits on the few hundred records of a clinic long before it has told the generator how often and how much
each figure varies. A distance between distributions has nothing to learn and so nothing to overfit with: the energy
distance (Szekely and Rizzo 2013; in one dimension Cramer's), of each feature by itself and along random directions
through many of them, fresh at each step, so that what goes together is seen too. Its gradient is unbiased, for the
synthetic samples of a batch are compared with each other without themselves, and with many real ones at once. Where
labels are learned, samples of one of them, whichever, are compared besides: a label of few is then as much to the
generator as one of many, which a critic that sees one such sample a batch cannot bring about. What its people have in
common, such as that there is no P, is compared as finely as they agree on it.

What features have to do with what samples are made for, the rhythm and the conditions, is a covariance besides: so that
QT is as much longer where the heart is slow as in the population.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ecgveil.models.veil_looks import spread

_MOST_REAL = 4096  # samples that stand for the population
_MOST_FEATURES = 512  # of a kind, drawn anew at each step
_COMPONENTS = 80
_DIRECTIONS = 256
_WEIGHTS = {
    "levels": 1.0, "bends": 1.0, "features": 3.0, "waves": 3.0, "times": 3.0, "numbers": 1.0, "components": 2.0
}  # fmt: skip
_JOINT = ("components", "features", "waves", "times")  # kinds that are also compared along directions, with the numbers
_JOINT_WEIGHT = 2.0
_GIVEN_WEIGHT = 2.0
_FARTHEST = 4.0  # spreads from the middle: where features are cut to tell what they go with
_SCALE = 1 / 20  # of all together, beside a critic's loss
_LEAST_PEOPLE = 10  # who bear a label, or by whom a line is told: of fewer it would be their own numbers
_FINEST = 0.25  # spread of a feature within a label that distances are still measured by, of the population's

Groups = Callable[[Tensor], dict[str, Tensor]]


class Marginals:
    """The population's features, sorted.

    Parameters
    ----------
    groups : samples (B, ...) -> features of several kinds, each (B, k); 'levels', 'compressed', 'bends', 'features',
        'waves', 'times' and 'numbers'. Of the compressed levels the principal components are compared; and what the
        samples are made for, 'given'
    real : samples (n, ...)
    conditions : of each, (n, k), if there are any; given as well, but for those by which few people differ
    rng : draws those that stand for the rest where there are many
    labels : how many values of a condition, the first ones, are labels: 1 where borne
    people : whose each sample is; within a label each of them counts once
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
        if len(real) > _MOST_REAL:
            rows = torch.randperm(len(real), generator=rng)[:_MOST_REAL]
            whose, rows = whose[rows.numpy()], rows.to(real.device)
            real, conditions = real[rows], None if conditions is None else conditions[rows]
        bearing = _people_once(conditions, labels, whose)
        self._told = [] if conditions is None else _told_by_many(conditions.cpu().numpy(), whose)
        with torch.no_grad():
            raw = self._of(real, conditions)
            self._scale = {name: (x.mean(dim=0), spread(x)) for name, x in raw.items()}
            plain = {name: self._standard(name, x) for name, x in raw.items()}
            _, size, axes = torch.linalg.svd(plain["compressed"], full_matrices=False)
            k = min(_COMPONENTS, len(real) // 4)
            self._axes = axes[:k].T / size[:k].clamp(min=1e-3) * len(real) ** 0.5
            compared = self._compared(plain)
            self._whole = _Population.of(compared, {name: torch.ones_like(x[0]) for name, x in compared.items()})
            self._given = _Shared.of(_near(compared["given"]), whose)
            given = _with_one(self._given.part(_near(compared["given"])))
            self._slopes = {kind: torch.linalg.pinv(given) @ _near(compared[kind]) for kind in _JOINT}
            self._bearing: dict[int, _Population] = {}
            for label, mine in bearing.items():
                theirs = {name: x[mine] for name, x in compared.items()}
                self._bearing[label] = _Population.of(theirs, _finer(theirs, compared))

    def parts(self, rng: np.random.Generator) -> list[int | None]:
        """What is to be compared in a step: the whole population (None), and one of the labels, whichever."""
        return [None, int(rng.choice(list(self._bearing)))] if self._bearing else [None]

    def loss(
        self, fake: Tensor, rng: torch.Generator, conditions: Tensor | None = None, label: int | None = None
    ) -> Tensor:
        """Samples (B, ...) and their conditions -> a number whose gradient is that of the weighted distances.

        With `label`, all samples bear it, and so do the real ones that they are compared with.
        """
        population = self._whole if label is None else self._bearing[label]
        plain = {name: self._standard(name, each) for name, each in self._of(fake, conditions).items()}
        x = {name: each / population.scale[name] for name, each in self._compared(plain).items()}
        total = fake.new_zeros(())
        for name, weight in _WEIGHTS.items():
            each = x[name]
            columns = torch.randperm(each.shape[1], generator=rng)[:_MOST_FEATURES].to(each.device)
            total = total + weight * _pull(each[:, columns], population.sorted[name][columns])
        for kind in _JOINT:
            mine, theirs = (torch.cat([all_[kind], all_["numbers"]], dim=1) for all_ in (x, population.real))
            directions = _directions(mine.shape[1], rng).to(mine.device)
            total = total + _JOINT_WEIGHT * _pull(mine @ directions, (theirs @ directions).T.sort(dim=1).values)
        if label is None:
            given = self._given.part(_near(x["given"]))
            for kind, slopes in self._slopes.items():
                total = total + _GIVEN_WEIGHT * _astray(_near(x[kind]), given, slopes)
        return total * _SCALE

    def _of(self, x: Tensor, conditions: Tensor | None) -> dict[str, Tensor]:
        found = self._groups(x)
        if conditions is None:
            return found
        given = torch.cat([found["given"], conditions[:, self._told]], dim=1)
        return {**found, "numbers": torch.cat([found["numbers"], conditions], dim=1), "given": given}

    def _standard(self, name: str, x: Tensor) -> Tensor:
        mean, sd = self._scale[name]
        return (x - mean) / sd

    def _compared(self, plain: dict[str, Tensor]) -> dict[str, Tensor]:
        rest = {name: x for name, x in plain.items() if name != "compressed"}
        return rest | {"components": plain["compressed"] @ self._axes}


def _people_once(conditions: Tensor | None, labels: int, whose: np.ndarray) -> dict[int, np.ndarray]:
    """Rows of those who bear each label, one row a person, of labels that enough people bear."""
    found = {}
    for label in range(0 if conditions is None else labels):
        borne = np.flatnonzero(conditions[:, label].cpu() > 0.5)  # type: ignore[index]
        mine = borne[np.unique(whose[borne], return_index=True)[1]]
        if len(mine) >= _LEAST_PEOPLE:
            found[label] = mine
    return found


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


def _finer(some: dict[str, Tensor], all_: dict[str, Tensor]) -> dict[str, Tensor]:
    """How much less some people's features, each (n, k), vary than all people's: (k,) of `_FINEST` to 1."""
    found = {}
    for name, x in some.items():
        theirs, everybody = spread(x), spread(all_[name])  # infinite where nothing varies
        share = torch.where(theirs.isinf(), 0.0, theirs / everybody).clamp(_FINEST, 1.0)
        found[name] = torch.where(everybody.isinf(), 1.0, share)
    return found


def _told_by_many(conditions: np.ndarray, whose: np.ndarray) -> list[int]:
    """Of conditions, (n, k), those in which enough people differ from what is usual."""
    found = []
    for column, values in enumerate(conditions.T):
        different, number = np.unique(values, return_counts=True)
        if len(np.unique(whose[values != different[number.argmax()]])) >= _LEAST_PEOPLE:
            found.append(column)
    return found


class _Shared(NamedTuple):
    """What is given, along the directions in which enough people differ: their middle, (g,), and axes, (g, r)."""

    middle: Tensor
    axes: Tensor

    @classmethod
    def of(cls, given: Tensor, whose: np.ndarray) -> _Shared:
        """Of (n, g): the strongest directions, as many as there are people for, none that a few of them make up."""
        middle = given.mean(dim=0)
        places, size, axes = torch.linalg.svd(given - middle, full_matrices=False)
        _, number = np.unique(whose, return_inverse=True)
        people = int(number.max()) + 1
        parts = places.new_zeros(people, len(size)).index_add_(
            0, torch.from_numpy(number).to(places.device), places.square()
        )
        borne_by = 1 / parts.square().sum(dim=0)  # people, if all differed alike
        kept = (size > 1e-3 * len(given) ** 0.5) & (borne_by >= _LEAST_PEOPLE)
        kept[people // _LEAST_PEOPLE :] = False
        return cls(middle, axes[kept].T)

    def part(self, given: Tensor) -> Tensor:
        """(n, g) -> (n, r)."""
        return (given - self.middle) @ self.axes


def _near(x: Tensor) -> Tensor:
    return x.clamp(-_FARTHEST, _FARTHEST)


def _with_one(given: Tensor) -> Tensor:
    return torch.cat([given, torch.ones_like(given[:, :1])], dim=1)


def _astray(x: Tensor, given: Tensor, slopes: Tensor) -> Tensor:
    """How otherwise features (B, k) go with what is given, (B, r), than by `slopes`, (r + 1, k), the last of which is
    what they are without: squared covariances of what is left with what is given, added up. No sample is multiplied
    with itself, so that the mean is 0 where all is well."""
    b = len(x)
    left = x - _with_one(given) @ slopes
    squares = (left.T @ given).square().sum(dim=1) - left.square().T @ given.square().sum(dim=1)
    return squares.sum() / (b * (b - 1) * x.shape[1] ** 0.5)


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
        b, n = len(x), real.shape[1]
        below_real = torch.searchsorted(real.contiguous(), x.detach().T.contiguous()).T / n
        rank = x.argsort(dim=0).argsort(dim=0).to(x.dtype)
        slope = ((2 * below_real - 1) - (2 * rank + 1 - b) / (b - 1)) / b
    return (x * slope).sum() / x.shape[1] ** 0.5
