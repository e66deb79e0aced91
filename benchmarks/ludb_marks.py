"""LUDB's manual marks, and how marks are compared with them; used by the benchmarks beside it.

Source: Kalyakulina et al., IEEE Access 8:186181, 2020 (LUDB 1.0.1). The annotators are the leads in lower case; the
first and last beats of a record are not marked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import wfdb

from ecgveil import ECGSet, read
from ecgveil.leads import LEADS_12
from ecgveil.measure.delineate import Mark

KINDS = ("p", "N", "t")
TOLERANCE_MS = 150.0  # between the middles of two waves that are the same (Moskalenko et al., 2019, take it too)
_EDGE_MS = 60.0  # what lies further outside the marked stretch is not judged
_LEAST_LEADS = 4
_SAME_WAVE_MS = {"p": 100.0, "N": 100.0, "t": 150.0}


def load(folder: Path) -> tuple[ECGSet, list[dict[str, list[Mark]]]]:
    """All records, and for each: annotator -> its marks in samples, NaN for an edge that is not marked."""
    ecgs, _ = read(folder, leads=LEADS_12, allow=("saturated", "noise"))
    marks = [{lead.lower(): _marks(folder / name, lead.lower()) for lead in ecgs.leads} for name in ecgs.record_name]
    for each in marks:
        each["global"] = in_common(list(each.values()), ecgs.fs)
    return ecgs, marks


def _marks(record: Path, annotator: str) -> list[Mark]:
    notes = wfdb.rdann(str(record), annotator)
    symbols, samples = ["", *notes.symbol, ""], np.concatenate([[np.nan], notes.sample, [np.nan]])
    return [
        Mark(
            symbol,
            samples[i - 1] if symbols[i - 1] == "(" else np.nan,
            samples[i],
            samples[i + 1] if symbols[i + 1] == ")" else np.nan,
        )
        for i, symbol in enumerate(symbols)
        if symbol in KINDS
    ]


def in_common(by_lead: Sequence[Sequence[Mark]], fs: float) -> list[Mark]:
    """The median over the leads of each wave that at least four leads have, with both edges."""
    found = []
    for kind in KINDS:
        whole = [mark for marks in by_lead for mark in marks if mark.kind == kind and np.isfinite(mark[1:]).all()]
        whole.sort(key=lambda mark: mark.peak)
        group: list[Mark] = []
        for mark in [*whole, None]:
            apart = group and mark and mark.peak - np.median([m.peak for m in group]) > _SAME_WAVE_MS[kind] * fs / 1000
            if mark is None or apart:
                if len(group) >= _LEAST_LEADS:
                    found.append(Mark(kind, *(float(v) for v in np.median([m[1:] for m in group], axis=0))))
                group = []
            if mark is not None:
                group.append(mark)
    return sorted(found, key=lambda mark: mark.onset)


@dataclass
class Score:
    """Marks found of one kind, and how far their edges lie from the true ones, in ms."""

    hit: int = 0
    true: int = 0
    found: int = 0
    onset: list[float] = field(default_factory=list)
    offset: list[float] = field(default_factory=list)

    def add(self, other: Score) -> None:
        self.hit, self.true, self.found = self.hit + other.hit, self.true + other.true, self.found + other.found
        self.onset += other.onset
        self.offset += other.offset

    def __str__(self) -> str:
        sensitivity = self.hit / self.true if self.true else np.nan
        ppv = self.hit / self.found if self.found else np.nan
        errors = [
            f"{np.mean(e):+6.1f} +- {np.std(e):4.1f}" if e else "no edge found   " for e in (self.onset, self.offset)
        ]
        return f"Se {sensitivity:7.2%}  PPV {ppv:7.2%}  onset {errors[0]} ms  offset {errors[1]} ms  (n = {self.true})"


def compare(found: Iterable[Mark], true: Sequence[Mark], fs: float) -> dict[str, Score]:
    """Score of each kind in one track; every true wave takes the nearest found one that is not taken yet."""
    edges = [value for mark in true for value in mark[1:] if np.isfinite(value)]
    scores = {kind: Score() for kind in KINDS}
    if not edges:
        return scores
    ms = 1000 / fs
    low, high = min(edges) * ms - _EDGE_MS, max(edges) * ms + _EDGE_MS
    for kind, score in scores.items():
        wanted = [mark for mark in true if mark.kind == kind]
        offered = [m for m in found if m.kind == kind and low <= _middle(m) * ms <= high]
        score.true, score.found = len(wanted), len(offered)
        taken: set[int] = set()
        for mark in wanted:
            near = [(abs(_middle(m) - _middle(mark)) * ms, i) for i, m in enumerate(offered) if i not in taken]
            distance, i = min(near, default=(np.inf, -1))
            if distance > TOLERANCE_MS:
                continue
            taken.add(i)
            score.hit += 1
            for errors, ours, theirs in (
                (score.onset, offered[i].onset, mark.onset),
                (score.offset, offered[i].offset, mark.offset),
            ):
                if np.isfinite(ours) and np.isfinite(theirs):
                    errors.append((ours - theirs) * ms)
    return scores


def _middle(mark: Mark) -> float:
    middle = (mark.onset + mark.offset) / 2
    return middle if np.isfinite(middle) else mark.peak
