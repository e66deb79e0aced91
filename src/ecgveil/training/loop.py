"""The one loop that drives any generator and critic, and what is looked at, kept and written along it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ecgveil.errors import RunError
from ecgveil.recipe import Recipe
from ecgveil.training.choosing import Chooser
from ecgveil.training.looks import Windows
from ecgveil.training.monitors import Watch
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.step import Step
from ecgveil.training.team import together


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
    data = Windows(torch.from_numpy(windows), conditions)
    with together(folder, data, people, start) as fabric:
        advance = Step(players, data, people, recipe, seed, fabric)
        watch = Watch(players, data, validation, recipe, seed, total, fabric.device, folder.metrics())
        pictures = _picture_steps(total, t.pictures)
        snapshots = {round(total * i / t.snapshots) for i in range(1, t.snapshots + 1)}
        if start == 0 and 0 in pictures:
            on_picture(0, players.average)
        saved_at = began = time.monotonic()
        step = start
        while fabric.broadcast(step < total and not stop() and not (chooser and chooser.ended)):
            losses = advance(step)
            step += 1
            _require_finite(step, losses, folder)  # before anything of it is saved
            candidate = chooser is not None and step in chooser.steps
            if step % watch.log_every == 0 or step == total or candidate:
                row = {"step": step, "epoch": step * t.batch * t.critic_steps / len(windows), **losses}
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
    _require_finite(step, {"sum of the weights": players.weights_sum()}, folder)  # losses are of before the last update
    weights, choice = chooser.kept(players.average) if chooser else (players.average.state_dict(), None)
    folder.save(step, players.state(), weights, choice)


def _picture_steps(total: int, number: int) -> set[int]:
    return {round(total * i / (number - 1)) for i in range(number)} if number > 1 else set()


def _require_finite(step: int, losses: dict[str, float], folder: RunFolder) -> None:
    for name, loss in losses.items():
        if not np.isfinite(loss):
            raise RunError(
                f"{folder.path}: {name} is {loss} at step {step}: training diverged; "
                "fit again with a lower training.learning_rate"
            )
