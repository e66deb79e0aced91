"""The one loop that drives any generator and critic.

Every random draw of step s comes from a stream of (seed, s), and the windows of a batch from permutations of
(seed, pass): nothing random needs saving, so that a run resumed is bit for bit a run never interrupted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ecgveil.errors import RunError
from ecgveil.models import MODELS
from ecgveil.models.contract import Context, stack
from ecgveil.recipe import Recipe
from ecgveil.streams import INITIAL, NOISE, ORDER, TORCH, stream
from ecgveil.training.choosing import Chooser
from ecgveil.training.looks import Windows
from ecgveil.training.marginals import Marginals
from ecgveil.training.monitors import Watch
from ecgveil.training.objectives import OBJECTIVES, Pair
from ecgveil.training.run import RunFolder

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every precision it is given
_PRECISION: dict[str, Any] = {"float32": "32-true", "bfloat16": "bf16-mixed"}  # as Fabric calls them


class Players:
    """Generator, critic, the averaged generator, and their optimizers."""

    def __init__(self, recipe: Recipe, context: Context, seed: int):
        model, settings, t = MODELS[recipe.model["architecture"]], recipe.model_settings(), recipe.training
        with torch.random.fork_rng(devices=[]):  # torch draws initial weights from its global stream only
            torch.manual_seed(int(stream(seed, INITIAL).integers(2**63)))
            self.generator: Any = model.generator(settings, context)
            self.critic: Any = model.critic(settings, context)
            self.average: nn.Module = model.generator(settings, context)
        self.average.load_state_dict(self.generator.state_dict())
        self.average.requires_grad_(False).eval()
        self.optimizers = tuple(
            torch.optim.Adam(player.parameters(), t.learning_rate, betas=t.betas)
            for player in (self.generator, self.critic)
        )

    def state(self) -> dict[str, Tensor]:
        """All tensors under flat names; optimizer moments by parameter number."""
        flat = {}
        for name in ("generator", "critic", "average"):
            flat.update({f"{name}/{key}": value for key, value in getattr(self, name).state_dict().items()})
        for name, optimizer in zip(("generator", "critic"), self.optimizers, strict=True):
            for number, moments in optimizer.state_dict()["state"].items():
                flat.update({f"adam-{name}/{number}/{key}": value for key, value in moments.items()})
        return flat

    @staticmethod
    def networks(flat: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a `state` what is the networks', without that of their optimizers."""
        return {name: tensor for name, tensor in flat.items() if not name.startswith("adam-")}

    def load(self, flat: dict[str, Tensor]) -> None:
        try:
            for name in ("generator", "critic", "average"):
                prefix = f"{name}/"
                own = {key.removeprefix(prefix): value for key, value in flat.items() if key.startswith(prefix)}
                getattr(self, name).load_state_dict(own)
        except RuntimeError as error:
            raise RunError(
                "state.safetensors does not fit recipe.toml: it is damaged, or of another version of ecgveil; fit again"
            ) from error
        for name, optimizer in zip(("generator", "critic"), self.optimizers, strict=True):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in flat.items():
                if key.startswith(f"adam-{name}/"):
                    _, number, moment = key.split("/")
                    moments.setdefault(int(number), {})[moment] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def train(
    players: Players,
    windows: np.ndarray,
    *,
    conditions: np.ndarray | None = None,
    people: Sequence[str],
    recipe: Recipe,
    seed: int,
    folder: RunFolder,
    start: int,
    on_log: Callable[[dict[str, Any]], None],
    on_picture: Callable[[int, nn.Module], None],
    stop: Callable[[], bool],
    chooser: Chooser | None = None,
    validation: Windows | None = None,
) -> int:
    """Train from step `start`; return the step reached: the total, unless `stop()` or `chooser` ended it.

    Parameters
    ----------
    windows : encoded training windows, float32 (n, ...)
    conditions : of each window, float32 (n, k); None where no labels are learned
    people : whose each window is
    on_log : called with each row of metrics, after it was written
    on_picture : called with (step, averaged generator) where a picture is due
    stop : asked after each step
    chooser : judges candidates and says which weights are to be sampled; without it the latest averaged generator is
    validation : encoded windows not trained on, for the accuracy of the critic's class head
    """
    t = recipe.training
    total = recipe.n_steps(len(windows))
    fabric = Fabric(devices=1, precision=_PRECISION[t.precision])
    for module in (players.generator, players.critic, players.average):
        module.to(fabric.device)
    data = Windows(torch.from_numpy(windows), conditions)
    if hasattr(players.critic, "know"):
        players.critic.know(data.tensor.to(fabric.device))
    marginals = _marginals(data, people, recipe, seed, fabric.device)
    watch = Watch(players, data, validation, recipe, seed, total, fabric.device, folder.metrics())
    pictures = _picture_steps(total, t.pictures)
    snapshots = {round(total * i / t.snapshots) for i in range(1, t.snapshots + 1)}
    if start == 0 and 0 in pictures:
        on_picture(0, players.average)
    saved_at = began = time.monotonic()
    step = start
    while step < total and not stop() and not (chooser and chooser.ended):
        losses = _step(players, data, recipe, seed, step, total, fabric, marginals)
        step += 1
        candidate = chooser is not None and step in chooser.steps
        if step % watch.log_every == 0 or step == total or candidate:
            row = {"step": step, "epoch": step * t.batch * t.critic_steps / len(windows), **losses}
            _require_finite(row, folder)
            row |= watch.look(row, candidate)
            if chooser is not None and candidate:
                row |= chooser.look(step, players.average, row)
            row["seconds_per_step"] = (time.monotonic() - began) / (step - start)
            folder.log(row)
            on_log(row)
        if step in pictures:
            on_picture(step, players.average)
        if step in snapshots:
            folder.save_snapshot(step, players.average.state_dict())
        if time.monotonic() - saved_at > t.checkpoint_seconds:
            _save(folder, step, players, chooser)
            saved_at = time.monotonic()
    _save(folder, step, players, chooser)
    return step


