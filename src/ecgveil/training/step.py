"""One step of training, of any generator and critic.

Every random draw of step s comes from a stream of (seed, s), and the windows of a batch from permutations of
(seed, pass): nothing random needs saving, so that a run resumed is bit for bit a run never interrupted. Of several
processes each takes its share of a batch and draws from streams of its own; gradients are the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ecgveil.models import MODELS
from ecgveil.models.contract import stack
from ecgveil.recipe import Recipe
from ecgveil.streams import NOISE, ORDER, TORCH, stream
from ecgveil.training.looks import Windows
from ecgveil.training.marginals import Marginals
from ecgveil.training.objectives import OBJECTIVES, Pair
from ecgveil.training.players import Players


class Step:
    """What a step needs, and the step.

    Parameters
    ----------
    players : moved to the device of `fabric`
    data : of the training part
    people : whose each window is
    recipe, seed : of the run
    fabric : launched; its processes share the batch
    """

    def __init__(
        self, players: Players, data: Windows, people: Sequence[str], recipe: Recipe, seed: int, fabric: Fabric
    ):
        self._players, self._data, self._recipe, self._seed, self._fabric = players, data, recipe, seed, fabric
        self._total = recipe.n_steps(len(data.tensor))
        players.to(fabric.device)
        if hasattr(players.critic, "know"):
            players.critic.know(data.tensor.to(fabric.device))
        self._marginals = self._population(people)

    def __call__(self, step: int) -> dict[str, float]:
        """One generator update, after its critic updates; step counts from 0.

        Each synthetic window is made for the condition of the real one in its place, and the critic judges both under
        it: what the pair differs in is then not what the labels explain.
        """
        t, data, fabric = self._recipe.training, self._data, self._fabric
        objective = OBJECTIVES[t.objective]
        critic_optimizer, generator_optimizer = self._players.optimizers[1], self._players.optimizers[0]
        critic = self._players.critic
        mine = (fabric.global_rank,) if fabric.global_rank else ()
        rng = torch.Generator().manual_seed(int(stream(self._seed, TORCH, step, *mine).integers(2**63)))
        draws = stream(self._seed, NOISE, step, *mine)
        _set_rate(self._players.optimizers, t.learning_rate, t.decay, step / self._total)

        def seen(x: Tensor) -> Tensor:
            if hasattr(critic, "look"):
                return critic.look(x, rng, t.augment_gain)
            return _augment(x, t.augment_gain, t.augment_noise, rng)

        for update in range(t.critic_steps):
            number = step * t.critic_steps + update
            rows = _batch_rows(self._seed, number, t.batch, len(data.tensor))[fabric.global_rank :: fabric.world_size]
            real = data.tensor[rows].to(fabric.device)
            told = data.told(rows, fabric.device)
            with fabric.autocast():  # anew for each update: it keeps weights as they were cast first
                with torch.no_grad():
                    made = self._fake(rows, draws)
                loss_critic = objective.critic_loss(critic, Pair(seen(real), seen(made), told), rng, t, number)
            self._update(critic_optimizer, loss_critic)
        critic.requires_grad_(False)
        with fabric.autocast():
            pair = Pair(seen(real), seen(self._fake(rows, draws)), told)
            loss_generator = objective.generator_loss(critic, pair, rng, t)
        told_loss = loss_generator.detach()
        finite = bool(torch.isfinite(loss_generator))  # of samples that are no numbers there is no distance
        if self._marginals is not None and step % t.marginals_every == 0 and finite:
            loss_generator = loss_generator + t.marginals * t.marginals_every * self._distances(
                self._marginals, draws, rng
            )
            if not torch.isfinite(loss_generator):
                told_loss = loss_generator.detach()  # whichever part it was
        self._update(generator_optimizer, loss_generator)
        critic.requires_grad_(True)
        _average(self._players.average, self._players.generator, min(t.ema, (step + 1) / (step + 10)))
        losses = self._mean(torch.stack([loss_critic.detach(), told_loss])).tolist()
        return dict(zip(("critic_loss", "generator_loss"), losses, strict=True))

    def _population(self, people: Sequence[str]) -> Marginals | None:
        recipe, data, device = self._recipe, self._data, self._fabric.device
        groups = MODELS[recipe.model["architecture"]].groups
        if not recipe.training.marginals or groups is None:
            return None
        rng = torch.Generator().manual_seed(int(stream(self._seed, TORCH).integers(2**63)))
        conditions = data.told(np.arange(len(data.tensor)), device)
        return Marginals(groups, data.tensor.to(device), rng, conditions, len(recipe.data.classes), people)

    def _fake(self, rows: np.ndarray, draws: np.random.Generator) -> Tensor:
        """Synthetic windows in the place of these."""
        generator, data, device = self._players.generator, self._data, self._fabric.device
        noise = stack([generator.draw(draws, data.condition(row)) for row in rows], device)
        if hasattr(generator, "follow"):
            noise = generator.follow(noise, data.tensor[rows].to(device))
        return generator(noise).float()

    def _distances(self, marginals: Marginals, draws: np.random.Generator, rng: torch.Generator) -> Tensor:
        """How far simple features are from the population's, and from a group's."""
        size = self._recipe.training.marginals_batch // self._fabric.world_size
        found = []
        for part in marginals.parts(draws):
            among = np.arange(len(self._data.tensor)) if part is None else part.rows
            many = among[draws.integers(len(among), size=size)]
            made = self._fake(many, draws)
            found.append(marginals.loss(made, rng, self._data.told(many, self._fabric.device), part))
        return torch.stack(found).sum()

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self._fabric.backward(loss)
        if self._fabric.world_size > 1:
            gradients = [
                weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
            ]
            means = self._mean(torch.cat([each.flatten() for each in gradients]))
            for each, mean in zip(gradients, means.split([each.numel() for each in gradients]), strict=True):
                each.copy_(mean.view_as(each))
        optimizer.step()

    def _mean(self, x: Tensor) -> Tensor:
        """Over processes."""
        return self._fabric.strategy.all_reduce(x, reduce_op="mean")


def _batch_rows(seed: int, number: int, batch: int, n: int) -> np.ndarray:
    """Rows of batch `number`: the windows in endless permutations, one for each pass."""
    places = np.arange(number * batch, (number + 1) * batch)
    rows = np.empty(batch, int)
    for each in np.unique(places // n):
        mine = places // n == each
        rows[mine] = stream(seed, ORDER, int(each)).permutation(n)[places[mine] % n]
    return rows


def _augment(x: Tensor, gain: float, noise: float, rng: torch.Generator) -> Tensor:
    """Real and synthetic alike, so that what is added to both cannot leak into samples (Karras 2020)."""
    if gain:
        shape = (x.shape[0], *[1] * (x.ndim - 1))
        x = x * torch.exp(gain * torch.randn(shape, generator=rng)).to(x.device)
    if noise:
        x = x + (noise * torch.randn(x.shape, generator=rng)).to(x.device)
    return x


def _set_rate(optimizers: tuple[torch.optim.Optimizer, ...], rate: float, decay: float, done: float) -> None:
    factor = min(1.0, (1.0 - done) / decay) if decay else 1.0
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate * factor


@torch.no_grad()
def _average(average: nn.Module, generator: nn.Module, decay: float) -> None:
    for mean, now in zip(average.parameters(), generator.parameters(), strict=True):
        mean.lerp_(now, 1.0 - decay)
    for kept, latest in zip(average.buffers(), generator.buffers(), strict=True):
        kept.copy_(latest)  # running statistics of batch norm
