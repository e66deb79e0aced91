"""Grey images -> tensors, and back: nothing to standardize, and nothing to arrange (P1 section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ecgveil.errors import ConfigError, RunError
from ecgveil.images import ImageSet
from ecgveil.standardize import LEVELS


@dataclass
class ImageEncoder:
    """uint8 (n, side, side) -> float32 (n, 1, side, side) in [-1, 1], and back, exactly."""

    side: int

    @classmethod
    def fit(cls, train: ImageSet) -> ImageEncoder:
        return cls(train.side)

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, self.side, self.side

    def encode(self, images: ImageSet) -> tuple[np.ndarray, None]:
        if images.side != self.side:
            raise ConfigError(f"the encoder takes {self.side} x {self.side} pixels, not {images.side} x {images.side}")
        return images.pixels[:, None].astype(np.float32) / np.float32(LEVELS / 2) - np.float32(1), None

    def decode(self, tensor: np.ndarray, first: int = 0) -> ImageSet:
        """(n, 1, side, side) -> images, named synthetic_000000 and on from number `first`."""
        pixels = np.rint(np.clip((tensor[:, 0] + 1) * (LEVELS / 2), 0, LEVELS)).astype(np.uint8)
        return ImageSet(pixels, tuple(f"synthetic_{k:06d}" for k in range(first, first + len(pixels))))

    def to_json(self) -> dict[str, Any]:
        return {"side": self.side}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImageEncoder:
        try:
            return cls(int(data["side"]))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"encoder.json is damaged ({error}); fit again") from error
