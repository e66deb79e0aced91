"""P1's fully connected image GAN: one hidden layer of 64 nodes in each player (section 3.3.3).

P1 writes of "linear activation functions", and of binary cells that become contrasted and a NULL area that becomes 0.
Taken by the letter, the critic is linear and can tell two distributions by their means alone, so that nothing else is
learned: `activation = "linear"` shows it. We read it as linear (fully connected) layers, with the leaky rectifier usual
in such networks between them, and a linear end of the generator that is cut at black and white, as an image's grey
range is: `end = "clip"`. NULL lies at the very edge of that range. Whatever falls beyond it is exactly 0, and once it
is so for every noise vector no gradient of its own calls it back: so a NULL area becomes all 0 and stays it. A tanh,
which only nears its ends, comes and goes around 0 instead (`end = "tanh"`). The price of the clip: a feature whose
values lie at the same edge (TSH), or a rare yes (goitre), can be lost in the same way.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgveil.models.contract import Context, Noise, Settings

Activation = Literal["leaky", "relu", "linear"]
End = Literal["clip", "tanh"]


class FcnSettings(Settings):
    hidden: int = Field(64, ge=1, le=65536, description="nodes of the one hidden layer, of each player")
    latent: int = Field(5, ge=1, le=4096, description="size of the noise vector")
    activation: Activation = Field("leaky", description="of the hidden layers: leaky (0.2), relu or linear (none)")
    end: End = Field("clip", description="of the generator: linear, cut at both ends of the grey range; or tanh")


def _activation(name: Activation) -> nn.Module:
    return {"leaky": nn.LeakyReLU(0.2), "relu": nn.ReLU(), "linear": nn.Identity()}[name]


class Generator(nn.Module):
    """(B, latent) -> (B, *shape) in [-1, 1]."""

    def __init__(self, settings: FcnSettings, context: Context):
        super().__init__()
        self.latent = settings.latent
        self.net = nn.Sequential(
            nn.Linear(settings.latent, settings.hidden),
            _activation(settings.activation),
            nn.Linear(settings.hidden, prod(context.shape)),
            nn.Hardtanh() if settings.end == "clip" else nn.Tanh(),
            nn.Unflatten(1, context.shape),
        )

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        return {"z": rng.standard_normal(self.latent)}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        return self.net(noise["z"])


class Critic(nn.Module):
    """(B, *shape) -> logits (B, 1)."""

    def __init__(self, settings: FcnSettings, context: Context):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(prod(context.shape), settings.hidden),
            _activation(settings.activation),
            nn.Linear(settings.hidden, 1),
        )

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self.net(x)
