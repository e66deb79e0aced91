"""Beat-conditioned generator: R times first, then the waveform around them.

A rhythm draws the R times, so that every sample knows the time since the last and to the next beat. A style, shared by
all beats of a record, modulates a few pointwise layers that turn those clocks into leads: a heart whose beats agree
with each other by construction, in few weights. The critic sees crops at two scales. A condition joins the style, tells
the rhythm, and meets the critic as a projection at its heads (Miyato and Koyama 2018).
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ecgveil.models.contract import Context, Noise, Settings
from ecgveil.rhythm import STATISTICS

_HARMONICS = 3
_JITTER = 4  # per-beat channels
_RATES = (1, 4, 16, 64, 256)  # noise: samples a value, from muscle to wander


class BeatSettings(Settings):
    width: int = Field(64, ge=8, le=512, description="channels of the generator")
    layers: int = Field(3, ge=1, le=8, description="modulated pointwise layers")
    latent: int = Field(64, ge=4, le=512, description="size of the style noise")
    style_gain: float = Field(0.3, gt=0, le=10, description="scale of the initial effect of the style on the layers")
    jitter: float = Field(0.1, ge=0, le=1, description="scale of the beat-to-beat variation")
    critic_width: int = Field(32, ge=8, le=512, description="channels of the critic's first layer")
    crop_s: float = Field(5.0, ge=0.2, le=3600, description="length of the critic's random crop, s")


def _bank(time: Tensor, centres: Tensor, width: float) -> Tensor:
    """Gaussian bumps, (B, T) s -> (B, len(centres), T)."""
    return torch.exp(-0.5 * ((time[:, None] - centres[:, None]) / width) ** 2)


class Clocks(nn.Module):
    """R times -> what each sample knows of its beat, (B, beats) s -> (B, channels, T)."""

    time: Tensor
    around_r: Tensor
    after_r: Tensor
    before_r: Tensor

    def __init__(self, n_samples: int, fs: float):
        super().__init__()
        self.register_buffer("time", torch.arange(n_samples) / fs, persistent=False)
        self.register_buffer("around_r", torch.arange(-0.08, 0.121, 0.010), persistent=False)
        self.register_buffer("after_r", torch.arange(0.08, 0.54, 0.028), persistent=False)
        self.register_buffer("before_r", torch.arange(-0.32, -0.039, 0.018), persistent=False)
        self.channels = (
            self.around_r.numel() + self.after_r.numel() + self.before_r.numel() + 2 * _HARMONICS + 3 + _JITTER
        )

    def forward(self, r_times: Tensor, jitter: Tensor) -> Tensor:
        time = self.time.expand(r_times.shape[0], -1).contiguous()  # (B, T)
        following = torch.searchsorted(r_times, time, right=True).clamp(2, r_times.shape[1] - 2)
        last, next_, before = (r_times.gather(1, following + k) for k in (-1, 0, -2))
        since, until = time - last, next_ - time
        rr, previous_rr = next_ - last, last - before
        phase = 2 * torch.pi * since / rr
        nearest = torch.where(since < until, since, -until)
        # P to QRS belong to the coming beat, QRS to T to the last one: the jitter changes hands mid-diastole.
        beat = torch.where(until < 0.35 * rr.clamp(max=1.0), following, following - 1)
        per_beat = jitter.gather(2, beat[:, None].expand(-1, _JITTER, -1))  # (B, _JITTER, T)
        harmonics = [f(k * phase) for k in range(1, _HARMONICS + 1) for f in (torch.sin, torch.cos)]
        rates = torch.stack([rr.log(), previous_rr.log(), (rr / previous_rr).log()], dim=1)
        return torch.cat(
            [
                _bank(nearest, self.around_r, 0.010),
                # the T wave moves with about RR ** 0.35
                _bank(since / previous_rr.clamp(0.3, 2.0) ** 0.35, self.after_r, 0.028),
                _bank(-until, self.before_r, 0.018),
                torch.stack(harmonics, dim=1),
                rates,
                per_beat,
            ],
            dim=1,
        )  # (B, channels, T)


class Generator(nn.Module):
    """Noise of `draw` -> (B, C, T)."""

    fir: Tensor

    def __init__(self, settings: BeatSettings, context: Context):
        super().__init__()
        if context.rhythm is None:
            raise ValueError("the beat model needs a fitted rhythm")
        self.settings, self.rhythm = settings, context.rhythm
        self.n_leads, self.n_samples = context.shape
        self.seconds = self.n_samples / context.fs
        self.max_beats = int((self.seconds + 7) * 4)  # R times a record, padded: 240 bpm and some seconds around it
        self.clocks = Clocks(self.n_samples, context.fs)
        width = settings.width
        # As wide as the noise of the style: a few labels beside it would hardly be heard.
        self.condition = nn.Linear(context.n_conditions, settings.latent) if context.n_conditions else None
        style_in = settings.latent * (2 if self.condition else 1) + len(STATISTICS)
        self.style = nn.Sequential(
            nn.Linear(style_in, 2 * width), nn.LeakyReLU(0.2), nn.Linear(2 * width, 2 * width), nn.LeakyReLU(0.2)
        )
        sizes = [self.clocks.channels, *[width] * settings.layers]
        self.layers = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in itertools.pairwise(sizes))
        self.modulation = nn.ModuleList(nn.Linear(2 * width, 2 * size) for size in sizes[1:])
        self.spread = nn.Conv1d(width, width, 9, padding=4, groups=width)
        self.to_leads = nn.Conv1d(width, self.n_leads, 1)
        self.lead_gain = nn.Linear(2 * width, self.n_leads)
        # Wander and muscle are added to the heart, not mixed into it: they must not change the shape of its beats.
        self.noise_gain = nn.Linear(2 * width, 2 * len(_RATES))
        self.noise_to_leads = nn.Conv1d(2 * len(_RATES), self.n_leads, 1, bias=False)
        nn.init.normal_(self.noise_to_leads.weight, std=0.05)
        for linear in [*self.modulation, self.lead_gain, self.noise_gain]:
            nn.init.normal_(linear.weight, std=settings.style_gain / (2 * width) ** 0.5)
            nn.init.zeros_(linear.bias)
        smooth = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("fir", smooth.expand(self.n_leads, 1, 3).clone(), persistent=False)

    def draw(self, rng: np.random.Generator, condition: np.ndarray | None = None) -> Noise:
        """The noise of one sample."""
        times, statistics = self.rhythm.draw(rng, self.seconds, condition)
        times = times[: self.max_beats]
        padding = times[-1] + 1.0 + np.arange(self.max_beats - times.size)
        noise = {
            "r_times": np.concatenate([times, padding]),
            "statistics": statistics,
            "z": rng.standard_normal(self.settings.latent),
            "jitter": self.settings.jitter * rng.standard_normal((_JITTER, self.max_beats)),
        }
        for rate in _RATES:
            noise[f"noise_{rate}"] = rng.standard_normal((2, -(-self.n_samples // rate)))
        return noise if condition is None else {**noise, "condition": condition}

    def forward(self, noise: dict[str, Tensor]) -> Tensor:
        style = [noise["z"], noise["statistics"]]
        if self.condition is not None:
            style.append(self.condition(noise["condition"]))
        w = self.style(torch.cat(style, dim=1))  # (B, 2 width)
        grains = [
            F.interpolate(noise[f"noise_{rate}"], size=self.n_samples, mode="linear", align_corners=False)
            for rate in _RATES
        ]
        x = self.clocks(noise["r_times"], noise["jitter"])  # (B, channels, T)
        for layer, modulation in zip(self.layers, self.modulation, strict=True):
            scale, shift = modulation(w)[:, :, None].chunk(2, dim=1)
            x = F.leaky_relu(layer(x) * (1 + scale) + shift, 0.2)  # (B, width, T)
        x = x + self.spread(x)
        x = self.to_leads(x) * torch.exp(self.lead_gain(w))[:, :, None]  # never 0: no lead falls silent
        x = x + self.noise_to_leads(torch.cat(grains, dim=1) * torch.exp(self.noise_gain(w))[:, :, None])
        return F.conv1d(F.pad(x, (1, 1), mode="replicate"), self.fir, groups=self.n_leads)  # (B, C, T)


class _Tower(nn.Module):
    """Strided convolutions with a head for each patch and one for the whole, (B, C, T) -> (B, patches + 1)."""

    def __init__(self, channels: int, width: int, strides: tuple[int, ...], n_conditions: int):
        super().__init__()
        sizes = [channels, *(min(width * 2**i, 4 * width) for i in range(len(strides)))]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, 2 * stride + 5, stride=stride, padding=stride + 2)
            for a, b, stride in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )
        self.patch = nn.Conv1d(sizes[-1], 1, 3, padding=1)
        self.whole = nn.Sequential(nn.Linear(2 * sizes[-1] + 1, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
        if n_conditions:  # what a patch, and the whole, should look like under each label
            self.patch_label = nn.Linear(n_conditions, sizes[-1])
            self.whole_label = nn.Linear(n_conditions, 64)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.2)  # (B, size, T / stride)
        mean, spread = x.mean(dim=2), (x.var(dim=2) + 1e-6).sqrt()
        # Minibatch standard deviation (Karras 2018): a batch of one mode gives itself away.
        variety = (mean.var(dim=0) + 1e-6).sqrt().mean().expand(x.shape[0], 1)
        hidden = self.whole[:2](torch.cat([mean, spread, variety], dim=1))
        patch, whole = self.patch(x).squeeze(1), self.whole[2](hidden)  # (B, T), (B, 1)
        if condition is not None:
            patch = patch + torch.einsum("bc,bct->bt", self.patch_label(condition), x) / x.shape[1] ** 0.5
            whole = whole + (self.whole_label(condition) * hidden).sum(dim=1, keepdim=True) / hidden.shape[1] ** 0.5
        return torch.cat([patch, whole * x.shape[2] ** 0.5], dim=1)


class Critic(nn.Module):
    """(B, C, T) -> scores (B, patches): a random crop in detail, and the whole at quarter rate."""

    def __init__(self, settings: BeatSettings, context: Context):
        super().__init__()
        channels, n_samples = context.shape
        self.crop = min(n_samples, max(64, int(settings.crop_s * context.fs)))
        self.fine = _Tower(channels, settings.critic_width, (2, 4, 4, 2), context.n_conditions)
        self.coarse = _Tower(channels, settings.critic_width, (4, 4, 2), context.n_conditions)

    def forward(self, x: Tensor, rng: torch.Generator, condition: Tensor | None = None) -> Tensor:
        start = int(torch.randint(0, x.shape[2] - self.crop + 1, (1,), generator=rng))
        crop = x[:, :, start : start + self.crop]
        return torch.cat([self.fine(crop, condition), self.coarse(F.avg_pool1d(x, 4), condition)], dim=1)
