"""TableSet: rows of numbers from a text table, and back to a table that says it is synthetic."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TextIO

import numpy as np

from ecgveil.errors import RecordError
from ecgveil.files import write_atomic

MISSING = ("", "?", "na", "nan", "null", "none")  # in a file, in lower case
SYNTHETIC = "synthetic"  # name of the first column of a table that was generated, and how its values begin
MAX_VALUES = 50_000_000
_COMMENTS = ("#", "%", "@")  # KEEL and ARFF describe their columns in lines that begin with @
_LONGEST_LINE = 1_000_000  # characters

Line = tuple[int, list[str]]  # its number, and its fields


@dataclass(frozen=True, eq=False)
class TableSet:
    """Rows of numeric features, validated once, here.

    Parameters
    ----------
    values : float64 (n_rows, n_features), NaN where a value is missing
    names : of the features, each once

    Raises
    ------
    RecordError
        A shape, name or value does not fit.
    """

    values: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.values, np.float64) + 0.0  # -0.0 becomes 0.0: equal rows have equal bytes
        if values.ndim != 2 or values.shape[1] != len(self.names) or not self.names:
            raise RecordError(
                f"values have shape {values.shape} for {len(self.names)} names; they need (rows, features)"
            )
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise RecordError(f"column name '{twice}' occurs more than once; each column needs its own")
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0]
            raise RecordError(f"{self.names[column]} of row {row + 1} is not finite; correct it or leave it empty")
        object.__setattr__(self, "values", np.where(np.isnan(values), np.nan, values))
        object.__setattr__(self, "names", tuple(self.names))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def patient_id(self) -> tuple[str, ...]:
        """Equal rows share one: they may be one person, who must not be learned from and held out at once."""
        seen: dict[bytes, str] = {}
        return tuple(seen.setdefault(row.tobytes(), str(i)) for i, row in enumerate(self.values))

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        return ((),) * len(self)

    def take(self, rows: Sequence[int] | np.ndarray) -> TableSet:
        """The rows at these integer positions, in that order."""
        return replace(self, values=self.values[np.asarray(rows, dtype=int)])

    def content(self) -> tuple[str, np.ndarray]:
        """What tells this set from others: its form, and its values."""
        return repr((self.values.shape, self.names)), self.values

    def two_valued(self) -> np.ndarray:
        """Which features take at most two values, bool (n_features,)."""
        return np.array([len(np.unique(column[~np.isnan(column)])) <= 2 for column in self.values.T], bool)


def join_tables(sets: Sequence[TableSet]) -> TableSet:
    """Several tables of the same columns as one.

    Raises
    ------
    RecordError
        Their columns differ.
    """
    for other in sets[1:]:
        if other.names != sets[0].names:
            raise RecordError(
                f"tables differ in their columns: {', '.join(sets[0].names)} and {', '.join(other.names)}; mend one"
            )
    return TableSet(np.concatenate([each.values for each in sets]), sets[0].names)


def read_table(
    path: str | Path, *, columns: Sequence[str] = (), ignore: Sequence[str] = ()
) -> tuple[TableSet, list[str]]:
    """A text table: comma, semicolon, tab or blanks between its values, with a header row or without.

    Lines that begin with #, % or @ are comments. Missing values are empty, ?, NA, NaN, null or none. Several files of
    one form are joined with `join_tables`.

    Parameters
    ----------
    path : text file
    columns : names of the columns where the file has no header row
    ignore : columns to leave out, such as a class or a record number; upper and lower case are the same

    Returns
    -------
    (TableSet, list of str)
        The rows, and notes on what was read.

    Raises
    ------
    RecordError
        No such file, no text, a row of another length, a value that is no number, or too much.
    """
    path = Path(path)
    names, lines = _header(path, _lines(path), columns)
    notes = []
    left_out = {name.lower() for name in ignore}
    present = {name.lower() for name in names}
    unknown = [name for name in ignore if name.lower() not in present]
    if unknown:
        raise RecordError(
            f"{path}: no column '{unknown[0]}' to leave out, as data.ignore asks; there are {', '.join(names)}"
        )
    if any(name.lower() == SYNTHETIC for name in names):
        left_out.add(SYNTHETIC)
        notes.append("What is called real here was itself made by ecgveil: this shows the program, not a clinic.")
    kept = [i for i, name in enumerate(names) if name.lower() not in left_out]
    if not kept:
        raise RecordError(f"{path}: every column is ignored; keep one")
    values = np.array([[_number(fields[i], path, line, names[i]) for i in kept] for line, fields in lines])
    return TableSet(values, tuple(names[i] for i in kept)), notes


def write_table(table: TableSet, path: Path, first: int = 0) -> None:
    """A CSV file whose first column says of every row that it is synthetic; values to six significant digits."""
    lines = [",".join([SYNTHETIC, *(_quoted(name) for name in table.names)])]
    for k, row in enumerate(table.values, start=first):
        lines.append(",".join([f"{SYNTHETIC}_{k:06d}", *("" if np.isnan(value) else f"{value:.6g}" for value in row)]))
    write_atomic(path, "\n".join(lines) + "\n")


def _lines(path: Path) -> list[Line]:
    """The fields of each line that is no comment."""
    if not path.is_file():
        wrong = "is a folder" if path.is_dir() else "no such table"
        raise RecordError(f"{path}: {wrong}; give a text file with a row for each person")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            found = _parsed(_text_lines(file), path)
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is no text table (byte {error.start} is no UTF-8); give a CSV file") from error
    except csv.Error as error:
        raise RecordError(f"{path} cannot be read as a table ({error}); give a CSV file") from error
    except OSError as error:
        raise RecordError(f"{path}: cannot read ({error.strerror}); give a file that can be read") from error
    if not found:
        raise RecordError(f"{path} holds no rows; give a table with a row for each person")
    if len(found[0][1]) > 1 and all(fields[-1] == "" for _, fields in found):  # a delimiter at the end of each line
        found = [(line, fields[:-1]) for line, fields in found]
    return found


def _text_lines(file: TextIO) -> Iterator[tuple[int, str]]:
    """The numbered lines that are neither blank nor a comment; a file without line ends is no table."""
    for number in count(1):
        text = file.readline(_LONGEST_LINE)
        if not text:
            return
        if "\0" in text or len(text) == _LONGEST_LINE:
            raise csv.Error(f"line {number} holds a zero byte, or {_LONGEST_LINE} characters and more")
        if text.strip() and not text.lstrip().startswith(_COMMENTS):
            yield number, text


def _parsed(lines: Iterator[tuple[int, str]], path: Path) -> list[Line]:
    found: list[Line] = []
    delimiter = ""
    for number, text in lines:
        delimiter = delimiter or next((mark for mark in ",;\t" if mark in text), " ")
        if delimiter == " ":
            fields = text.split()
        else:
            fields = next(csv.reader([text], delimiter=delimiter, skipinitialspace=True))
        first, expected = (found[0][0], len(found[0][1])) if found else (number, len(fields))
        if len(fields) != expected:
            raise RecordError(f"{path}: line {number} has {len(fields)} values, line {first} has {expected}; mend it")
        if len(found) * expected > MAX_VALUES:
            raise RecordError(f"{path} holds more than {MAX_VALUES} values; give fewer rows or columns")
        found.append((number, [field.strip() for field in fields]))
    return found


def _header(path: Path, lines: list[Line], columns: Sequence[str]) -> tuple[list[str], list[Line]]:
    """Column names: those of a first row that is no data, or those given, or numbers; and the rows of data."""
    first = lines[0][1]
    if not all(_is_value(field) for field in first):
        if len(lines) == 1:
            raise RecordError(f"{path} holds a header and no rows; give a table with a row for each person")
        return [name or f"column_{i}" for i, name in enumerate(first, start=1)], lines[1:]
    if not columns:
        return [f"column_{i}" for i in range(1, len(first) + 1)], lines
    if len(columns) != len(first):
        told = ", ".join(columns)
        raise RecordError(
            f"{path} has {len(first)} columns, data.columns names {len(columns)}: {told}; name each column"
        )
    return list(columns), lines


def _is_value(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return field.lower() in MISSING
    return True


def _number(field: str, path: Path, line: int, name: str) -> float:
    if field.lower() in MISSING:
        return np.nan
    try:
        value = float(field)
    except ValueError:
        value = np.inf
    if not np.isfinite(value):
        shown = field if len(field) <= 40 else field[:40] + "..."
        raise RecordError(
            f"{path}: line {line}: {name} is '{shown}', which is no finite number; "
            "code it as a number, or leave the column out with data.ignore"
        )
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(mark in name for mark in ',"\n\r') else name
