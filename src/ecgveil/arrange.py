"""Step 2: time series -> tensor, and back. An arrangement moves values; it never changes one.

Each is written as what it does to the places of a sample, the numbers 0, 1, ... in the form (n_leads, n_samples): the
array it returns says which value stands where in the tensor. To add one is to add such a function to `ARRANGEMENTS`; a
single permutation needs none, `own` takes it from the recipe.

Images are read like a page, each lead a square of its own (P1 section 3.3.2), unless said otherwise.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ecgveil.errors import ConfigError


class Arrangement:
    """A permutation of the values of a sample into the shape of a tensor, exactly invertible.

    Parameters
    ----------
    places : int, of the tensor's shape: which value of the flattened (n_leads, n_samples) stands there
    n_leads, n_samples : of a sample
    """

    def __init__(self, places: np.ndarray, n_leads: int, n_samples: int):
        self.shape, self._sample = places.shape, (n_leads, n_samples)
        self._order: np.ndarray | None = places.ravel()
        if np.array_equal(self._order, np.arange(n_leads * n_samples)):
            self._order = None  # only the shape differs: nothing to copy
        else:
            self._inverse = np.argsort(self._order)

    def forward(self, values: np.ndarray) -> np.ndarray:
        """(n, n_leads, n_samples) -> (n, *shape)"""
        flat = values.reshape(len(values), -1)
        return (flat if self._order is None else flat[:, self._order]).reshape(len(values), *self.shape)

    def back(self, tensor: np.ndarray) -> np.ndarray:
        """(n, *shape) -> (n, n_leads, n_samples)"""
        flat = tensor.reshape(len(tensor), -1)
        return (flat if self._order is None else flat[:, self._inverse]).reshape(len(tensor), *self._sample)


def arrangement(name: str, n_leads: int, n_samples: int, **settings: Any) -> Arrangement:
    """The arrangement of this name for samples of this form; `settings` are its own.

    Raises
    ------
    ConfigError
        No such arrangement, a length that it cannot take, or settings that do not fit.
    """
    if name not in ARRANGEMENTS:
        raise ConfigError(f"unknown arrangement '{name}'; there are {', '.join(ARRANGEMENTS)}")
    places = np.arange(n_leads * n_samples).reshape(n_leads, n_samples)
    return Arrangement(ARRANGEMENTS[name](places, **settings), n_leads, n_samples)


def arrangement_settings(name: str) -> set[str]:
    """Names of the settings that an arrangement has of its own."""
    return set(list(inspect.signature(ARRANGEMENTS[name]).parameters)[1:])


def _waveform(places: np.ndarray) -> np.ndarray:
    """Leads as channels of a series."""
    return places


def _z(places: np.ndarray) -> np.ndarray:
    """Left to right, then down; leads as channels: (L, side * side) -> (L, side, side)."""
    n_leads, n_samples = places.shape
    side = round(n_samples**0.5)
    if side * side != n_samples:
        raise ConfigError(f"{n_samples} samples do not fill a square image; use {side * side}, {side} x {side}")
    return places.reshape(n_leads, side, side)


def _transposed(places: np.ndarray) -> np.ndarray:
    """Up to down, then left to right (P1 section 4.2)."""
    return _z(places).swapaxes(1, 2)


def _reversed(places: np.ndarray) -> np.ndarray:
    """From the bottom right pixel, right to left, then up (P1 section 4.2)."""
    return _z(places[:, ::-1])


def _stripes(places: np.ndarray) -> np.ndarray:
    """All leads in one channel, its rows of lead 1, 2, ... in turn, so that what is simultaneous is near."""
    images = _z(places)
    return images.swapaxes(0, 1).reshape(1, -1, images.shape[2])  # (L, side, side) -> (1, side * L, side)


def _blocks(places: np.ndarray) -> np.ndarray:
    """All leads in one channel, each a square tile, the tiles as near to a square as their number allows."""
    images = _z(places)
    n_leads, side, _ = images.shape
    rows = next(n for n in range(math.isqrt(n_leads), 0, -1) if n_leads % n == 0)
    tiles = images.reshape(rows, n_leads // rows, side, side)
    return tiles.swapaxes(1, 2).reshape(1, rows * side, -1)


def _shuffled(places: np.ndarray, order_seed: int = 0) -> np.ndarray:
    """Samples in an order drawn from `order_seed`, the same in every lead."""
    return _z(places[:, np.random.default_rng([order_seed, 80]).permutation(places.shape[1])])


def _own(places: np.ndarray, order: Sequence[int] = ()) -> np.ndarray:
    """Samples in the order given, the same in every lead."""
    n = places.shape[1]
    if sorted(order) != list(range(n)):
        found = f"{len(order)} values, {len(set(order))} different" if order else "no values"
        raise ConfigError(f"encoder.order has {found}; arrangement 'own' needs each of 0 to {n - 1} once")
    return _z(places[:, list(order)])


ARRANGEMENTS: dict[str, Callable[..., np.ndarray]] = {
    "waveform": _waveform,
    "z": _z,
    "transposed": _transposed,
    "reversed": _reversed,
    "stripes": _stripes,
    "blocks": _blocks,
    "shuffled": _shuffled,
    "own": _own,
}
