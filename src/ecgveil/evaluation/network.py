"""A small 1-D residual network for the classifiers of the evidence, and how it is trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH = 32
_PREDICTED = 128  # records at a time

Progress = Callable[[int, int], object]


class _Block(nn.Module):
    """Two convolutions around a shortcut, (B, C, T) -> (B, C', T / 4) (He et al., CVPR 2016)."""

    def __init__(self, channels: int, out: int, stride: int = 4):
        super().__init__()
        self.first = nn.Conv1d(channels, out, 9, stride=stride, padding=4, bias=False)
        self.second = nn.Conv1d(out, out, 9, padding=4, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm1d(out), nn.BatchNorm1d(out)])
        self.shortcut = nn.Conv1d(channels, out, 1, bias=False)
        self.pool = nn.AvgPool1d(stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(inner)) + self.shortcut(self.pool(x)))


class ResNet1d(nn.Module):
    """ECGs (B, C, T) -> logits (B, n_out)."""

    def __init__(self, channels: int, n_out: int, width: int = 16):
        super().__init__()
        sizes = [width, width, 2 * width, 4 * width]
        self.stem = nn.Sequential(
            nn.Conv1d(channels, width, 15, stride=2, padding=7, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in itertools.pairwise(sizes)))
        self.head = nn.Linear(2 * sizes[-1], n_out)

    def features(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, 8 * width): mean and maximum over time, so that any length will do."""
        x = self.blocks(self.stem(x))
        return torch.cat([x.mean(dim=2), x.amax(dim=2)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def descent(network: nn.Module, steps: int) -> Callable[[Tensor], None]:
    """What takes a loss one step down, `steps` times: AdamW, the learning rate rising and falling once over them."""
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)

    def step(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    return step


def fit_network(
    x: np.ndarray,
    targets: np.ndarray,
    *,
    seed: int,
    steps: int,
    crop: int | None = None,
    progress: Progress | None = None,
) -> ResNet1d:
    """Train a network to tell each of several properties of an ECG (binary cross-entropy).

    Parameters
    ----------
    x : float32 (n, C, T), of about unit spread
    targets : (n, k), 0 or 1
    seed : of initial weights, batches and crops
    steps : batches of 32; the learning rate rises and falls over them (AdamW, one cycle)
    crop : samples seen of each record in training; None for all
    progress : called with (done, total) steps
    """
    rng = np.random.default_rng([seed, 30])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ResNet1d(x.shape[1], targets.shape[1])
    descend = descent(network, steps)
    order = _endless(len(x), rng)
    network.train()
    for step in range(steps):
        rows = np.array(list(itertools.islice(order, BATCH)))
        start = int(rng.integers(x.shape[2] - crop + 1)) if crop and crop < x.shape[2] else 0
        seen = torch.from_numpy(np.ascontiguousarray(x[rows, :, start : start + crop if crop else None], np.float32))
        loss = F.binary_cross_entropy_with_logits(network(seen), torch.from_numpy(targets[rows].astype(np.float32)))
        descend(loss)
        if progress:
            progress(step + 1, steps)
    return network.eval()


@torch.no_grad()
def predict(network: ResNet1d, x: np.ndarray) -> np.ndarray:
    """Logits of ECGs, float32 (n, C, T) -> (n, k)."""
    blocks = (x[start : start + _PREDICTED] for start in range(0, len(x), _PREDICTED))
    return np.concatenate(
        [network(torch.from_numpy(np.ascontiguousarray(each, np.float32))).numpy() for each in blocks]
    )


def _endless(n: int, rng: np.random.Generator) -> itertools.chain[int]:
    """Rows in endless permutations."""
    return itertools.chain.from_iterable(rng.permutation(n) for _ in itertools.count())
