"""BiLSTM-CNN (Zhu et al. 2019, Sci Rep 9:6734): two bidirectional LSTM layers generate, a small CNN judges.

The generator reads a few normal numbers a sample and says one value a lead and sample. The critic is two pairs of
convolution and pooling, a hidden layer and a score. The paper gives kernels and strides for 3,120 samples; here kernels
keep their share of what they look at, and the four strides shrink together with the length, so that the last layer sees
about as many values. That, and a condition as constant channels beside noise and signal, is ours.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgveil.models.contract import Context, Noise, Settings
from ecgveil.models.pulse2pulse import with_condition

_LENGTH = 3120  # samples that kernels and strides are given for
_STRIDES = (5, 3, 3, 3)  # convolution, pooling, convolution, pooling
_SHARES = (120 / 3120, 46 / 601, 36 / 186, 24 / 51)  # kernel over the length of its input
_WIDTHS = (10, 5)  # of the two convolutions


class BilstmSettings(Settings):
    hidden: int = Field(100, ge=2, le=1000, description="cells of each LSTM layer and direction")
    latent: int = Field(5, ge=1, le=100, description="noise numbers a sample")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of LSTM outputs dropped in training")
    critic_hidden: int = Field(25, ge=1, le=1000, description="nodes of the critic's hidden layer")


class Generator(nn.Module):
    """Normal noise (B, latent, T) -> (B, C, T) in [-1, 1]."""

    def __init__(self, settings: BilstmSettings, context: Context):
        super().__init__()
        channels, self.n_samples = context.shape
        self.latent, self.dropout, self.outputs = settings.latent, settings.dropout, 2 * settings.hidden
        self.lstm = nn.LSTM(
            settings.latent + context.n_conditions, settings.hidden, 2, batch_first=True, bidirectional=True
        )
        self.last = nn.Linear(self.outputs, channels)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        noise: Noise = {"z": rng.standard_normal((self.latent, self.n_samples), np.float32)}
        if condition is not None:
            noise["condition"] = condition
        if self.training and self.dropout:  # from the sample's own stream: torch's global one is not resumed
            kept = rng.random((self.n_samples, self.outputs), np.float32) >= self.dropout
            noise["kept"] = kept / np.float32(1 - self.dropout)
        return noise

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        x = with_condition(noise["z"], noise.get("condition")).transpose(1, 2)  # (B, T, latent + k)
        x, _ = self.lstm(x)  # (B, T, 2 hidden)
        if "kept" in noise:
            x = x * noise["kept"]
        return torch.tanh(self.last(x)).transpose(1, 2)  # (B, C, T)


class Critic(nn.Module):
    """(B, C, T) -> (B, 1)."""

    def __init__(self, settings: BilstmSettings, context: Context):
        super().__init__()
        channels, length = context.shape
        first, second = _WIDTHS
        layers: list[nn.Module] = []
        kinds = ((channels + context.n_conditions, first), None, (first, second), None)
        scale = (length / _LENGTH) ** (1 / len(_STRIDES))
        for widths, share, published in zip(kinds, _SHARES, _STRIDES, strict=True):
            stride = max(1, round(published * scale))
            kernel = min(length, max(stride, round(share * length)))
            if widths:
                layers += [nn.Conv1d(*widths, kernel, stride), nn.LeakyReLU(0.2)]
            else:
                layers.append(nn.MaxPool1d(kernel, stride))
            length = (length - kernel) // stride + 1
        self.net = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(second * length, settings.critic_hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(settings.critic_hidden, 1),
        )

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        return self.net(with_condition(x, condition))
