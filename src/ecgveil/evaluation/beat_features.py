"""Simple measurements of single beats, which are too short for the clinical ones: amplitudes, areas, widths, slopes.

The QRS is where the beat is steepest; the other waves are looked for in fixed stretches of time around its R wave.
They describe beats for comparing sets of them, and for rules, not for diagnoses: a stretch is named after the wave
that it holds in a normal beat. No two are the same number in most beats, as rules between such hold anywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.ndimage import uniform_filter1d

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError

LONGEST_S = 2.0  # longer ECGs are windows, to be measured by `measure.measure`
SHORTEST = 5  # samples
STRETCHES_MS = {"p": (-240, -70), "q": (-60, 0), "qrs": (-60, 60), "s": (0, 60), "st": (80, 140), "t": (140, 420)}
LEAST_SAMPLES = 3  # of a stretch that lies within the beat
_QRS_MS = 100


def beat_features(ecgs: ECGSet) -> pd.DataFrame:
    """Measurements of single beats, one row for each beat.

    R is where the root mean square over the leads is largest within 50 ms of where the beat is steepest. Levels are
    from the median of the beat, in thousandths of the set's unit: uV where it is mV.

    Parameters
    ----------
    ecgs : single beats, at most 2 s each; any leads, R anywhere

    Returns
    -------
    DataFrame
        r_ms: time of R from the start of the beat; and for each lead, its name in lower case:
        r_<lead>_uv: level at R, with its sign; q_<lead>_uv, s_<lead>_uv: the level farthest on the other side, in the
        60 ms before and after; width_<lead>_ms: how long the beat stays beyond half of R around it; rise_<lead>,
        fall_<lead>: steepest slopes within 60 ms of R, uV per ms; qrs_area_<lead>, uV s, of the same;
        p_<lead>_uv, t_<lead>_uv: the largest level, of either sign, 240 to 70 ms before and 140 to 420 ms after R;
        p_<lead>_ms, t_<lead>_ms: its time from R; p_area_<lead>, t_area_<lead>, uV s;
        st_<lead>_uv, st_slope_<lead>: mean level from 80 to 140 ms after R, and slope of the line through it, uV/ms;
        ripple_<lead>_uv: root mean square of the second difference.
        Values of a stretch that lies outside the beat are NaN; so is the width of a flat lead.

    Raises
    ------
    EvaluationError
        ECGs are longer than 2 s, or shorter than 5 samples.
    """
    if ecgs.seconds > LONGEST_S or ecgs.n_samples < SHORTEST:
        raise EvaluationError(
            f"ECGs are {ecgs.seconds:g} s long, {ecgs.n_samples} samples; single beats are at most {LONGEST_S:g} s and "
            f"at least {SHORTEST} samples: cut beats, or measure windows by measure.measure"
        )
    x = 1000 * ecgs.signal.astype(float)
    level = x - np.median(x, axis=2, keepdims=True)
    at = _r_waves(level, ecgs.fs)
    time = (np.arange(ecgs.n_samples) - at[:, None]) * 1000 / ecgs.fs  # (n, T), from R
    columns = {"r_ms": at * 1000 / ecgs.fs}
    for i, lead in enumerate(ecgs.leads):
        of_lead = _of_lead(level[:, i], at, time, ecgs.fs)
        columns |= {name.replace("*", lead.lower()): values for name, values in of_lead.items()}
    return pd.DataFrame(columns)


def _r_waves(level: np.ndarray, fs: float) -> np.ndarray:
    """Sample of R in each beat, (n, L, T) -> (n,)."""
    steep = uniform_filter1d((np.gradient(level, axis=2) ** 2).sum(axis=1), max(1, round(_QRS_MS * fs / 1000)), axis=1)
    apart = np.abs(np.arange(level.shape[2]) - steep.argmax(axis=1)[:, None]) * 1000 / fs
    return np.where(apart <= _QRS_MS / 2, (level**2).sum(axis=1), -1.0).argmax(axis=1)


def _of_lead(level: np.ndarray, at: np.ndarray, time: np.ndarray, fs: float) -> dict[str, np.ndarray]:
    """Columns of one lead, from beats (n, T) whose R is at `at` (n,); `*` stands for the lead."""
    inside = {name: _within(time, name) for name in STRETCHES_MS}
    r = np.take_along_axis(level, at[:, None], axis=1)[:, 0]
    side = np.where(r < 0, -1.0, 1.0)
    upright, speed = level * side[:, None], np.gradient(level, axis=1) * fs / 1000
    columns = {
        "r_*_uv": r,
        "q_*_uv": side * _masked(np.nanmin, upright, inside["q"]),
        "s_*_uv": side * _masked(np.nanmin, upright, inside["s"]),
        "width_*_ms": _width(upright, at) * 1000 / fs,
        "rise_*": _masked(np.nanmax, speed, inside["qrs"]),
        "fall_*": _masked(np.nanmin, speed, inside["qrs"]),
        "qrs_area_*": _masked(np.nansum, level, inside["qrs"]) / fs,
    }
    for name in ("p", "t"):
        largest = np.where(inside[name], np.abs(level), -1.0).argmax(axis=1)[:, None]
        there = inside[name].any(axis=1)
        columns[f"{name}_*_uv"] = np.where(there, np.take_along_axis(level, largest, axis=1)[:, 0], np.nan)
        columns[f"{name}_*_ms"] = np.where(there, np.take_along_axis(time, largest, axis=1)[:, 0], np.nan)
        columns[f"{name}_area_*"] = _masked(np.nansum, level, inside[name]) / fs
    columns["st_*_uv"] = _masked(np.nanmean, level, inside["st"])
    columns["st_slope_*"] = _slope(level, time, inside["st"])
    columns["ripple_*_uv"] = np.sqrt((np.diff(level, 2, axis=1) ** 2).mean(axis=1))
    return columns


def _within(time: np.ndarray, name: str) -> np.ndarray:
    """(n, T) bool: the stretch, of beats that hold `LEAST_SAMPLES` of it; no sample of the others."""
    low, high = STRETCHES_MS[name]
    inside = (time >= low) & (time <= high)
    return inside & (inside.sum(axis=1, keepdims=True) >= LEAST_SAMPLES)


def _masked(function: Callable[..., np.ndarray], values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """A nan-function over the samples inside, (n,); NaN where there are none."""
    there = inside.any(axis=1)
    result = np.full(len(values), np.nan)
    if there.any():
        result[there] = function(np.where(inside[there], values[there], np.nan), axis=1)
    return result


def _slope(level: np.ndarray, time: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Of the least-squares line over the samples inside, (n,); NaN where there are none."""
    count = inside.sum(axis=1, keepdims=True)
    apart = np.where(inside, time - (time * inside).sum(axis=1, keepdims=True) / np.maximum(count, 1), 0.0)
    spread = (apart**2).sum(axis=1)
    return np.divide((apart * level).sum(axis=1), spread, out=np.full(len(level), np.nan), where=spread > 0)


def _width(upright: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Samples around R that are beyond half of it, (n,), of beats whose R is not below 0; NaN where it is 0."""
    r = np.take_along_axis(upright, at[:, None], axis=1)
    index, beyond = np.arange(upright.shape[1]), upright >= r / 2
    after = np.where(~beyond & (index > at[:, None]), index, upright.shape[1]).min(axis=1)
    before = np.where(~beyond & (index < at[:, None]), index, -1).max(axis=1)
    return np.where(r[:, 0] > 0, after - before - 1.0, np.nan)
