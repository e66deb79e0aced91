"""Our own generator: of the parts that an ECG is made of (see `ecgveil.complexes`), not of its samples.

One sample is flat: C complexes of 256 samples, then m numbers on noise and variation, the last four of which are the
rhythm's statistics. These are drawn from the population's density before anything else, so that a heart rate that is
asked for is the one that is made. A style, made of noise, rhythm and condition, modulates a small convolutional network
that draws the complexes of all leads at once; the numbers come from the same style. The critic sees complexes in
several views and their simple features (see `veil_looks`), and judges patches, numbers with features, and the whole.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ecgveil.complexes.parts import LENGTH
from ecgveil.models.contract import Context, Noise, Settings
from ecgveil.models.veil_looks import changed, simple_features, split, spread, views
from ecgveil.rhythm import STATISTICS, standard_statistics

_START = 16  # positions that the network begins with
_DOUBLINGS = 4
_MOST_REAL = 4096  # samples that stand for the population
_FARTHEST, _GRAIN = 6.0, 0.2  # of features, in standard deviations: where cut, and the noise on them in training


class VeilSettings(Settings):
    latent: int = Field(64, ge=4, le=1024, description="size of the style noise")
    width: int = Field(48, ge=4, le=512, description="channels of the generator at full length")
    style: int = Field(128, ge=8, le=1024, description="size of the style")
    critic_width: int = Field(48, ge=4, le=512, description="channels of the critic's first layer")


class Modulated(nn.Module):
    """A convolution whose channels a style scales and shifts, with noise: (B, a, T) -> (B, b, T)."""

    def __init__(self, a: int, b: int, style: int):
        super().__init__()
        self.conv = nn.Conv1d(a, b, 5, padding=2)
        self.modulation = nn.Linear(style, 2 * b)
        self.noise = nn.Parameter(torch.zeros(1, b, 1))
        nn.init.normal_(self.modulation.weight, std=0.5 / style**0.5)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, w: Tensor, grain: Tensor) -> Tensor:
        scale, shift = self.modulation(w)[:, :, None].chunk(2, dim=1)
        return F.leaky_relu(self.conv(x) * (1 + scale) + shift, 0.2) * 1.2 + self.noise * grain


class Generator(nn.Module):
    """Noise of `draw` -> (B, C LENGTH + m)."""

    def __init__(self, settings: VeilSettings, context: Context):
        super().__init__()
        if context.rhythm is None:
            raise ValueError("the veil model needs a fitted rhythm")
        self.rhythm, self.latent = context.rhythm, settings.latent
        self.leads, numbers = divmod(context.shape[0], LENGTH)
        self.numbers = numbers - len(STATISTICS)
        style, width = settings.style, settings.width
        # As wide as the noise of the style: a few labels beside it would hardly be heard.
        self.condition = nn.Linear(context.n_conditions, settings.latent) if context.n_conditions else None
        inputs = settings.latent * (2 if self.condition else 1) + len(STATISTICS)
        layers = [nn.Linear(a, style) for a in (inputs, style, style)]
        self.style = nn.Sequential(*itertools.chain.from_iterable((each, nn.LeakyReLU(0.2)) for each in layers))
        self.first = nn.Linear(style, 2 * width * _START)
        widths = [2 * width, 2 * width, 2 * width, 2 * width, width, width]
        self.blocks = nn.ModuleList(Modulated(a, b, style) for a, b in itertools.pairwise(widths))
        self.to_leads = nn.Conv1d(width, self.leads, 5, padding=2)
        self.gain = nn.Linear(style, self.leads)
        nn.init.zeros_(self.gain.weight)
        nn.init.zeros_(self.gain.bias)
        self.tell = nn.Sequential(
            nn.Linear(style + self.numbers, 256), nn.LeakyReLU(0.2), nn.Linear(256, 256), nn.LeakyReLU(0.2),
            nn.Linear(256, self.numbers),
        )  # fmt: skip
        self.scatter = nn.Parameter(torch.full((self.numbers,), 0.3))  # of numbers estimated from 10 s

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        """The noise of one sample."""
        noise = {
            "statistics": standard_statistics(self.rhythm.statistics(rng, condition)),
            "z": rng.standard_normal(self.latent),
            "chance": rng.standard_normal((2, self.numbers)),
        }
        for doubling in range(_DOUBLINGS + 1):
            noise[f"grain_{doubling}"] = rng.standard_normal((1, _START * 2**doubling))
        return noise if condition is None else {**noise, "condition": condition}

    @staticmethod
    def follow(noise: dict[str, Tensor], real: Tensor) -> dict[str, Tensor]:
        """The noise, with the rhythms of real samples: what a pair differs in is then not the heart rate."""
        return {**noise, "statistics": real[:, -len(STATISTICS) :]}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        style = [noise["z"], noise["statistics"]]
        if self.condition is not None:
            style.append(self.condition(noise["condition"]))
        w = self.style(torch.cat(style, dim=1))
        x = self.first(w).unflatten(1, (-1, _START))
        for i, block in enumerate(self.blocks):
            if i:
                x = F.interpolate(x, scale_factor=2, mode="linear", align_corners=False)
            x = block(x, w, noise[f"grain_{i}"])
        complexes = self.to_leads(x) * torch.exp(self.gain(w))[:, :, None]  # (B, C, LENGTH)
        given, added = noise["chance"].unbind(dim=1)
        numbers = self.tell(torch.cat([w, given], dim=1)) + self.scatter * added
        return torch.cat([complexes.flatten(1), numbers, noise["statistics"]], dim=1)


class Critic(nn.Module):
    """What `look` gives of samples -> scores (B, patches + 2)."""

    mean: Tensor
    sd: Tensor

    def __init__(self, settings: VeilSettings, context: Context):
        super().__init__()
        self.size = context.shape[0]
        leads, numbers = divmod(self.size, LENGTH)
        width = settings.critic_width
        features = simple_features(torch.zeros(1, leads, LENGTH)).shape[1]
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("sd", torch.ones(features))
        sizes = [3 * leads, width, 2 * width, 2 * width, 2 * width]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, kernel, stride=2, padding=kernel // 2)
            for (a, b), kernel in zip(itertools.pairwise(sizes), (9, 7, 7, 5), strict=True)
        )
        self.patch = nn.Conv1d(2 * width, 1, 3, padding=1)
        self.listen = nn.Sequential(
            nn.Linear(numbers + features + context.n_conditions, 256), nn.LeakyReLU(0.2),
            nn.Linear(256, 128), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.of_numbers = nn.Linear(128, 1)
        self.join = nn.Sequential(nn.Linear(2 * width * LENGTH // 2**4 + 128 + 1, 256), nn.LeakyReLU(0.2))
        self.whole = nn.Linear(256, 1)
        self.label = nn.Linear(context.n_conditions, 256) if context.n_conditions else None
        if self.label is not None:  # at first a condition changes nothing
            nn.init.zeros_(self.label.weight)
            nn.init.zeros_(self.label.bias)

    @torch.no_grad()
    def know(self, real: Tensor) -> None:
        """Take the population's means and standard deviations of features from samples (n, C LENGTH + m)."""
        features = simple_features(split(real[:: -(-len(real) // _MOST_REAL)])[0])
        self.mean.copy_(features.mean(dim=0))
        self.sd.copy_(spread(features))

    def look(self, x: Tensor, rng: torch.Generator | None = None, gain: float = 0.0) -> Tensor:
        """(B, C LENGTH + m) -> the same and its standard features: by gradients of both is the critic penalised.

        In training, with `rng`, both are first changed a little, `gain` being the SD of log gains.
        """
        if rng is not None:
            x = changed(x, gain, rng)
        features = ((simple_features(split(x)[0]) - self.mean) / self.sd).clamp(-_FARTHEST, _FARTHEST)
        if rng is not None:
            features = features + _GRAIN * torch.randn(features.shape, generator=rng).to(features.device)
        return torch.cat([x, features], dim=1)

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        complexes, numbers = split(x[:, : self.size])
        y = views(complexes)
        for conv in self.convs:
            y = F.leaky_relu(conv(y), 0.2)
        told = [numbers, x[:, self.size :]] + ([] if condition is None else [condition])
        heard = self.listen(torch.cat(told, dim=1))
        seen = y.flatten(1)
        # Minibatch standard deviation (Karras 2018): a batch of one mode gives itself away.
        variety = (seen.var(dim=0) + 1e-6).sqrt().mean().expand(len(x), 1)
        both = self.join(torch.cat([seen, heard, variety], dim=1))
        whole = self.whole(both)
        if self.label is not None and condition is not None:
            whole = whole + (self.label(condition) * both).sum(dim=1, keepdim=True) / both.shape[1] ** 0.5
        return torch.cat([self.patch(y).squeeze(1), 4 * self.of_numbers(heard), 4 * whole], dim=1)
