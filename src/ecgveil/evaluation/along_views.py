"""How sets of ECGs are looked at to follow a training: their measurements, one wave of each, and an encoder's view.

ECGs of at most 2 s are single beats, and their measurements those of `beat_features`; longer ones are windows, with the
clinical measurements of `measure`. Whatever is learned (encoder, scales, bins) is learned from one half of the training
patients, so that the other half can stand for real ECGs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy.signal import resample_poly

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.beat_features import LONGEST_S, beat_features
from ecgveil.evaluation.distribution import Scaling, clinical_features
from ecgveil.evaluation.divergence import histogram_edges
from ecgveil.evaluation.embedding import FS_HZ, Encoder, embed, fit_encoder, prepare
from ecgveil.evaluation.rules import COLUMNS
from ecgveil.evaluation.spectra import median_distance
from ecgveil.measure import measure
from ecgveil.measure.beats import median_beat, r_peaks

WAVE_HZ = 125.0
_LEAD = "II"
_STRIP_S = 2.0  # the encoder needs so much: a beat is shown to it again and again, as a strip


@dataclass(frozen=True, eq=False)
class View:
    """What is compared of n ECGs.

    Parameters
    ----------
    table : their measurements, from which rules speak
    measured : (n, d) the same as numbers, NaN where a value is missing
    scaled : (n, d') filled and scaled, of those that the training ECGs have
    encoded : (n, 16) what the encoder sees
    wave : (n, T) one wave of each, thousandths of the set's unit (uV where it is mV), mean 0
    patient_id : (n,)
    """

    table: pd.DataFrame
    measured: np.ndarray
    scaled: np.ndarray
    encoded: np.ndarray
    wave: np.ndarray
    patient_id: np.ndarray


@dataclass(frozen=True, eq=False)
class Lens:
    """What was learned from real ECGs to look at others.

    Parameters
    ----------
    lead : whose wave is looked at
    columns : of the measurements' table, that rules speak of
    scaling : of the measurements
    edges : of the histograms of each measurement
    width : of the Gaussian kernel between waves, the median distance between real ones
    encoder : self-taught, of `embedding.fit_encoder`
    """

    lead: str
    columns: tuple[str, ...]
    scaling: Scaling
    edges: list[np.ndarray]
    width: float
    encoder: Encoder

    @classmethod
    def fit(cls, learned: ECGSet, *, seed: int, steps: int) -> tuple[Lens, pd.DataFrame]:
        """The lens, and the measurements of the ECGs it was learned from."""
        lead = _LEAD if _LEAD in learned.leads else learned.leads[0]
        table, values, names = measurements(learned)
        columns = tuple(table.columns) if single_beats(learned) else COLUMNS
        encoder = fit_encoder(strips(learned), seed=seed, steps=steps)
        width = median_distance(waves(learned, lead))
        return cls(lead, columns, Scaling.fit(values, names), histogram_edges(values), width, encoder), table

    def view(self, ecgs: ECGSet) -> View:
        table, values, _ = measurements(ecgs)
        encoded = embed(self.encoder, strips(ecgs))
        people = np.array(ecgs.patient_id)
        return View(table, values, self.scaling.apply(values), encoded, waves(ecgs, self.lead), people)


def single_beats(ecgs: ECGSet) -> bool:
    """Whether the ECGs are so short that they are taken for single beats."""
    return ecgs.seconds <= LONGEST_S


def measurements(ecgs: ECGSet) -> tuple[pd.DataFrame, np.ndarray, tuple[str, ...]]:
    """The table of measurements, the same as numbers (n, d), and the names of these."""
    if single_beats(ecgs):
        table = beat_features(ecgs)
        return table, table.to_numpy(float), tuple(table.columns)
    table = measure(ecgs)
    return table, *clinical_features(table)


def waves(ecgs: ECGSet, lead: str) -> np.ndarray:
    """Single beats as they are, of windows the median beat from 250 ms before R to 450 ms after; 125 Hz, mean 0.

    Where no beat is found, it is the stretch of that length around the steepest place: a flat line in its stead would
    be near to any real ECG without a beat, so that noise would pass for one.

    Returns
    -------
    (n, T), thousandths of the unit
    """
    if single_beats(ecgs):
        beats = ecgs.pick((lead,)).signal[:, 0]
    else:
        only = ecgs.pick((lead,))
        beats, found = median_beat(only, r_peaks(ecgs))
        beats = beats[:, 0]
        for row in np.flatnonzero(~found):
            beats[row] = _steepest(only.signal[row, 0], beats.shape[1])
    ratio = Fraction(WAVE_HZ / ecgs.fs).limit_denominator(1000)
    beats = beats.astype(float)
    if ratio != 1:
        beats = resample_poly(beats, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return 1000 * (beats - beats.mean(axis=-1, keepdims=True))


def _steepest(signal: np.ndarray, length: int) -> np.ndarray:
    """So many samples around the steepest place of a lead, within it."""
    start = int(np.abs(np.gradient(signal)).argmax()) - length // 2
    start = int(np.clip(start, 0, len(signal) - length))
    return signal[start : start + length]


def strips(ecgs: ECGSet) -> np.ndarray:
    """ECGs as the encoder takes them, (n, C, T'); a beat again and again, without the straight line through its ends.

    Otherwise there would be a jump wherever one repetition meets the next.
    """
    if not single_beats(ecgs):
        return prepare(ecgs)
    rise = np.linspace(0, 1, ecgs.n_samples, dtype=np.float32)
    signal = ecgs.signal - ecgs.signal[..., :1] - rise * (ecgs.signal[..., -1:] - ecgs.signal[..., :1])
    times = int(np.ceil((_STRIP_S + 2 / FS_HZ) / ecgs.seconds))
    return prepare(replace(ecgs, signal=np.tile(signal, times)))
