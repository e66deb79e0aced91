"""How old people are and how fast their hearts beat: a smooth density of both, from which no one's own numbers come.

A Gaussian over people, one point each, cut off where the lowest and the highest few are on the mean, so that no bound
is one person's own; wider, and many of whom bradycardia is asked for would have a heart rate that is none. It is laid
on a grid of whole years and whole beats per minute, where cutting it to a range that somebody asks for stays exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

VITALS = ("age", "heart_rate")  # years, beats per minute

_OUTERMOST, _LEAST_OUTERMOST = 0.06, 5  # share and number of people whose mean is a bound, then rounded outwards
_LEAST_VARIANCE = 1.0  # of a year or a beat per minute: finer than that nothing is learned of a group


@dataclass(frozen=True)
class Density:
    """A Gaussian of `names`, some of `VITALS`: mean (d,), covariance (d, d), cut to low..high, (d,) each."""

    names: list[str]
    mean: list[float]
    covariance: list[list[float]]
    low: list[float]
    high: list[float]

    @classmethod
    def fit(cls, names: Sequence[str], people: np.ndarray) -> Density:
        """Fit on one row a person, (n, d) with n >= 2, all known."""
        few = min(max(_LEAST_OUTERMOST, round(_OUTERMOST * len(people))), len(people))
        ordered = np.sort(people, axis=0)
        low, high = ordered[:few].mean(axis=0), ordered[-few:].mean(axis=0)
        covariance = np.atleast_2d(np.cov(people, rowvar=False)) + _LEAST_VARIANCE * np.eye(len(names))
        return cls(
            list(names),
            people.mean(axis=0).tolist(),
            covariance.tolist(),
            np.maximum(np.floor(low), 0.0).tolist(),
            np.ceil(high).tolist(),
        )

    def within(self, ranges: Mapping[str, tuple[float, float]]) -> Density | None:
        """Cut to these ranges, (low, high) by name; None where it has nothing there."""
        low, high = list(self.low), list(self.high)
        for name, (least, most) in ranges.items():
            at = self.names.index(name)
            low[at], high[at] = max(low[at], float(least)), min(high[at], float(most))
            if low[at] > high[at]:
                return None
        return replace(self, low=low, high=high)

    @cached_property
    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (m, d), and the unnormalised density up to each, (m,)."""
        axes = [np.arange(np.rint(a), np.rint(b) + 1) for a, b in zip(self.low, self.high, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        away = points - np.array(self.mean)
        distance = np.einsum("md,md->m", away @ np.linalg.inv(self.covariance), away)
        return points, np.cumsum(np.exp(-0.5 * distance))

    @property
    def mass(self) -> float:
        """How much of the Gaussian lies between the bounds, in units that are the same for all cuts of it."""
        return float(self._grid[1][-1])

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One person's numbers, (d,): whole years, and a heart rate of any value."""
        points, density = self._grid
        at = int(np.searchsorted(density, rng.random() * density[-1], side="right"))
        point = points[min(at, len(points) - 1)]
        between = rng.random(len(point)) - 0.5
        whole = np.array([name == "age" for name in self.names])
        return np.clip(np.where(whole, point, point + between), self.low, self.high)
