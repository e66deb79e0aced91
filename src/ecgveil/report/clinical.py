"""The clinical tables of the report, real beside synthetic, each with what could not be measured.

They are those of Thambawita et al. 2021, *DeepFake electrocardiograms*: Table 2 (mean, SD, 2.5 % and 97.5 % of the
measurements) and Table S4 (the commonest statements of ECGs not called normal).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy.stats import norm

from ecgveil.evaluation import Evaluation, Features
from ecgveil.report.figures import SETS
from ecgveil.report.guard import LEAST_BAR, LEAST_MEAN, enough, guarded, people

# Column, words, unit: first those of Table 2 in its order, then what goes past it.
MEASUREMENTS = (
    ("heart_rate_bpm", "Heart rate", "bpm"),
    ("p_duration_ms", "P duration", "ms"),
    ("qt_interval_ms", "QT interval", "ms"),
    ("qrs_duration_ms", "QRS duration", "ms"),
    ("pr_interval_ms", "PR interval", "ms"),
    ("stj_v5_uv", "STJ amplitude (V5)", "uV"),
    ("r_v5_uv", "R amplitude (V5)", "uV"),
    ("t_v5_uv", "T amplitude (V5)", "uV"),
    ("qtc_fridericia_ms", "QTc, Fridericia", "ms"),
    ("rr_sd_ms", "SD of RR intervals", "ms"),
)
CONCLUSIONS = ("normal", "otherwise normal", "abnormal", "not interpretable")
NORMAL = CONCLUSIONS[0]
MOST_STATEMENTS, MOST_REASONS = 10, 6
TAIL = 0.025  # share of the ECGs beyond each percentile shown
NAMES = tuple(name for _, name, _, _ in SETS)
TOO_FEW_PEOPLE = f"fewer than {LEAST_MEAN} people"
A_FEW = f"fewer than {LEAST_BAR}"


@dataclass(frozen=True)
class Share:
    """Part of a set, with its 95 % interval (Wilson)."""

    count: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.count / self.n if self.n else float("nan")


def column(features: Features, name: str) -> np.ndarray:
    """A measurement of every ECG, (n,), whatever the case of its lead; NaN where it was not measured."""
    found = [each for each in features.table if str(each).lower() == name]
    return features.table[found[0]].to_numpy(float) if found else np.full(len(features), np.nan)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of `n` independent draws (Wilson 1927, J Am Stat Assoc 22:209).

    >>> [round(each, 3) for each in wilson(0.5, 10)]
    [0.237, 0.763]
    """
    if not n:
        return float("nan"), float("nan")
    z = float(norm.ppf(0.975))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def table2(evaluation: Evaluation, *, public: bool = False) -> list[dict]:
    """Mean, SD, 2.5 % and 97.5 % of each measurement, for each set, as text.

    `public` leaves out figures over fewer than `LEAST_MEAN` real people, percentiles beyond which fewer than
    `LEAST_BAR` of them lie, and counts below `LEAST_BAR`.
    """
    return [
        {
            "name": name,
            "unit": unit,
            "lines": [
                {"set": label, "class": _class(which), **_line(getattr(evaluation, which), which, key, public)}
                for label, which, _, _ in SETS
            ],
        }
        for key, name, unit in MEASUREMENTS
    ]


def _line(features: Features, name: str, key: str, public: bool) -> dict:
    """One set's line of a measurement: its values, or why there are none, and how many were measured and not."""
    values = column(features, key)
    there = np.isfinite(values)
    counts = _counts(features, there, guarded(name, public))
    if not there.any():
        return {"values": [], "why": "not measured", **counts}
    if not enough(features, name, public, there):
        return {"values": [], "why": TOO_FEW_PEOPLE, "n": "", "missing": ""}
    measured = values[there]
    low, high = np.percentile(measured, [100 * TAIL, 100 * (1 - TAIL)])
    if people(features, there) * TAIL < (LEAST_BAR if guarded(name, public) else 1):
        low = high = np.nan  # a percentile would be the value of a person, or a guess
    spread = measured.std(ddof=1) if len(measured) > 1 else np.nan
    figures = [measured.mean(), spread, low, high]
    digits = 0 if key.endswith("_uv") else 1
    return {
        "values": [f"{round(each, digits) + 0.0:.{digits}f}" if np.isfinite(each) else "-" for each in figures],
        "why": "",
        **counts,
    }


