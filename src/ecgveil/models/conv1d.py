"""The 1-D convolutional pair of P3's DCGAN, WGAN-GP, ACGAN and AC-WGAN-GP, for signals of any length.

Strides of 2 and widths that double (Radford et al. 2016, DCGAN, section 3), kernels of 4 and a base width of 64 as in
the code that Adib et al. 2022 (arXiv:2202.00569) published for beats of 256 samples. There a linear layer stretches 64
samples to 256; here the strides go all the way, as many as the length asks for. The critic is told the condition as
constant channels (Mirza and Osindero 2014), as that code's is even in its AC-WGAN-GP; the one with a class head (Odena
2017) is not told it, and names it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgveil.models.contract import Context, Noise, Settings
from ecgveil.models.pulse2pulse import with_condition

_SHORTEST = 16  # samples, from which on no stride is added
_WIDEST = 8  # times the base width


class Conv1dSettings(Settings):
    width: int = Field(64, ge=2, le=1024, description="base width of both networks, doubled at each stride up to 8 x")
    latent: int = Field(100, ge=1, le=4096, description="size of the noise vector")
    kernel: int = Field(4, ge=4, le=64, multiple_of=2, description="of every convolution, samples")
    critic_norm: Literal["none", "instance", "batch"] = Field(
        "none", description="normalisation in the critic; batch is not made for a gradient penalty"
    )


def lengths(n_samples: int) -> list[int]:
    """Samples at every level, from the signal down to at most 16; one stride at the least.

    >>> lengths(200), lengths(16)
    ([200, 100, 50, 25, 13], [16, 8])
    """
    found = [n_samples, -(-n_samples // 2)]
    while found[-1] > _SHORTEST:
        found.append(-(-found[-1] // 2))
    return found


def _widths(base: int, levels: int) -> list[int]:
    """Channels below the signal, level by level."""
    return [base * min(2**level, _WIDEST) for level in range(levels)]


def _norm(name: str, channels: int) -> nn.Module:
    if name == "batch":
        return nn.BatchNorm1d(channels)
    return nn.InstanceNorm1d(channels, affine=True) if name == "instance" else nn.Identity()


def _initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02) (Radford et al. 2016, section 4)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(layer.weight, 0.0, 0.02)


class Generator(nn.Module):
    """Normal noise (B, latent) and a condition (B, k) -> (B, C, T) in [-1, 1]."""

    def __init__(self, settings: Conv1dSettings, context: Context):
        super().__init__()
        channels, n_samples = context.shape
        self.latent, self.lengths = settings.latent, lengths(n_samples)[::-1]  # from the lowest
        widths = [channels, *_widths(settings.width, len(self.lengths) - 1)][::-1]
        self.first = nn.Sequential(
            nn.Linear(settings.latent + context.n_conditions, widths[0] * self.lengths[0]),
            nn.Unflatten(1, (widths[0], self.lengths[0])),
            nn.BatchNorm1d(widths[0]),
            nn.ReLU(),
        )
        kernel = settings.kernel
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(a, b, kernel, stride=2, padding=kernel // 2 - 1, bias=b == widths[-1])
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:-1])
        _initialise(self)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        noise = {"z": rng.standard_normal(self.latent)}
        return noise if condition is None else {**noise, "condition": condition}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        z = noise["z"] if "condition" not in noise else torch.cat([noise["z"], noise["condition"]], dim=1)
        x = self.first(z)  # (B, 8 width, shortest)
        for up, norm, length in zip(self.ups, [*self.norms, None], self.lengths[1:], strict=True):
            x = up(x)[..., :length]  # (B, width, 2 T) -> odd lengths lose one
            x = torch.relu(norm(x)) if norm is not None else torch.tanh(x)
        return x


class Critic(nn.Module):
    """(B, C, T) -> (B, 1); a condition (B, k) comes in as constant channels."""

    told = True

    def __init__(self, settings: Conv1dSettings, context: Context):
        super().__init__()
        channels, n_samples = context.shape
        levels = len(lengths(n_samples)) - 1
        widths = [channels + context.n_conditions * self.told, *_widths(settings.width, levels)]
        layers: list[nn.Module] = []
        for level, (a, b) in enumerate(pairwise(widths)):
            layers.append(nn.Conv1d(a, b, settings.kernel, stride=2, padding=settings.kernel // 2 - 1))
            if level:  # the first is left alone (Radford et al. 2016, section 3)
                layers.append(_norm(settings.critic_norm, b))
            layers.append(nn.LeakyReLU(0.2))
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.n_features = widths[-1] * (n_samples >> levels)
        self.score = nn.Linear(self.n_features, 1)
        if settings.critic_norm != "none":  # so small, they would let nothing through without a norm
            _initialise(self)

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self.score(self.trunk(with_condition(x, condition)))


class ClassCritic(Critic):
    """(B, C, T) -> scores (B, 1), and `classified` the logits of the classes too, (B, k); it is not told the class."""

    told = False

    def __init__(self, settings: Conv1dSettings, context: Context):
        super().__init__(settings, context)
        self.classes = nn.Linear(self.n_features, context.n_conditions) if context.n_conditions else nn.Identity()

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self.score(self.trunk(x))

    def classified(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        features = self.trunk(x)
        return self.score(features), self.classes(features)
