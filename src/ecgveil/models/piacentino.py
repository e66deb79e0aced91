"""P1's convolutional image GAN: three hidden layers of 64, 128 and 256 nodes, noise of 100 (section 3.3.3)."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgveil.models.contract import Context, Noise, Settings


class CnnSettings(Settings):
    widths: tuple[int, int, int] = Field((64, 128, 256), description="nodes of the three hidden layers")
    latent: int = Field(100, ge=1, le=4096, description="size of the noise vector")


def _halved(side: int) -> int:
    """Side of an image after a stride of 2 (kernel 5, padding 2)."""
    return (side + 1) // 2


class Generator(nn.Module):
    """(B, latent) -> (B, C, side, side) in [-1, 1]."""

    def __init__(self, settings: CnnSettings, context: Context):
        super().__init__()
        channels, side, _ = context.shape
        first, second, third = settings.widths
        sides = [side, _halved(side), _halved(_halved(side)), _halved(_halved(_halved(side)))]  # 45, 23, 12, 6
        self.latent = settings.latent
        layers: list[nn.Module] = [
            nn.Linear(settings.latent, third * sides[3] ** 2),
            nn.Unflatten(1, (third, sides[3], sides[3])),
            nn.BatchNorm2d(third),
            nn.ReLU(),
        ]
        for a, b, small, large in ((third, second, 3, 2), (second, first, 2, 1), (first, channels, 1, 0)):
            extra = sides[large] - (2 * sides[small] - 1)  # output_padding that meets the size exactly
            layers.append(nn.ConvTranspose2d(a, b, 5, stride=2, padding=2, output_padding=extra))
            layers += [nn.BatchNorm2d(b), nn.ReLU()] if large else [nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        return {"z": rng.standard_normal(self.latent)}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        return self.net(noise["z"])


class Critic(nn.Module):
    """(B, C, side, side) -> logits (B, 1)."""

    def __init__(self, settings: CnnSettings, context: Context):
        super().__init__()
        channels, side, _ = context.shape
        layers: list[nn.Module] = []
        for a, b in zip((channels, *settings.widths), settings.widths, strict=False):
            layers += [nn.Conv2d(a, b, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
            side = _halved(side)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(settings.widths[-1] * side**2, 1))

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self.net(x)
