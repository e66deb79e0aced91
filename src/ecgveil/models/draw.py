"""Samples from a generator, each from its own random stream.

The network always sees the same block of samples at a time, whatever batch is asked for, since the last bit of a
convolution may depend on what else is in its batch. So sample k depends on (weights, seed, k) alone.
"""

import numpy as np
import torch
from torch import nn

from ecgveil.models.conditions import Conditions
from ecgveil.models.contract import Noise, stack
from ecgveil.streams import SAMPLE, stream

BLOCK = 16


@torch.no_grad()
def draw(generator: nn.Module, seed: int, start: int, stop: int, conditions: Conditions | None = None) -> np.ndarray:
    """Samples `start` to `stop`, as the network gives them, (stop - start, *shape).

    With `conditions`, each sample draws its own first; `draw_conditions` tells which.
    """
    device = next(generator.parameters()).device
    made = []
    for first in range(start // BLOCK * BLOCK, stop, BLOCK):
        noises = [_noise(generator, seed, k, conditions) for k in range(first, first + BLOCK)]
        made.append(generator(stack(noises, device)).cpu().numpy()[max(start - first, 0) : stop - first])
    return np.concatenate(made)


def draw_conditions(conditions: Conditions, seed: int, start: int, stop: int) -> np.ndarray:
    """The conditions of samples `start` to `stop`, float32 (stop - start, k)."""
    return np.array([conditions.draw(stream(seed, SAMPLE, k)) for k in range(start, stop)], np.float32)


def _noise(generator: nn.Module, seed: int, k: int, conditions: Conditions | None) -> Noise:
    rng = stream(seed, SAMPLE, k)
    condition = conditions.draw(rng) if conditions else None
    return generator.draw(rng, condition)  # type: ignore[operator]
