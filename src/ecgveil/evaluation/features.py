"""What the fidelity figures compare: numbers of single records, computed once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import welch

from ecgveil.ecg import ECGSet
from ecgveil.measure import measure
from ecgveil.measure.beats import iter_beats

PSD_BAND_HZ = (0.5, 40.0)
_ROWS = 64


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers of each record of a set; rows are records.

    Parameters
    ----------
    leads : of the set, and of the arrays here
    table : `measure.measure` of the set; it also has the limb leads that can be computed
    psd_db : (n, n_leads, n_freqs) power spectral density, dB re 1 unit^2/Hz; -inf where there is no power
    freqs_hz : (n_freqs,)
    correlation : (n, n_leads, n_leads) between the leads over time; 0 where a lead is flat
    beat_likeness : (n,) mean correlation of the single beats with the record's median beat; NaN without two beats
    patient_id : (n,)
    """

    leads: tuple[str, ...]
    table: pd.DataFrame
    psd_db: np.ndarray
    freqs_hz: np.ndarray
    correlation: np.ndarray
    beat_likeness: np.ndarray
    patient_id: np.ndarray

    def __len__(self) -> int:
        return len(self.table)


def compute_features(ecgs: ECGSet, peaks: list[np.ndarray]) -> Features:
    """Features of every record of a set, whose R peaks are `peaks`."""
    blocks = [ecgs.signal[start : start + _ROWS] for start in range(0, len(ecgs), _ROWS)]
    spectra = [psd_db(block, ecgs.fs) for block in blocks]
    return Features(
        leads=ecgs.leads,
        table=measure(ecgs, peaks),
        psd_db=np.concatenate([db for _, db in spectra]),
        freqs_hz=spectra[0][0],
        correlation=np.concatenate([lead_correlation(block) for block in blocks]),
        beat_likeness=np.array([_likeness(beats) for beats in iter_beats(ecgs, peaks)], float),
        patient_id=np.array(ecgs.patient_id),
    )


def psd_db(signal: np.ndarray, fs: float) -> tuple[np.ndarray, np.ndarray]:
    """Welch spectrum of each lead, segments of 2 s, 0.5-40 Hz or up to 0.45 fs.

    Returns
    -------
    freqs_hz : (n_freqs,)
    psd_db : float32 (n, n_leads, n_freqs)
    """
    length = min(signal.shape[-1], round(2 * fs))
    freqs, power = welch(signal, fs, nperseg=length, axis=-1)
    inside = (freqs >= PSD_BAND_HZ[0]) & (freqs <= min(PSD_BAND_HZ[1], 0.45 * fs))
    with np.errstate(divide="ignore"):  # no power is -inf dB, on purpose
        return freqs[inside], 10 * np.log10(power[..., inside])


def lead_correlation(signal: np.ndarray) -> np.ndarray:
    """Pearson correlation between leads over time, (n, L, T) -> (n, L, L); 0 where a lead is flat."""
    centred = signal - signal.mean(axis=-1, keepdims=True, dtype=float)
    norm = np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    unit = np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0)
    return unit @ unit.swapaxes(-1, -2)


def _likeness(beats: np.ndarray) -> float:
    """Mean correlation of beats (n_beats, L, W) with their median, all leads together."""
    if len(beats) < 2:
        return np.nan
    flat = beats.reshape(len(beats), -1).astype(float)
    middle = np.median(flat, axis=0)
    flat, middle = flat - flat.mean(axis=1, keepdims=True), middle - middle.mean()
    norm = np.linalg.norm(flat, axis=1) * np.linalg.norm(middle)
    return float(np.mean(flat @ middle / norm)) if norm.all() else np.nan


def draw_rows(patient_id: np.ndarray, n: int, rng: np.random.Generator, *, replace: bool) -> np.ndarray:
    """Rows of `n` patients drawn at random, one record for each draw, so that nobody counts by their many records."""
    _, counts = np.unique(patient_id, return_counts=True)
    by_patient = np.argsort(patient_id, kind="stable")
    starts = np.cumsum(counts) - counts
    drawn = rng.choice(len(counts), n, replace=replace)
    return by_patient[starts[drawn] + rng.integers(counts[drawn])]
