"""P2's WaveGAN*: 100 numbers -> an ECG, through a dense layer and six upsampling blocks; the critic is pulse2pulse's.

A block is upsampling, constant padding, a 1-D convolution and ReLU, tanh in the last (P2, Methods). Factors and widths
are those of the blocks that lead up in pulse2pulse, without its bypasses. A condition, which the publication has none
of, stands beside the noise, and as constant channels before the critic.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ecgveil.models.contract import Context, Noise, Settings
from ecgveil.models.pulse2pulse import KERNEL, SHARES, STRIDES, Critic, start, upsampled_conv

__all__ = ["Critic", "Generator", "WaveGanSettings"]


class WaveGanSettings(Settings):
    latent: int = Field(100, ge=1, le=10_000, description="size of the uniform noise; 100 is the published one")
    width: int = Field(50, ge=5, le=500, description="base width of the generator, as pulse2pulse's")
    critic_width: int = Field(16, ge=1, le=200, description="base width of the critic; 50 is the published one")
    phase_shuffle: int = Field(2, ge=0, le=50, description="largest random shift between critic layers, samples")


class Generator(nn.Module):
    """Uniform noise (B, latent) -> (B, C, T) in [-1, 1]."""

    def __init__(self, settings: WaveGanSettings, context: Context):
        super().__init__()
        channels, n_samples = context.shape
        self.latent, self.start = settings.latent, n_samples // int(np.prod(STRIDES))
        widths = [max(1, round(settings.width * share)) for share in SHARES[::-1]]
        # As wide as the noise: a few values beside a hundred would hardly be heard.
        self.condition = nn.Linear(context.n_conditions, settings.latent) if context.n_conditions else None
        self.dense = nn.Linear(settings.latent * (2 if self.condition else 1), widths[0] * self.start)
        self.up = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, padding=KERNEL // 2) for a, b in zip(widths, [*widths[1:], channels], strict=True)
        )
        start(self)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        noise = {"z": rng.random(self.latent, dtype=np.float32) * 2 - 1}
        return noise if condition is None else {**noise, "condition": condition}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        z = noise["z"]
        if self.condition is not None:
            z = torch.cat([z, self.condition(noise["condition"])], dim=1)
        x = F.relu(self.dense(z)).unflatten(1, (-1, self.start))  # (B, C, start)
        for i, (conv, stride) in enumerate(zip(self.up, STRIDES[::-1], strict=True)):
            x = upsampled_conv(x, conv, stride)
            x = torch.tanh(x) if i == len(self.up) - 1 else F.relu(x)
        return x
