"""The network that says, for every lead and instant, whether it lies in a P wave, a QRS, a T wave or none of them.

A U-Net over time (Ronneberger et al., MICCAI 2015; for ECG: Moskalenko et al., Neuroinformatics 2019) whose lead
branches share their weights and meet in a trunk: the trunk sees the mean and the maximum over the leads, so that a wave
lost in one lead's noise is still found through the others. Any number of leads, in any order, of any polarity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FS_HZ = 250.0
CLASSES = ("none", "p", "qrs", "t")
STRIDE = 8  # window lengths are multiples of it

_LEAD = (16, 24, 32, 48)  # channels of a lead's branch at 250, 125, 62.5, 31.25 Hz
_TRUNK = (24, 32, 48, 64)  # channels of the trunk at the same rates


def _conv(n_in: int, n_out: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv1d(n_in, n_out, kernel, stride, padding, dilation, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()
    )


class Delineator(nn.Module):
    """(B, L, T) -> logits of `CLASSES` for each lead and for all leads together; about 0.2 M weights."""

    def __init__(self) -> None:
        super().__init__()
        lead, trunk = _LEAD, _TRUNK
        self.down = nn.ModuleList(
            [_conv(1, lead[0], 9), *(_conv(lead[i - 1], lead[i], 7, stride=2) for i in (1, 2, 3))]
        )
        self.bottom = nn.Sequential(
            _conv(2 * lead[3], trunk[3], 3),
            *(_conv(trunk[3], trunk[3], 5, dilation=dilation) for dilation in (1, 2, 4, 1)),
        )
        self.trunk_up = nn.ModuleList([_conv(trunk[i + 1] + 2 * lead[i], trunk[i], 5) for i in (0, 1, 2)])
        self.lead_bottom = _conv(lead[3] + trunk[3], lead[3], 3)
        self.lead_up = nn.ModuleList(
            [_conv(lead[1] + lead[0], lead[0], 5)]
            + [_conv(lead[i + 1] + lead[i] + trunk[i], lead[i], 5) for i in (1, 2)]
        )
        self.lead_head = nn.Conv1d(lead[0], len(CLASSES), 1)
        self.trunk_head = nn.Conv1d(trunk[0], len(CLASSES), 1)

    def forward(self, signal: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Logits for each lead and for all leads together.

        Parameters
        ----------
        signal : (B, L, T) at 250 Hz, each lead scaled to unit spread; T a multiple of `STRIDE`
        present : bool (B, L), False for leads that carry nothing

        Returns
        -------
        lead_logits : (B, L, 4, T)
        trunk_logits : (B, 4, T)
        """
        b, n, t = signal.shape
        features = []
        x = signal.reshape(b * n, 1, t)
        for layer in self.down:
            x = layer(x)
            features.append(x)  # (B L, C, T / 2^i)
        pooled = [self._over_leads(each, present) for each in features]  # (B, 2 C, T / 2^i)
        trunk = {3: self.bottom(pooled[3])}
        for i in (2, 1, 0):
            trunk[i] = self.trunk_up[i](torch.cat([_double(trunk[i + 1]), pooled[i]], 1))
        y = self.lead_bottom(torch.cat([features[3], _to_leads(trunk[3], n)], 1))
        for i in (2, 1):
            y = self.lead_up[i](torch.cat([_double(y), features[i], _to_leads(trunk[i], n)], 1))
        y = self.lead_up[0](torch.cat([_double(y), features[0]], 1))
        return self.lead_head(y).reshape(b, n, len(CLASSES), t), self.trunk_head(trunk[0])

    @staticmethod
    def _over_leads(x: Tensor, present: Tensor) -> Tensor:
        """Mean and maximum over the leads that are there, (B L, C, T) -> (B, 2 C, T); features are 0 or more."""
        b, n = present.shape
        x = x.reshape(b, n, *x.shape[1:]) * present[:, :, None, None]
        mean = x.sum(1) / present.sum(1).clamp(min=1)[:, None, None]
        return torch.cat([mean, x.amax(1)], 1)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="linear", align_corners=False)


def _to_leads(x: Tensor, n_leads: int) -> Tensor:
    return x.repeat_interleave(n_leads, 0)  # (B, C, T) -> (B L, C, T)
