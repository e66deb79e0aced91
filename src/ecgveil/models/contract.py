"""What training asks of a model: a `Settings` class, a `Generator` and a `Critic`, tensors in, tensors out.

- `Generator(settings, context)`: `.draw(rng, condition)` gives the noise of one sample as a dict of arrays, so that a
  sample depends on its own random stream alone; `.forward(noise)` takes those dicts stacked and returns
  (B, *context.shape).
- `Critic(settings, context)`: `.forward(x, rng, condition)` takes (B, *context.shape) and gives scores (B, any number);
  whatever it draws (crops, phase shuffle) comes from `rng`. One with a class head also has `.classified(x, rng)`: the
  scores, and class logits (B, n_conditions).

More, where a model has it: `Generator.follow(noise, real)` gives noise that shares with real samples what is not to be
told apart; `Critic.know(real)` learns scales from the training part before anything else; `Critic.look(x, rng, gain)`
gives what `forward` takes in the place of samples, changed at random in training (with `rng`) so that few samples
become many; the penalties are of gradients by it. See `looked`.

A condition has `context.n_conditions` values (see `conditions`), for the critic (B, n_conditions). Where that is 0 it
is None, as it always is for a model that takes none.

A new architecture is one file with these three names, one line in `models.MODELS`, and one recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from ecgveil.rhythm import LabelledRhythm, Rhythm

Noise = dict[str, np.ndarray]


class Settings(BaseModel):
    """Base of every group of settings: typed, frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Context:
    """What a model must know of its data.

    Tensor shape of one sample, fs in Hz, the rhythm if one was fitted, and the number of labels in a condition.
    """

    shape: tuple[int, ...]
    fs: float
    rhythm: Rhythm | LabelledRhythm | None = None
    n_conditions: int = 0


def stack(noises: list[Noise], device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Noise of several samples -> one batch, float32."""
    return {
        name: torch.from_numpy(np.stack([noise[name] for noise in noises]).astype(np.float32)).to(device)
        for name in noises[0]
    }


def looked(critic: Any, x: torch.Tensor) -> torch.Tensor:
    """What the critic is to be shown of samples."""
    shown: torch.Tensor = critic.look(x) if hasattr(critic, "look") else x
    return shown
