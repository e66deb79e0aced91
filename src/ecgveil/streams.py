"""Random streams: every draw comes from a stream named by the seed and what it is for."""

import numpy as np

from ecgveil.errors import ConfigError

# What a stream is for; the first part of its path.
INITIAL, ORDER, NOISE, TORCH, SAMPLE, SPLIT = range(1, 7)


def stream(seed: int, *path: int) -> np.random.Generator:
    """The random stream of (seed, *path); other paths give independent streams.

    >>> stream(1, NOISE).random() == stream(1, NOISE).random(), stream(1, NOISE).random() == stream(2, NOISE).random()
    (True, False)
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed is {seed}; it must lie from 0 to {2**32 - 1}")
    return np.random.default_rng([seed, *path])
