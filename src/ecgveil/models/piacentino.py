"""P1's convolutional image GAN: three hidden layers of 64, 128 and 256 nodes, noise of 100 (section 3.3.3).

Where there are classes it is P1's ACGAN (section 4.6): the generator is fed with the class beside the noise, and the
critic ends in two parallel layers, of which one tells real from synthetic and the other the class.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgveil.models.contract import Context, Noise, Settings

_Width = Annotated[int, Field(ge=1, le=4096)]


class CnnSettings(Settings):
    widths: tuple[_Width, _Width, _Width] = Field((64, 128, 256), description="nodes of the three hidden layers")
    latent: int = Field(100, ge=1, le=4096, description="size of the noise vector")
    critic_norm: Literal["none", "batch"] = Field("batch", description="of the critic's inner layers")


Size = tuple[int, int]


def _halved(size: Size) -> Size:
    """Height and width of an image after a stride of 2 (kernel 5, padding 2)."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


class Generator(nn.Module):
    """Noise (B, latent), and classes (B, k) if there are any -> (B, C, height, width) in [-1, 1]."""

    def __init__(self, settings: CnnSettings, context: Context):
        super().__init__()
        channels, height, width = context.shape
        first, second, third = settings.widths
        sizes = [(height, width)]
        for _ in settings.widths:
            sizes.append(_halved(sizes[-1]))  # sides of 45, 23, 12, 6
        self.latent = settings.latent
        layers: list[nn.Module] = [
            nn.Linear(settings.latent + context.n_conditions, third * sizes[3][0] * sizes[3][1]),
            nn.Unflatten(1, (third, *sizes[3])),
            nn.BatchNorm2d(third),
            nn.ReLU(),
        ]
        for a, b, small, large in ((third, second, 3, 2), (second, first, 2, 1), (first, channels, 1, 0)):
            # output_padding that meets the size exactly
            extra = (sizes[large][0] - (2 * sizes[small][0] - 1), sizes[large][1] - (2 * sizes[small][1] - 1))
            layers.append(nn.ConvTranspose2d(a, b, 5, stride=2, padding=2, output_padding=extra))
            layers += [nn.BatchNorm2d(b), nn.ReLU()] if large else [nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        noise = {"z": rng.standard_normal(self.latent)}
        return noise if condition is None else {**noise, "condition": condition}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        given = [noise[name] for name in ("z", "condition") if name in noise]
        return self.net(torch.cat(given, dim=1))


class Critic(nn.Module):
    """(B, C, height, width) -> logits (B, 1); `classified` adds those of the classes, (B, k)."""

    def __init__(self, settings: CnnSettings, context: Context):
        super().__init__()
        channels, *size = context.shape
        layers: list[nn.Module] = []
        for a, b in zip((channels, *settings.widths), settings.widths, strict=False):
            layers.append(nn.Conv2d(a, b, 5, stride=2, padding=2))
            if layers[1:] and settings.critic_norm == "batch":  # not at the image itself
                # P1 leaves it open. Without it 2,500 steps show no ECG, with it 1,600 do. Statistics are always those
                # of the batch: running ones would mix real windows with synthetic ones.
                layers.append(nn.BatchNorm2d(b, track_running_stats=False))
            layers.append(nn.LeakyReLU(0.2))
        height, width = _halved(_halved(_halved((size[0], size[1]))))
        features = settings.widths[-1] * height * width
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 1))
        self.classes = nn.Linear(features, context.n_conditions) if context.n_conditions else None

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """Scores alone. The class is for the other layer to tell: it plays no part in them."""
        return self.net(x)

    def classified(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        assert self.classes is not None  # the recipe was checked for classes
        features = self.net[:-1](x)
        return self.net[-1](features), self.classes(features)