def _counts(features: Features, there: np.ndarray, hide: bool) -> dict[str, str]:
    few = hide and 0 < people(features, ~there) < LEAST_BAR
    return {
        "n": f"all but a few of {len(there)}" if few else str(int(there.sum())),
        "missing": A_FEW if few else str(int((~there).sum())),
    }


def tellable(features: Features, name: str, public: bool) -> bool:
    """May the share of normal ECGs be told? Not where few real people are, or few are not, on a page to pass on."""
    found = _conclusion(features)
    if found is None or not guarded(name, public):
        return found is not None
    sides = (people(features, found == NORMAL), people(features, found != NORMAL))
    return people(features) >= LEAST_MEAN and not any(0 < each < LEAST_BAR for each in sides)


def share_of(features: Features, among: np.ndarray, of: np.ndarray | None = None) -> Share:
    """How many of the ECGs `of` are `among`; the interval counts persons, of whom several ECGs say little more."""
    of = np.ones(len(features), bool) if of is None else of
    n, count = int(of.sum()), int((among & of).sum())
    low, high = wilson(count / n if n else 0.0, people(features, of))
    return Share(count, n, low, high)


def interpretable(features: Features) -> bool:
    """Whether any ECG of the set got a conclusion; none does in a unit other than mV."""
    found = _conclusion(features)
    return found is not None and bool((found != CONCLUSIONS[-1]).any())


def normal_share(features: Features) -> Share | None:
    """Share of the ECGs called normal; None where no conclusion was drawn."""
    found = _conclusion(features)
    return None if found is None else share_of(features, found == NORMAL)


def conclusions(evaluation: Evaluation, *, public: bool = False) -> list[dict]:
    """Each conclusion and its share in each set, as text; empty where none was drawn."""
    found = _of_every_set(evaluation, _conclusion)
    if not found:
        return []
    every = {str(value) for each in found.values() for value in each}
    kinds = [*CONCLUSIONS, *sorted(every - set(CONCLUSIONS))]
    columns = []
    for name in NAMES:
        features = getattr(evaluation, name)
        cells = [_cell(features, name, found[name] == kind, None, public, interval=True) for kind in kinds]
        if any(cell["more"] == A_FEW for cell in cells):  # each ECG has one: the other shares would tell the hidden one
            cells = [cell if cell["more"] == A_FEW else {"share": "", "more": ""} for cell in cells]
        columns.append(cells)
    return [{"name": kind, "cells": list(cells)} for kind, *cells in zip(kinds, *columns, strict=True)]


def statements(evaluation: Evaluation, *, public: bool = False) -> list[dict]:
    """The commonest statements of ECGs not called normal, as shares of these in each set.

    A statement that a normal ECG carries too is no reason to call one otherwise, and is left out.
    """
    found = _of_every_set(evaluation, _conclusion)
    carried = _of_every_set(evaluation, lambda features: _items(features, "codes"))
    if not found or not carried:
        return []
    others = {name: found[name] != NORMAL for name in NAMES}
    harmless = {
        code
        for name in NAMES
        for codes, other in zip(carried[name], others[name], strict=True)
        if not other
        for code in codes
    }
    words = {code: said for name in NAMES for code, said in _texts(getattr(evaluation, name)).items()}
    rows = _ranked(evaluation, carried, others, harmless, MOST_STATEMENTS, public)
    return [{**row, "name": words.get(row["name"], row["name"])} for row in rows]


def reasons(evaluation: Evaluation, *, public: bool = False) -> list[dict]:
    """The commonest reasons why a value is missing, as shares of all ECGs in each set."""
    given = _of_every_set(evaluation, lambda features: _items(features, "reasons"))
    if not given:
        return []
    everyone = {name: np.ones(len(getattr(evaluation, name)), bool) for name in NAMES}
    return _ranked(evaluation, given, everyone, set(), MOST_REASONS, public)