def _save(folder: RunFolder, step: int, players: Players, chooser: Chooser | None) -> None:
    weights, choice = chooser.kept(players.average) if chooser else (players.average.state_dict(), None)
    folder.save(step, players.state(), weights, choice)


def _marginals(
    data: Windows, people: Sequence[str], recipe: Recipe, seed: int, device: torch.device
) -> Marginals | None:
    groups = MODELS[recipe.model["architecture"]].groups
    if not recipe.training.marginals or groups is None:
        return None
    rng = torch.Generator().manual_seed(int(stream(seed, TORCH).integers(2**63)))
    conditions = data.told(np.arange(len(data.tensor)), device)
    return Marginals(groups, data.tensor.to(device), rng, conditions, len(recipe.data.classes), people)


def _step(
    players: Players,
    data: Windows,
    recipe: Recipe,
    seed: int,
    step: int,
    total: int,
    fabric: Fabric,
    marginals: Marginals | None,
) -> dict[str, float]:
    """One generator update, after its critic updates; step counts from 0.

    Each synthetic window is made for the condition of the real one in its place, and the critic judges both under it:
    what the pair differs in is then not what the labels explain.
    """
    t, objective = recipe.training, OBJECTIVES[recipe.training.objective]
    generator, critic = players.generator, players.critic
    rng = torch.Generator().manual_seed(int(stream(seed, TORCH, step).integers(2**63)))
    draws = stream(seed, NOISE, step)
    _set_rate(players.optimizers, t.learning_rate, t.decay, step / total)

    def fake(rows: np.ndarray) -> Tensor:
        noise = stack([generator.draw(draws, data.condition(row)) for row in rows], fabric.device)
        if hasattr(generator, "follow"):
            noise = generator.follow(noise, data.tensor[rows].to(fabric.device))
        return generator(noise).float()

    def seen(x: Tensor) -> Tensor:
        if hasattr(critic, "look"):
            return critic.look(x, rng, t.augment_gain)
        return _augment(x, t.augment_gain, t.augment_noise, rng)

    for update in range(t.critic_steps):
        number = step * t.critic_steps + update
        rows = _batch_rows(seed, number, t.batch, len(data.tensor))
        real = data.tensor[rows].to(fabric.device)
        told = data.told(rows, fabric.device)
        with fabric.autocast():  # anew for each update: it keeps weights as they were cast first
            with torch.no_grad():
                made = fake(rows)
            loss_critic = objective.critic_loss(critic, Pair(seen(real), seen(made), told), rng, t, number)
        _update(players.optimizers[1], loss_critic, fabric)
    critic.requires_grad_(False)
    with fabric.autocast():
        loss_generator = objective.generator_loss(critic, Pair(seen(real), seen(fake(rows)), told), rng, t)
    generator_loss = loss_generator.item()
    if marginals is not None and step % t.marginals_every == 0:
        for part in marginals.parts(draws):
            among = np.arange(len(data.tensor)) if part is None else part.rows
            many = among[draws.integers(len(among), size=t.marginals_batch)]
            loss_generator = loss_generator + t.marginals * t.marginals_every * marginals.loss(
                fake(many), rng, data.told(many, fabric.device), part
            )
    if not torch.isfinite(loss_generator):
        generator_loss = float("nan")  # whichever part it was
    _update(players.optimizers[0], loss_generator, fabric)
    critic.requires_grad_(True)
    _average(players.average, generator, min(t.ema, (step + 1) / (step + 10)))
    return {"critic_loss": loss_critic.item(), "generator_loss": generator_loss}


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, fabric: Fabric) -> None:
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()


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


def _picture_steps(total: int, number: int) -> set[int]:
    return {round(total * i / (number - 1)) for i in range(number)} if number > 1 else set()


def _require_finite(row: dict[str, Any], folder: RunFolder) -> None:
    for name in ("critic_loss", "generator_loss"):
        if not np.isfinite(row[name]):
            raise RunError(
                f"{folder.path}: {name} is {row[name]} at step {row['step']}: training diverged; "
                "fit again with a lower training.learning_rate"
            )
