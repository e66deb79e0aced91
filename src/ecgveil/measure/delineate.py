"""Onset, peak and offset of every P, QRS and T, in each lead and for all leads together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.measure.beats import LEAST_FS_HZ, LEAST_SECONDS
from ecgveil.measure.edges import edges
from ecgveil.measure.inference import CLASSES, probabilities
from ecgveil.measure.prepare import Block, iter_blocks

if TYPE_CHECKING:
    from ecgveil.measure.network import Delineator

OVERALL = "global"

_LEAST_MS = {"p": 40, "N": 32, "t": 60}  # what is shorter in the overall track is no wave
_JOIN_MS = 20
_ROOM_MS = 32  # a lead's wave may lie so far from the overall one
_PIECE_S, _OVERLAP_S = 30.0, 2.0


class Mark(NamedTuple):
    """One wave: `kind` 'p', 'N' (QRS) or 't' as in WFDB; onset, peak and offset in samples of the set's rate."""

    kind: str
    onset: float
    peak: float
    offset: float


def delineate(ecgs: ECGSet, network: Delineator | None = None) -> list[dict[str, list[Mark]]]:
    """The waves of every beat of each ECG.

    A wave is found over all leads together (annotator 'global') and then sought in each lead around that place, so a
    lead in which it cannot be seen has no mark of it.

    Parameters
    ----------
    ecgs : any leads, any unit, at least 60 Hz
    network : default, the one that ships with the package

    Returns
    -------
    list of dict
        For each ECG: annotator -> its marks in time order. Annotators are the leads in lower case and 'global', whose
        peak is that of the root mean square over the leads. All are empty for ECGs shorter than 1 s.

    Raises
    ------
    RecordError
        The sampling rate is too low to see a QRS.
    """
    if ecgs.fs < LEAST_FS_HZ:
        raise RecordError(f"fs is {ecgs.fs:g} Hz; finding waves needs {LEAST_FS_HZ:g} Hz or more")
    names = [lead.lower() for lead in ecgs.leads]
    if ecgs.seconds < LEAST_SECONDS:
        return [{name: [] for name in (*names, OVERALL)} for _ in range(len(ecgs))]
    found = []
    for block in iter_blocks(ecgs):
        back = ecgs.fs / block.fs
        for signal in block.complete(block.signal):
            tracks = _tracks(signal, block, network)
            marks = _marks(signal, *tracks, block.fs)
            scaled = [[Mark(m.kind, m.onset * back, m.peak * back, m.offset * back) for m in each] for each in marks]
            by_name = dict(zip((*(lead.lower() for lead in block.leads), OVERALL), scaled, strict=True))
            found.append({name: by_name[name] for name in (*names, OVERALL)})
    return found


def _tracks(signal: np.ndarray, block: Block, network: Delineator | None) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of one ECG, (L, 4, T) and (4, T); long ones go through the network in pieces that overlap."""
    size, piece, overlap = signal.shape[-1], round(_PIECE_S * block.fs), round(_OVERLAP_S * block.fs)
    if size <= piece + 2 * overlap:
        by_lead, overall = probabilities(signal[None], network)
        return by_lead[0], overall[0]
    leads, trunk = [], []
    for start in range(0, size, piece):
        low, high = max(0, start - overlap), min(size, start + piece + overlap)
        by_lead, overall = probabilities(signal[None, :, low:high], network)
        own = slice(start - low, min(start + piece, size) - low)
        leads.append(by_lead[0, :, :, own])
        trunk.append(overall[0, :, own])
    return np.concatenate(leads, -1), np.concatenate(trunk, -1)


def _marks(signal: np.ndarray, by_lead: np.ndarray, overall: np.ndarray, fs: float) -> list[list[Mark]]:
    """Marks of each lead and, last, of all together, in samples."""
    waves = find_waves(overall, fs)
    rows = np.concatenate([by_lead, overall[None]])  # (L + 1, 4, T)
    shown = np.concatenate([signal, np.sqrt(np.mean(signal**2, axis=0, keepdims=True))])
    marks: list[list[Mark]] = [[] for _ in rows]
    room = round(_ROOM_MS * fs / 1000)
    size = overall.shape[-1]
    for i, (kind, first, last) in enumerate(waves):
        # Half way to the wave before and to the wave after: beyond it a wave is not this one.
        low = (waves[i - 1][2] + waves[i - 1][1]) // 2 if i else 0
        high = (waves[i + 1][2] + waves[i + 1][1] + 1) // 2 if i + 1 < len(waves) else size
        begin = np.full(len(rows), max(first - room, low))
        end = np.full(len(rows), min(last + room, high))
        begin[-1], end[-1] = first, last
        whole = np.zeros(len(rows), int), np.full(len(rows), high - low)
        onset, offset = edges(rows[:, CLASSES[kind], low:high], begin - low, end - low, *whole, expected=True)
        for row in np.flatnonzero(np.isfinite(onset)):
            on, off = max(onset[row] + low, 0.0), min(offset[row] + low, size - 1.0)
            marks[row].append(Mark(kind, on, _peak(shown[row], on, off), off))
    return [sorted(each, key=lambda mark: mark.onset) for each in marks]


def find_waves(overall: np.ndarray, fs: float) -> list[tuple[str, int, int]]:
    """(kind, first sample, sample after the last) of each wave of a track of class probabilities (4, T)."""
    likeliest = overall.argmax(axis=0)
    waves = []
    for kind, number in CLASSES.items():
        step = np.diff(np.concatenate([[False], likeliest == number, [False]]).astype(int))
        runs: list[list[int]] = []
        for first, last in zip(np.flatnonzero(step == 1), np.flatnonzero(step == -1), strict=True):
            if runs and (first - runs[-1][1]) * 1000 / fs <= _JOIN_MS and not likeliest[runs[-1][1] : first].any():
                runs[-1][1] = int(last)
            else:
                runs.append([int(first), int(last)])
        waves += [(kind, first, last) for first, last in runs if (last - first) * 1000 / fs >= _LEAST_MS[kind]]
    return sorted(waves, key=lambda wave: wave[1])


def _peak(signal: np.ndarray, onset: float, offset: float) -> float:
    """Where a wave departs most from the line between its ends."""
    first, last = int(np.floor(onset)), min(int(np.ceil(offset)), len(signal) - 1)
    wave = signal[first : last + 1]
    line = np.linspace(wave[0], wave[-1], len(wave))
    return float(first + np.abs(wave - line).argmax())