def not_normal(evaluation: Evaluation, *, public: bool = False) -> list[str]:
    """How many ECGs of each set the shares of `statements` are shares of, as text."""
    told = []
    for name in NAMES:
        features = getattr(evaluation, name)
        found = _conclusion(features)
        if found is None or not enough(features, name, public):
            told.append("")
            continue
        few = guarded(name, public) and 0 < people(features, found != NORMAL) < LEAST_BAR
        told.append(A_FEW if few else str(int((found != NORMAL).sum())))
    return told


def _ranked(
    evaluation: Evaluation, carried: dict, of: dict[str, np.ndarray], without: set[str], most: int, public: bool
) -> list[dict]:
    """Rows of the codes that are commonest in any set, each with its cell for each set."""
    holders: dict[str, dict[str, np.ndarray]] = {}
    for name in NAMES:
        for code in {code for codes in carried[name] for code in codes} - without:
            holders.setdefault(code, {})[name] = np.array([code in codes for codes in carried[name]], bool)
    rank: dict[str, float] = {}
    for code, sets in holders.items():
        shares = [
            share_of(getattr(evaluation, name), among, of[name]).value
            for name, among in sets.items()
            if _told(getattr(evaluation, name), name, among & of[name], public)
        ]
        if shares and max(shares) > 0:  # on a public page what only one or two real people have is not told
            rank[code] = max(shares)
    rows = []
    for code in sorted(rank, key=lambda each: (-rank[each], each))[:most]:
        cells = []
        for name in NAMES:
            features = getattr(evaluation, name)
            among = holders[code].get(name, np.zeros(len(features), bool))
            cells.append(_cell(features, name, among, of[name], public))
        rows.append({"name": code, "cells": cells})
    return rows


def _told(features: Features, name: str, among: np.ndarray, public: bool) -> bool:
    return enough(features, name, public) and not (guarded(name, public) and people(features, among) < LEAST_BAR)


def _cell(
    features: Features, name: str, among: np.ndarray, of: np.ndarray | None, public: bool, *, interval: bool = False
) -> dict[str, str]:
    """A share as text, with its interval or its count."""
    if not enough(features, name, public):
        return {"share": "", "more": TOO_FEW_PEOPLE}
    share = share_of(features, among, of)
    if not share.n:
        return {"share": "-", "more": ""}
    if guarded(name, public) and 0 < people(features, among if of is None else among & of) < LEAST_BAR:
        return {"share": "", "more": A_FEW}
    more = f"{100 * share.low:.1f} to {100 * share.high:.1f}" if interval else str(share.count)
    return {"share": f"{100 * share.value:.1f} %", "more": more}


def _class(name: str) -> str:
    return "synthetic" if name == "synthetic" else "real"


def _conclusion(features: Features) -> np.ndarray | None:
    if "conclusion" not in features.table:
        return None
    return features.table["conclusion"].fillna(CONCLUSIONS[-1]).to_numpy(str)


def _of_every_set(evaluation: Evaluation, read: Callable) -> dict:
    """What `read` finds in each set, by name; empty where a set lacks it."""
    found = {name: read(getattr(evaluation, name)) for name in NAMES}
    return {} if any(each is None for each in found.values()) else found


def _items(features: Features, name: str) -> list[list[str]] | None:
    """The parts of a joined column, for each ECG."""
    return [_parts(joined) for joined in features.table[name].fillna("")] if name in features.table else None


def _parts(joined: str) -> list[str]:
    return [part.strip() for part in str(joined).split(";") if part.strip()]


def _texts(features: Features) -> dict[str, str]:
    """What each code says, where codes and statements go together one by one."""
    if not {"codes", "statements"} <= set(features.table):
        return {}
    said: dict[str, str] = {}
    for codes, texts in features.table[["codes", "statements"]].fillna("").drop_duplicates().itertuples(index=False):
        pairs = list(zip(_parts(codes), _parts(texts), strict=False))
        if len(pairs) == len(_parts(codes)) == len(_parts(texts)):
            said.update(pairs)
    return said
