"""Clinical measurements of an ECG: one row for each, always, with the reason for every value that is missing."""

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d

from ecgveil.ecg import ECGSet
from ecgveil.leads import limb_residual
from ecgveil.measure.beats import median_beat, r_peaks

BEFORE_MS, AFTER_MS = 250, 450

_PR_MS, _QRS_MS, _T_MS = (-130, -40), (-80, 80), (160, AFTER_MS)
_FLAT_MS = 20
_T_SHARE_OF_RR = 0.65  # beyond it a fast heart is already at the next P wave


def measure(ecgs: ECGSet, peaks: list[np.ndarray] | None = None) -> pd.DataFrame:
    """Rate, rhythm regularity and wave amplitudes of each ECG.

    Amplitudes are those of the median beat (`beats.median_beat`) against the PR level: the flattest 20 ms between 130
    and 40 ms before the R peak, over all leads together.

    Parameters
    ----------
    ecgs : any leads; amplitudes need mV
    peaks : R peaks of each ECG where they are known. Default: `beats.r_peaks`

    Returns
    -------
    DataFrame
        One row for each ECG, in order, with the columns record_name; n_beats; heart_rate_bpm, rr_mean_ms, rr_sd_ms;
        for each lead r_<lead>_uv (highest point of the QRS, 0 or more), s_<lead>_uv (its lowest, 0 or less: Q, S or QS)
        and t_<lead>_uv (largest deviation of the T wave, signed); limb_residual_uv (root mean square of recorded
        minus computed III, aVR, aVL, aVF); reasons (why values are NaN, `; ` between, empty where none is).

    Raises
    ------
    RecordError
        The sampling rate is too low to see a QRS.
    """
    peaks = r_peaks(ecgs) if peaks is None else peaks
    rhythm = _rhythm(peaks, ecgs.fs)
    beats, valid = median_beat(ecgs, peaks, BEFORE_MS, AFTER_MS)
    amplitudes = _amplitudes(beats, rhythm["rr_mean_ms"].to_numpy(), ecgs)
    in_mv = ecgs.units == "mV"
    amplitudes[~valid | (not in_mv)] = np.nan
    residual = _limb_residual_uv(ecgs) if in_mv else np.full(len(ecgs), np.nan)
    table = pd.concat([rhythm, amplitudes], axis=1)
    table.insert(0, "record_name", list(ecgs.record_name))
    table["limb_residual_uv"] = residual
    table["reasons"] = _reasons(rhythm["n_beats"].to_numpy(), valid, residual, ecgs.units)
    return table


def _rhythm(peaks: list[np.ndarray], fs: float) -> pd.DataFrame:
    """Beat count, rate and RR intervals; NaN where there are too few beats for them."""
    rows = []
    for at in peaks:
        rr = np.diff(at) * 1000 / fs
        mean = rr.mean() if len(rr) else np.nan
        spread = rr.std(ddof=1) if len(rr) > 1 else np.nan
        rows.append((len(at), 60_000 / mean, mean, spread))
    table = pd.DataFrame(rows, columns=["n_beats", "heart_rate_bpm", "rr_mean_ms", "rr_sd_ms"])
    return table.astype({"n_beats": int, "heart_rate_bpm": float, "rr_mean_ms": float, "rr_sd_ms": float})


def _amplitudes(beats: np.ndarray, rr_ms: np.ndarray, ecgs: ECGSet) -> pd.DataFrame:
    """R, S and T of each lead in uV, (n, L, W) -> a table of (n, 3 L)."""
    time_ms = np.arange(beats.shape[-1]) * 1000 / ecgs.fs - BEFORE_MS
    level = beats - _pr_level(beats, time_ms, ecgs.fs)
    qrs = level[:, :, _between(time_ms, _QRS_MS)]
    t_end = np.fmin(_T_MS[1], _T_SHARE_OF_RR * rr_ms)  # (n,); fmin passes NaN over
    t_wave = np.where(_between(time_ms, _T_MS) & (time_ms <= t_end[:, None]), 1, 0)[:, None, :] * level
    at = np.abs(t_wave).argmax(axis=-1, keepdims=True)
    values = {
        "r": np.maximum(qrs.max(axis=-1), 0),
        "s": np.minimum(qrs.min(axis=-1), 0),
        "t": np.take_along_axis(t_wave, at, axis=-1)[..., 0],
    }
    columns = {
        f"{wave}_{lead}_uv": 1000.0 * values[wave][:, i].astype(float)
        for i, lead in enumerate(ecgs.leads)
        for wave in values
    }
    return pd.DataFrame(columns, index=range(len(beats)))


def _pr_level(beats: np.ndarray, time_ms: np.ndarray, fs: float) -> np.ndarray:
    """Level of the flattest 20 ms before the QRS, (n, L, W) -> (n, L, 1)."""
    size = max(2, round(_FLAT_MS * fs / 1000))
    smooth = uniform_filter1d(beats, size, axis=-1)
    unrest = uniform_filter1d(np.abs(np.gradient(beats, axis=-1)).mean(axis=1), size, axis=-1)  # (n, W)
    unrest[:, ~_between(time_ms, _PR_MS)] = np.inf
    at = unrest.argmin(axis=-1)
    return np.take_along_axis(smooth, at[:, None, None], axis=-1)


def _between(time_ms: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    return (time_ms >= span[0]) & (time_ms <= span[1])


def _limb_residual_uv(ecgs: ECGSet) -> np.ndarray:
    residual = limb_residual(ecgs.signal, ecgs.leads)
    if not residual.shape[1] or not ecgs.n_samples:
        return np.full(len(ecgs), np.nan)
    return 1000 * np.sqrt(np.mean(residual.astype(float) ** 2, axis=(1, 2)))


def _reasons(n_beats: np.ndarray, valid: np.ndarray, residual: np.ndarray, units: str) -> list[str]:
    given = []
    for beats, whole, limb in zip(n_beats, valid, residual, strict=True):
        reasons = []
        if beats < 3:
            reasons.append(f"{beats} beats found; rate needs 2, spread needs 3")
        if not whole:
            reasons.append("no whole beat")
        if units != "mV":
            reasons.append(f"unit is {units}, amplitudes need mV")
        elif np.isnan(limb):
            reasons.append("limb leads missing")
        given.append("; ".join(reasons))
    return given
