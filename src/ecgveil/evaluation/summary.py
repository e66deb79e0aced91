"""What most figures need of a set, computed once, a block of records at a time: signals may lie on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.consistency import beat_variation
from ecgveil.evaluation.features import Features, compute_features
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes
from ecgveil.measure.beats import r_peaks

_ROWS = 128

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Summary:
    """What was computed of the records at `rows` of a set; `features`, `shapes.rows`, `variation` count in `rows`."""

    ecgs: ECGSet
    rows: np.ndarray
    features: Features
    shapes: BeatShapes
    variation: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


def summarise(ecgs: ECGSet, rows: np.ndarray, leads: tuple[str, ...], progress: Progress | None = None) -> Summary:
    """Features and beat shapes of the records at `rows`, their leads in the order of `leads`."""
    features, shapes, variation = [], [], []
    for start in range(0, len(rows), _ROWS):
        block = ecgs.take(rows[start : start + _ROWS]).pick(leads)
        peaks = r_peaks(block)
        features.append(compute_features(block, peaks))
        shapes.append(beat_shapes(block, peaks))
        variation.append(beat_variation(block, peaks))
        if progress:
            progress(start + len(block), len(rows))
    return Summary(ecgs, rows, _joined(features), _joined_shapes(shapes), np.concatenate(variation))


def shapes_of(ecgs: ECGSet, leads: tuple[str, ...]) -> BeatShapes:
    """Beat shapes alone, of every record."""
    shapes = []
    for start in range(0, len(ecgs), _ROWS):
        block = ecgs.take(range(start, min(start + _ROWS, len(ecgs)))).pick(leads)
        shapes.append(beat_shapes(block, r_peaks(block)))
    return _joined_shapes(shapes)


def _joined(parts: list[Features]) -> Features:
    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return Features(
        leads=parts[0].leads,
        table=pd.concat([part.table for part in parts], ignore_index=True),
        psd_db=joined("psd_db"),
        freqs_hz=parts[0].freqs_hz,
        correlation=joined("correlation"),
        beat_likeness=joined("beat_likeness"),
        patient_id=joined("patient_id"),
    )


def _joined_shapes(parts: list[BeatShapes]) -> BeatShapes:
    starts = np.cumsum([0, *(len(part.rows) + part.no_beat for part in parts)])
    return BeatShapes(
        shapes=np.concatenate([part.shapes for part in parts]),
        rows=np.concatenate([part.rows + start for part, start in zip(parts, starts[:-1], strict=True)]),
        patient_id=np.concatenate([part.patient_id for part in parts]),
        no_beat=sum(part.no_beat for part in parts),
    )
