"""Samples from a generator, each from its own random stream.

The network always sees the same block of samples at a time, whatever batch is asked for, since the last bit of a
convolution may depend on what else is in its batch. So sample k depends on (weights, seed, k) alone.
"""

import numpy as np
import torch
from torch import nn

from ecgveil.models.contract import stack
from ecgveil.streams import SAMPLE, stream

BLOCK = 16


@torch.no_grad()
def draw(generator: nn.Module, seed: int, start: int, stop: int) -> np.ndarray:
    """Samples `start` to `stop`, as the network gives them, (stop - start, *shape)."""
    device = next(generator.parameters()).device
    made = []
    for first in range(start // BLOCK * BLOCK, stop, BLOCK):
        noises = [generator.draw(stream(seed, SAMPLE, k)) for k in range(first, first + BLOCK)]  # type: ignore[operator]
        made.append(generator(stack(noises, device)).cpu().numpy()[max(start - first, 0) : stop - first])
    return np.concatenate(made)
