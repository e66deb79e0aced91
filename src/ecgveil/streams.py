"""Random streams: every draw comes from a stream named by the seed and what it is for."""

import numpy as np

# What a stream is for; the first part of its path.
INITIAL, ORDER, NOISE, TORCH, SAMPLE, SPLIT = range(1, 7)


def stream(seed: int, *path: int) -> np.random.Generator:
    """The random stream of (seed, *path); other paths give independent streams.

    >>> stream(1, NOISE).random() == stream(1, NOISE).random(), stream(1, NOISE).random() == stream(2, NOISE).random()
    (True, False)
    """
    return np.random.default_rng([seed, *path])
