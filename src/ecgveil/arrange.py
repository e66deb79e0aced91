"""Step 2: time series -> tensor, and back. An arrangement moves values; it never changes one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgveil.errors import ConfigError


class Waveform:
    """Leads as channels: (n, n_leads, n_samples) both ways."""

    dimensions = 2  # of one sample's tensor

    def shape(self, n_leads: int, n_samples: int) -> tuple[int, ...]:
        return n_leads, n_samples

    def forward(self, values: np.ndarray) -> np.ndarray:
        return values

    def back(self, tensor: np.ndarray) -> np.ndarray:
        return tensor


class ZImage:
    """P1 section 3.3.2: each lead a square image, read like a page: left to right, then down.

    (n, n_leads, side * side) -> (n, n_leads, side, side)
    """

    dimensions = 3

    def shape(self, n_leads: int, n_samples: int) -> tuple[int, ...]:
        side = round(n_samples**0.5)
        if side * side != n_samples:
            raise ConfigError(f"{n_samples} samples do not fill a square image; use {side * side}, {side} x {side}")
        return n_leads, side, side

    def forward(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(values), *self.shape(*values.shape[1:]))

    def back(self, tensor: np.ndarray) -> np.ndarray:
        return tensor.reshape(*tensor.shape[:2], -1)


ARRANGEMENTS: dict[str, Any] = {"waveform": Waveform, "z": ZImage}
