"""Looks at both players along training: figures that the losses do not tell, for monitors and for the choice.

A look changes nothing in training: it draws from a stream of its own, and puts running statistics back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ecgveil.models.contract import looked, stack

if TYPE_CHECKING:
    from ecgveil.training.players import Players

_WATCHED = (16, 32)  # synthetic windows of a look, at least and at most; as many as a batch in between
_LEARNED_FROM = 256  # real windows that the principal directions are learned from, at most
_DIRECTIONS = 16
_REFERENCES = 8  # batches of real windows that real diversity is the mean of
_CLASSIFIED = 256  # windows of either kind that the class head is asked about, at most
_BLOCK = 64


class Windows(NamedTuple):
    """Encoded windows (n, ...), and their conditions (n, k) if there are any."""

    tensor: Tensor
    conditions: np.ndarray | None

    def take(self, rows: np.ndarray) -> Windows:
        return Windows(self.tensor[rows], None if self.conditions is None else self.conditions[rows])

    def condition(self, row: int) -> np.ndarray | None:
        return None if self.conditions is None else self.conditions[row]

    def told(self, rows: np.ndarray, device: torch.device) -> Tensor | None:
        """The conditions of these rows, for the critic."""
        return None if self.conditions is None else torch.from_numpy(self.conditions[rows]).to(device)


class Directions:
    """The principal directions of real windows, in units of the spread of real ones along each.

    A little noise that a generator adds to a single shape lies across all directions, and so hardly along these few.
    """

    def __init__(self, real: Tensor):
        x = real.flatten(1).double()
        self.middle = x.mean(dim=0)
        x = x - self.middle
        values, vectors = torch.linalg.eigh(x @ x.T)  # (n, n): far smaller than the covariance
        kept = torch.argsort(values, descending=True)[:_DIRECTIONS]
        kept = kept[values[kept] > 1e-9 * values.max().clamp(min=1e-30)]
        self.basis = x.T @ vectors[:, kept] / values[kept] * (len(x) - 1) ** 0.5  # (d, <= 16)
        self.middle, self.basis = self.middle.float(), self.basis.float()

    def of(self, windows: Tensor) -> Tensor:
        """(n, ...) -> (n, <= 16), SD 1 for real ones."""
        return (windows.flatten(1) - self.middle.to(windows)) @ self.basis.to(windows)


def variety(points: Tensor) -> float:
    """Median distance of the points (n, d) to their nearest other: near 0 for one shape, and for a handful of them.

    >>> variety(torch.tensor([[0.0], [1.0], [3.0], [3.0]]))
    0.0
    """
    if len(points) < 2 or not torch.isfinite(points).all():
        return float("nan")
    apart = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(torch.inf)
    return float(apart.min(dim=1).values.median())


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Running statistics are put back, and nothing is drawn from torch's global stream."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield
        for buffer, value in kept:
            buffer.copy_(value)


class Looks:
    """Always the same noise and the same real windows, drawn once.

    Parameters
    ----------
    players : whose figures are told
    windows : of the training part
    batch : windows of an update
    seed : of the run
    """

    def __init__(self, players: Players, windows: Windows, batch: int, seed: int, device: torch.device):
        self._players, self._device, self._seed = players, device, seed
        rng = np.random.default_rng([seed, 71])
        number = min(len(windows.tensor), max(_WATCHED[0], min(_WATCHED[1], batch)))
        draws = [rng.permutation(len(windows.tensor))[:number] for _ in range(_REFERENCES)]
        many = rng.permutation(len(windows.tensor))[:_LEARNED_FROM]
        watched = windows.take(draws[0])
        self._directions = Directions(windows.tensor[many])
        # Where most windows have a twin real ones have no variety either: no figure then, and no warning.
        real = float(np.mean([variety(self._directions.of(windows.tensor[rows])) for rows in draws]))
        self._reference = real or float("nan")
        self._real, self._told = watched.tensor.to(device), windows.told(draws[0], device)
        draw = players.generator.draw
        self._noise = stack([draw(rng, watched.condition(i)) for i in range(number)], device)

    def figures(self) -> dict[str, float]:
        """Figures of the players as they are, right after an update.

        Returns
        -------
        dict
            diversity, diversity_training : `variety` along the principal directions, of what would be sampled and of
                the generator in training, as multiples of that of as many real windows
            generator_gradient, critic_gradient : norms of the last gradients
            generator_weights, critic_weights : norms of the weights
            critic_accuracy : share of the pairs of a real and a synthetic window whose real one scores higher
            critic_margin : mean score of real ones less that of synthetic ones
            critic_spread : SD of all these scores
        """
        players = self._players
        with unchanged(players.generator):
            made = players.generator(self._noise)
        with torch.no_grad():
            sampled = players.average(self._noise)
        told = {
            "diversity": variety(self._directions.of(sampled)) / self._reference,
            "diversity_training": variety(self._directions.of(made)) / self._reference,
        }
        for name, player in (("generator", players.generator), ("critic", players.critic)):
            weights = list(player.parameters())
            told[f"{name}_gradient"] = _norm([p.grad for p in weights if p.grad is not None])
            told[f"{name}_weights"] = _norm(weights)
        return told | self._scores(made)

    def _scores(self, made: Tensor) -> dict[str, float]:
        critic = self._players.critic
        with unchanged(critic):
            real, fake = (
                critic(looked(critic, x), torch.Generator().manual_seed(self._seed), self._told)
                .flatten(1)
                .mean(dim=1)
                .double()
                for x in (self._real, made)
            )
        higher = (real[:, None] > fake).double() + 0.5 * (real[:, None] == fake).double()
        return {
            "critic_accuracy": float(higher.mean()),
            "critic_margin": float(real.mean() - fake.mean()),
            "critic_spread": float(torch.cat([real, fake]).std()),
        }


def _norm(tensors: list[Tensor]) -> float:
    """Norm of all of them together; NaN for none."""
    if not tensors:
        return float("nan")
    each = torch.stack(torch._foreach_norm([tensor.detach() for tensor in tensors]))
    return float(each.double().square().sum().sqrt())


class ClassLooks:
    """How often the critic's class head is right, on real windows not trained on and on synthetic ones (P1, Fig. 21).

    Parameters
    ----------
    players : the critic has a class head
    windows : of the training part; synthetic windows are made for the classes of some of these
    validation : of the validation part; None where there is none
    seed : of the run
    """

    def __init__(self, players: Players, windows: Windows, validation: Windows | None, seed: int, device: torch.device):
        self._players, self._device, self._seed = players, device, seed
        rng = np.random.default_rng([seed, 72])
        asked = _of_a_class(windows, rng)
        self._real = _of_a_class(validation, rng) if validation else None
        self._classes = _classes(asked)
        self._noise = [players.generator.draw(rng, asked.condition(i)) for i in range(len(asked.tensor))]

    def accuracies(self) -> dict[str, float]:
        """class_accuracy_synthetic, and where there is a validation part class_accuracy_real; 0 to 1."""
        made, generator = [], self._players.average
        with torch.no_grad():
            for first in range(0, len(self._noise), _BLOCK):
                made.append(generator(stack(self._noise[first : first + _BLOCK], self._device)))
        told = {"class_accuracy_synthetic": self._right(torch.cat(made), self._classes)}
        if self._real is not None and len(self._real.tensor):
            told["class_accuracy_real"] = self._right(self._real.tensor, _classes(self._real))
        return told

    def _right(self, windows: Tensor, classes: Tensor) -> float:
        critic = self._players.critic
        training, right = critic.training, 0
        critic.eval()
        with torch.no_grad():
            for first in range(0, len(windows), _BLOCK):
                rng = torch.Generator().manual_seed(self._seed)
                block = windows[first : first + _BLOCK].to(self._device)
                _, logits = critic.classified(block, rng)
                right += int((logits.argmax(dim=1).cpu() == classes[first : first + _BLOCK]).sum())
        critic.train(training)
        return right / len(windows)


def _classes(windows: Windows) -> Tensor:
    """Number of the class of each, (n,)."""
    assert windows.conditions is not None  # the recipe was checked for it
    return torch.from_numpy(windows.conditions.argmax(axis=1))


def _of_a_class(windows: Windows, rng: np.random.Generator) -> Windows:
    """Windows that are of one class, drawn, in random order: a critic may judge a batch as a whole."""
    assert windows.conditions is not None
    rows = np.flatnonzero(windows.conditions.sum(axis=1) == 1)
    return windows.take(rng.permutation(rows)[:_CLASSIFIED])
