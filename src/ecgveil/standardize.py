"""Step 1: physical values -> model range, and back.

Each standardizer is fitted on the training part alone; fitted values end in `_`. `forward` returns the values for the
model, in [-1, 1] or about it, and the side values that only a real signal has and its exact inverse needs; `back`
without them puts a typical value in their place. `saturated_` counts what `fit` had to cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ecgveil.errors import ConfigError

LEVELS = 255  # of an 8-bit image


class PerLead:
    """Waveforms: each lead over its own standard deviation, around its own median; nothing is cut.

    `unit_sd` is how many standard deviations the value 1 stands for: 1 for a model with a linear end, more for one
    that ends in a tanh, since an R peak is 10 standard deviations high and more.
    """

    def __init__(self, unit_sd: float = 1.0):
        self.unit_sd = unit_sd
        self.scale_: list[float] = []
        self.offset_: list[float] = []

    def fit(self, signal: np.ndarray) -> PerLead:
        """`signal` (n, n_leads, n_samples) mV."""
        self.offset_ = np.median(signal, axis=(0, 2)).astype(float).tolist()
        # The median over the records: one record of huge artefact must not set the scale of all.
        scale = np.median(signal.std(axis=2), axis=0).astype(float) * self.unit_sd
        self.scale_ = np.maximum(scale, 1e-3).tolist()  # 1 uV at the least: a dead lead has no scale
        return self

    def forward(self, signal: np.ndarray) -> tuple[np.ndarray, None]:
        return (signal - self._column(self.offset_)) / self._column(self.scale_), None

    def back(self, values: np.ndarray, side: None = None) -> np.ndarray:
        return values * self._column(self.scale_) + self._column(self.offset_)

    @property
    def step_mv(self) -> float:
        """Half the spacing of float32 at the largest scale: the rounding of the arithmetic, nothing else."""
        return float(np.max(self.scale_)) * 1e-6

    @staticmethod
    def _column(values: list[float]) -> np.ndarray:
        return np.array(values, np.float32)[:, None]


class MinMax:
    """P1 eq. 2: (x - min) / (max - min) * (255 - a) + a, with the extremes of the training part, in 8 bits."""

    def __init__(self, a: int = 0):
        self.a = a
        self.low_ = self.high_ = 0.0
        self.saturated_: dict[str, float] = {}

    def fit(self, signal: np.ndarray) -> MinMax:
        self.low_, self.high_ = float(signal.min()), float(signal.max())
        _require_range(self.low_, self.high_)
        self.saturated_ = {"values": 0.0, "windows": 0.0}
        return self

    def forward(self, signal: np.ndarray) -> tuple[np.ndarray, None]:
        pixels = (np.clip(signal, self.low_, self.high_) - self.low_) / self._span * (LEVELS - self.a) + self.a
        return _to_model(pixels), None

    def back(self, values: np.ndarray, side: None = None) -> np.ndarray:
        return (_to_pixels(values, self.a) - self.a) / (LEVELS - self.a) * self._span + self.low_

    @property
    def _span(self) -> float:
        return self.high_ - self.low_

    @property
    def step_mv(self) -> float:
        """One grey level."""
        return self._span / (LEVELS - self.a)


class AdaptedRange:
    """P1 eq. 3: (x - min(sample)) / span * (255 - a) + a, after cutting at the 1 % and 99 % bounds, in 8 bits.

    The bounds are quantiles of the windows' own minima and maxima. (Quantiles of all values would cut every R peak;
    P1 reports 4 % of windows with a value beyond them, which only bounds on extremes can give.) A window that spans
    more than `span_mv` (in the unit of the signals) is cut from above. A lead's minimum is the side value that its
    exact inverse needs; the median of the lead's minima stands in for it.
    """

    def __init__(self, a: int = 0, span_mv: float = 2.5, tail: float = 0.01):
        self.a, self.span_mv, self.tail = a, span_mv, tail
        self.low_ = self.high_ = 0.0
        self.minimum_: list[float] = []
        self.saturated_: dict[str, float] = {}

    def fit(self, signal: np.ndarray) -> AdaptedRange:
        minima, maxima = signal.min(axis=-1), signal.max(axis=-1)
        self.low_, self.high_ = float(np.quantile(minima, self.tail)), float(np.quantile(maxima, 1 - self.tail))
        _require_range(self.low_, self.high_)
        self.minimum_ = np.median(np.maximum(minima, self.low_), axis=0).astype(float).tolist()
        top = np.minimum(self.high_, np.maximum(minima, self.low_) + self.span_mv)[..., None]
        cut = (signal < self.low_) | (signal > top)
        self.saturated_ = {"values": float(cut.mean()), "windows": float(cut.any(axis=(1, 2)).mean())}
        return self

    def forward(self, signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cut = np.clip(signal, self.low_, self.high_)
        minimum = cut.min(axis=-1, keepdims=True)
        pixels = (cut - minimum) / self.span_mv * (LEVELS - self.a) + self.a
        return _to_model(pixels), minimum

    def back(self, values: np.ndarray, side: np.ndarray | None = None) -> np.ndarray:
        # One number for all leads in the runs of earlier versions.
        minimum = np.array(self.minimum_, np.float32).reshape(-1, 1) if side is None else side
        return (_to_pixels(values, self.a) - self.a) / (LEVELS - self.a) * self.span_mv + minimum

    @property
    def step_mv(self) -> float:
        """One grey level."""
        return self.span_mv / (LEVELS - self.a)


def _require_range(low: float, high: float) -> None:
    if not high > low:
        raise ConfigError(f"the training signals are constant ({low} mV); there is nothing to standardize")


def _to_model(pixels: np.ndarray) -> np.ndarray:
    """Grey levels 0 to 255, rounded as an image stores them -> [-1, 1]."""
    return (np.clip(np.rint(pixels), 0, LEVELS) / (LEVELS / 2) - 1).astype(np.float32)


def _to_pixels(values: np.ndarray, a: int) -> np.ndarray:
    """[-1, 1] -> grey levels a to 255; levels below `a` are P1's NULL and carry no voltage."""
    return np.clip((values + 1) * (LEVELS / 2), a, LEVELS)


STANDARDIZERS: dict[str, Any] = {"per-lead": PerLead, "min-max": MinMax, "adapted-range": AdaptedRange}
