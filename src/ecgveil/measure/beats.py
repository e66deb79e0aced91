"""R peaks over all leads together, and the median beat.

The detector is the classical one (slope of the band-passed ECG, integrated over the width of a QRS; Pan and Tompkins,
IEEE Trans Biomed Eng 32:230, 1985), made independent of lead and polarity by taking the root mean square over the
leads, and with one threshold for a record, because ECGs here are short. It knows when there is nothing to find.
"""

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import butter, find_peaks, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.measure.prepare import high_pass

LEAST_FS_HZ = 60.0
LEAST_SECONDS = 1.0

_QRS_BAND_HZ = (5.0, 25.0)
_SHAPE_BAND_HZ = (1.0, 40.0)
_QRS_MS, _REFRACTORY_MS, _SEARCH_MS = 120, 250, 60
_BLOCK_S = 2.0
_THRESHOLD = 0.35
# Level of the QRS over the quiet quarter of the record. Noise alone stays below 3.3 even in one lead, and every record
# of LUDB lies above 5.
_LEAST_CONTRAST = 4.0
_ROWS = 64  # records filtered at a time: bounds the memory


def r_peaks(ecgs: ECGSet) -> list[np.ndarray]:
    """R peaks of each ECG, found over all its leads together.

    Parameters
    ----------
    ecgs : any leads, any unit, at least 60 Hz

    Returns
    -------
    list of int arrays
        Samples of the R peaks (where the root mean square over the leads is largest within each QRS), ascending; empty
        where no QRS stands out from the rest, and for records shorter than 1 s.

    Raises
    ------
    RecordError
        The sampling rate is too low to see a QRS.
    """
    if ecgs.fs < LEAST_FS_HZ:
        raise RecordError(f"fs is {ecgs.fs:g} Hz; finding beats needs {LEAST_FS_HZ:g} Hz or more")
    if not len(ecgs) or ecgs.seconds < LEAST_SECONDS:
        return [np.empty(0, int) for _ in range(len(ecgs))]
    peaks: list[np.ndarray] = []
    for start in range(0, len(ecgs), _ROWS):
        peaks += find_peaks_of(ecgs.signal[start : start + _ROWS], ecgs.fs)
    return peaks


def median_beat(
    ecgs: ECGSet, peaks: list[np.ndarray], before_ms: float = 250, after_ms: float = 450
) -> tuple[np.ndarray, np.ndarray]:
    """The median beat of each ECG, aligned at the R peak.

    Baseline wander is taken off first by a zero-phase high-pass at 0.5 Hz (Kligfield et al., Circulation 115:1306,
    2007, allow up to 0.67 Hz for such filters).

    Parameters
    ----------
    ecgs : the set
    peaks : R peaks of each ECG, from `r_peaks`
    before_ms, after_ms : window around the R peak

    Returns
    -------
    beats : float32 (n_records, n_leads, n_window), unit of the set; zero where there is no beat
    valid : bool (n_records,)
        True where at least one beat lies wholly within the record.
    """
    n_window = _samples(before_ms, ecgs.fs) + _samples(after_ms, ecgs.fs) + 1
    beats = np.zeros((len(ecgs), len(ecgs.leads), n_window), np.float32)
    valid = np.zeros(len(ecgs), bool)
    for row, windows in enumerate(iter_beats(ecgs, peaks, before_ms, after_ms)):
        if len(windows):
            beats[row], valid[row] = np.median(windows, axis=0), True
    return beats, valid


def iter_beats(
    ecgs: ECGSet, peaks: list[np.ndarray], before_ms: float = 250, after_ms: float = 450
) -> Iterator[np.ndarray]:
    """Every whole beat, record by record, cut out around its R peak after the high-pass; see `median_beat`.

    Yields
    ------
    float32 (n_beats, n_leads, n_window)
        For each record, in order; n_beats is 0 where there is none.
    """
    offsets = np.arange(-_samples(before_ms, ecgs.fs), _samples(after_ms, ecgs.fs) + 1)
    for start in range(0, len(ecgs), _ROWS):
        level = high_pass(ecgs.signal[start : start + _ROWS], ecgs.fs)
        for signal, at in zip(level, peaks[start : start + _ROWS], strict=True):
            whole = at[(at + offsets[0] >= 0) & (at + offsets[-1] < ecgs.n_samples)]
            yield signal[:, whole[:, None] + offsets].transpose(1, 0, 2)  # (L, beats, W) -> (beats, L, W)


def _band_pass(signal: np.ndarray, fs: float, band_hz: tuple[float, float]) -> np.ndarray:
    low, high = band_hz
    sos = butter(2, (low, min(high, 0.4 * fs)), "bandpass", fs=fs, output="sos")
    return sosfiltfilt(sos, signal, axis=-1)


def _rms(signal: np.ndarray) -> np.ndarray:
    """Root mean square over the leads, (n, L, T) -> (n, T)."""
    return np.sqrt(np.mean(signal**2, axis=1))


def _samples(ms: float, fs: float) -> int:
    return max(1, round(ms * fs / 1000))


def find_peaks_of(signal: np.ndarray, fs: float) -> list[np.ndarray]:
    """R peaks of a block, (n, L, T) -> samples; see `r_peaks`."""
    slope = np.gradient(_band_pass(signal, fs, _QRS_BAND_HZ), axis=-1)
    activity = uniform_filter1d(_rms(slope), _samples(_QRS_MS, fs), axis=-1)  # (n, T)
    envelope = _rms(_band_pass(signal, fs, _SHAPE_BAND_HZ))
    least = 1e-6 * np.abs(signal).max(axis=(1, 2))  # below it lies the rounding of float32, not an ECG
    return [_peaks_of_one(a, e, m, fs) for a, e, m in zip(activity, envelope, least, strict=True)]


def _peaks_of_one(activity: np.ndarray, envelope: np.ndarray, least: float, fs: float) -> np.ndarray:
    blocks = np.array_split(activity, max(1, int(len(activity) / (_BLOCK_S * fs))))
    level = np.median([block.max() for block in blocks])
    quiet = np.percentile(activity, 25)
    if level <= max(_LEAST_CONTRAST * quiet, least):
        return np.empty(0, int)
    height = quiet + _THRESHOLD * (level - quiet)
    found, _ = find_peaks(activity, height=height, distance=_samples(_REFRACTORY_MS, fs))
    reach = _samples(_SEARCH_MS, fs)
    spans = ((max(0, at - reach), at + reach + 1) for at in found)
    return np.array(sorted({start + int(envelope[start:end].argmax()) for start, end in spans}), int)
