"""P2's Pulse2Pulse: a 1-D U-Net from noise of the ECG's own size to an ECG, and WaveGAN's critic made deeper.

Six downsampling blocks, six upsampling blocks with bypasses, seven critic layers with phase shuffle (P2, Methods).
Channel widths follow the sizes of the weights its authors published; the critic's, which has over 200 million weights
there, is a setting. A condition, which the publication has none of, enters both as constant channels beside the signal.
Factors and widths are WaveGAN*'s too (see `wavegan`).
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ecgveil.models.contract import Context, Noise, Settings

STRIDES = (2, 5, 2, 5, 5, 5)
SHARES = (0.2, 0.5, 1, 3, 5, 5)  # of the width, after each downsampling block
_CRITIC_STRIDES = (2, 2, 2, 2, 4, 4, 4)
_CRITIC_SHARES = (1, 2, 5, 10, 20, 25, 100)
KERNEL = 25


class Pulse2PulseSettings(Settings):
    width: int = Field(50, ge=5, le=500, description="base width of the generator; 50 is the published one")
    critic_width: int = Field(16, ge=1, le=200, description="base width of the critic; 50 is the published one")
    phase_shuffle: int = Field(2, ge=0, le=50, description="largest random shift between critic layers, samples")


def with_condition(x: Tensor, condition: Tensor | None) -> Tensor:
    """(B, C, T) with a constant channel for each label: (B, C + k, T)."""
    if condition is None:
        return x
    return torch.cat([x, condition[:, :, None].expand(-1, -1, x.shape[2])], dim=1)


def upsampled_conv(x: Tensor, conv: nn.Module, factor: int) -> Tensor:
    """Nearest upsampling by `factor`, then a same-padded convolution: (B, C, T) -> (B, C', factor * T).

    Upsampled neighbours are equal, so taps that meet the same value are added up beforehand and the convolution runs
    at the low rate, once for each of the `factor` phases: the same numbers for a fraction of the arithmetic.
    """
    weight, bias = conv.get_parameter("weight"), conv.get_parameter("bias")
    kernel = weight.shape[2]
    reach = kernel // 2
    phase, tap = torch.arange(factor)[:, None], torch.arange(kernel)[None] - reach
    source = torch.div(phase + tap, factor, rounding_mode="floor")  # which low-rate sample a tap meets
    side = int(-source.min())
    taps = torch.arange(-side, side + 1)
    fold = (source[:, :, None] == taps).to(weight)  # (factor, kernel, taps)
    folded = torch.einsum("oik,pkt->opit", weight, fold).flatten(0, 1)  # (C' factor, C, taps)
    y = F.conv1d(x, folded, bias.repeat_interleave(factor), padding=side)  # (B, C' factor, T)
    return y.unflatten(1, (-1, factor)).transpose(2, 3).flatten(2)


def start(network: nn.Module) -> None:
    """Normal weights after He et al. 2015, as the published critic's, and no biases.

    With torch's defaults samples of an untrained WaveGAN* differ by 0.3 % of their spread, and it never gets away.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))


class Generator(nn.Module):
    """Uniform noise (B, C, T) -> (B, C, T) in [-1, 1]."""

    def __init__(self, settings: Pulse2PulseSettings, context: Context):
        super().__init__()
        self.shape = context.shape
        channels, _ = context.shape  # its length is a multiple of the product of the strides, 2500
        widths = [channels, *(max(1, round(settings.width * share)) for share in SHARES)]
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride=stride, padding=KERNEL // 2)
            for a, b, stride in zip([channels + context.n_conditions, *widths[1:-1]], widths[1:], STRIDES, strict=True)
        )
        # Upwards the same widths in reverse; each block but the first sees its bypass beside its input.
        ups = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(
            nn.Conv1d(a * (1 if i == 0 else 2), b, KERNEL, padding=KERNEL // 2) for i, (a, b) in enumerate(ups)
        )
        start(self)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        noise = {"z": rng.random(self.shape, dtype=np.float32) * 2 - 1}
        return noise if condition is None else {**noise, "condition": condition}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        x = with_condition(noise["z"], noise.get("condition"))
        bypasses: list[Tensor] = []
        for conv in self.down:
            x = F.leaky_relu(conv(x), 0.2)
            bypasses.append(x)
        bypasses.pop()
        for i, (conv, stride) in enumerate(zip(self.up, STRIDES[::-1], strict=True)):
            if i:
                x = torch.cat([x, bypasses.pop()], dim=1)
            x = upsampled_conv(x, conv, stride)
            x = torch.tanh(x) if i == len(self.up) - 1 else F.relu(x)
        return x


def phase_shuffle(x: Tensor, reach: int, rng: torch.Generator) -> Tensor:
    """Shift each sample of (B, C, T) by its own -reach..reach, mirrored at the ends (Donahue 2019, section 3.3)."""
    if not reach:
        return x
    shift = torch.randint(-reach, reach + 1, (x.shape[0], 1), generator=rng).to(x.device)
    where = torch.arange(x.shape[2], device=x.device) + shift  # (B, T)
    last = x.shape[2] - 1
    where = last - (last - where.abs()).abs()
    return x.gather(2, where[:, None].expand(-1, x.shape[1], -1))


class Critic(nn.Module):
    """(B, C, T) -> (B, 1)."""

    def __init__(self, settings: Pulse2PulseSettings, context: Context):
        super().__init__()
        channels, n_samples = context.shape
        widths = [channels + context.n_conditions, *(settings.critic_width * share for share in _CRITIC_SHARES)]
        self.reach = settings.phase_shuffle
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, stride=stride, padding=KERNEL // 2)
            for a, b, stride in zip(widths[:-1], widths[1:], _CRITIC_STRIDES, strict=True)
        )
        for stride in _CRITIC_STRIDES:
            n_samples = -(-n_samples // stride)
        self.score = nn.Linear(widths[-1] * n_samples, 1)
        start(self)

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        x = with_condition(x, condition)
        for i, conv in enumerate(self.convs):
            x = F.leaky_relu(conv(x), 0.2)
            if i < len(self.convs) - 1:  # "each layer is followed by" a shuffle; the last feeds the score
                x = phase_shuffle(x, self.reach, rng)
        return self.score(x.flatten(1))
