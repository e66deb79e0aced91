"""Tables -> small grey images, and back: P1 sections 3.3.1 and 3.3.2, with the arrangements of its Fig. 4."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ecgveil.errors import ConfigError, RunError
from ecgveil.standardize import LEVELS
from ecgveil.tables import TableSet

Cells = list[list[int]]  # of each feature, its cells, counted like a page is read


def _rows_needed(number: int, width: int) -> int:
    return -(-number // width)


def _zones(binary: list[bool], side: int) -> list[tuple[int, int]]:
    """(row, column) of each feature: continuous ones at the top, binary ones at the bottom, as narrow as can be."""
    n_binary = sum(binary)
    n_continuous = len(binary) - n_binary
    for width in range(1, side + 1):
        if _rows_needed(n_continuous, width) + _rows_needed(n_binary, width) <= side:
            break
    else:
        raise ConfigError(_too_small(len(binary), side))
    start = side - _rows_needed(n_binary, width)
    places, seen = [], [0, start * width]
    for each in binary:
        places.append(divmod(seen[each], width))
        seen[each] += 1
    return places


def _left(binary: list[bool], side: int) -> Cells:
    return [[row * side + column] for row, column in _zones(binary, side)]


def _top(binary: list[bool], side: int) -> Cells:
    return [[column * side + row] for row, column in _zones(binary, side)]


def _page(binary: list[bool], side: int) -> Cells:
    return [[cell] for cell in range(len(binary))]


def _square(binary: list[bool], side: int) -> Cells:
    small = int(np.ceil(np.sqrt(len(binary))))
    order = np.argsort(np.array(binary), kind="stable")  # continuous features first
    cells: Cells = [[] for _ in binary]
    for place, feature in enumerate(order):
        row, column = divmod(place, small)
        cells[feature] = [row * side + column]
    return cells


def _spread(binary: list[bool], side: int) -> Cells:
    times = side * side // len(binary)
    order = np.argsort(np.array(binary), kind="stable")
    cells: Cells = [[] for _ in binary]
    for place, feature in enumerate(order):
        cells[feature] = list(range(place * times, (place + 1) * times))
    return cells


# Where the features lie in the square. P1's Fig. 4 is a picture of several, and its text describes the one taken: it
# has a "binary zone (bottom left)" and a "NULL side (right side)". 6 and 15 features fill three columns of seven cells
# to the last, in 2 rows and 5 rows, and leave four columns NULL: that is `left`.
TABLE_ARRANGEMENTS: dict[str, Callable[[list[bool], int], Cells]] = {
    "left": _left,  # continuous above binary, in the leftmost columns; NULL at the right
    "top": _top,  # the same turned: continuous left of binary, in the upper rows; NULL below
    "page": _page,  # in the order of the table, read like a page; NULL after the last
    "square": _square,  # the smallest square at the top left, continuous first
    "spread": _spread,  # continuous first, each feature as many cells in a row as there is room for
}


def _too_small(features: int, side: int) -> str:
    return (
        f"{features} features do not fit {side} x {side} cells; raise data.side or leave columns out with data.ignore"
    )


@dataclass
class TableEncoder:
    """Rows of a table -> (n, 1, side, side) in [-1, 1] as 8-bit grey levels have it, and back.

    A continuous feature takes levels a to 255 between the extremes of the training part (P1 eq. 2), a binary one level
    a or 255; level 0 is NULL where a > 0: a missing value, and every cell that bears no feature. Features with at most
    two values in the training part are binary. In decoding, grey levels are rounded, the cells of one feature averaged,
    binary features cut at the middle; NULL is missing only where the training part missed a value of that feature,
    elsewhere it is read as level a.

    Parameters
    ----------
    names, side, a, arrange : of the features; cells of a side; lowest level of a value; a key of `TABLE_ARRANGEMENTS`
    binary_, low_, high_, missing_ : of each feature: whether it is binary, its extremes, whether values were missing
    """

    names: tuple[str, ...]
    side: int
    a: int
    arrange: str
    binary_: list[bool]
    low_: list[float]
    high_: list[float]
    missing_: list[bool]

    @classmethod
    def fit(cls, train: TableSet, arrange: str, *, side: int = 7, a: int = 1) -> TableEncoder:
        """Fit on the training part alone.

        Raises
        ------
        ConfigError
            Too many features for the square, a feature without any value, or missing values where a is 0.
        """
        if len(train.names) > side * side:
            raise ConfigError(_too_small(len(train.names), side))
        gone = np.isnan(train.values)
        if gone.all(axis=0).any():
            raise ConfigError(f"'{train.names[int(gone.all(axis=0).argmax())]}' has no value; name it in data.ignore")
        if gone.any() and a == 0:
            name = train.names[int(gone.any(axis=0).argmax())]
            raise ConfigError(
                f"encoder.a is 0, so that no level is left for the missing values of '{name}'; set it to 1"
            )
        binary = train.two_valued()
        low, high = np.nanmin(train.values, axis=0), np.nanmax(train.values, axis=0)
        for i in np.flatnonzero(binary):  # a rare yes may be absent in the training part
            if {low[i], high[i]} <= {0.0, 1.0}:
                low[i], high[i] = 0.0, 1.0
        encoder = cls(
            train.names, side, a, arrange, binary.tolist(), low.tolist(), high.tolist(), gone.any(axis=0).tolist()
        )
        encoder.cells()
        return encoder

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, self.side, self.side

    def cells(self) -> Cells:
        """The cells of each feature, counted like a page is read."""
        return TABLE_ARRANGEMENTS[self.arrange](self.binary_, self.side)

    def null_cells(self) -> np.ndarray:
        """Cells that bear no feature, bool (side * side,)."""
        null = np.ones(self.side * self.side, bool)
        null[[cell for cells in self.cells() for cell in cells]] = False
        return null

    def encode(self, table: TableSet) -> tuple[np.ndarray, None]:
        """Tensor float32 (n, 1, side, side); values beyond those of the training part are cut.

        Raises
        ------
        ConfigError
            The columns are others than those fitted.
        """
        if table.names != self.names:
            raise ConfigError(f"the encoder takes {', '.join(self.names)}, not {', '.join(table.names)}")
        low, high = np.array(self.low_), np.array(self.high_)
        span = np.where(high > low, high - low, 1.0)
        share = (np.clip(table.values, low, high) - low) / span
        share = np.where(self.binary_, np.rint(share), share)
        levels = np.where(np.isnan(share), 0.0, np.rint(share * (LEVELS - self.a) + self.a))
        square = np.zeros((len(table), self.side * self.side), np.float32)
        for feature, cells in enumerate(self.cells()):
            square[:, cells] = levels[:, [feature]]
        return (square / (LEVELS / 2) - 1).reshape(-1, *self.shape).astype(np.float32), None

    def decode(self, tensor: np.ndarray, first: int = 0) -> TableSet:
        """(n, 1, side, side) -> rows; `first` is the number of the first of them, which changes nothing."""
        square = grey_levels(tensor).reshape(len(tensor), -1)
        levels = np.stack([square[:, cells].mean(axis=1) for cells in self.cells()], axis=1)
        share = np.clip((levels - self.a) / (LEVELS - self.a), 0.0, 1.0)
        share = np.where(self.binary_, share >= 0.5, share)
        low, high = np.array(self.low_), np.array(self.high_)
        values = np.where(np.array(self.missing_) & (levels < self.a / 2), np.nan, low + share * (high - low))
        return TableSet(values, self.names)

    def null_share(self, tensor: np.ndarray) -> float:
        """Share of rows whose cells without a feature are all 0 in whole grey levels; NaN where there are none."""
        null = self.null_cells()
        if not null.any() or not len(tensor):
            return float("nan")
        return float((grey_levels(tensor).reshape(len(tensor), -1)[:, null] == 0).all(axis=1).mean())

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"names": list(self.names)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableEncoder:
        try:
            return cls(**{**data, "names": tuple(data["names"])})
        except (KeyError, TypeError) as error:
            raise RunError(f"encoder.json is damaged ({error}); fit again") from error


def grey_levels(tensor: np.ndarray) -> np.ndarray:
    """[-1, 1] -> whole grey levels 0 to 255, float64, as an 8-bit image has them."""
    return np.rint(np.clip((np.asarray(tensor, np.float64) + 1) * (LEVELS / 2), 0, LEVELS))
