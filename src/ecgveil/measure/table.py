"""Median beats and rhythm -> the columns of the measurements table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12, limb_residual
from ecgveil.measure.beats import LEAST_SECONDS
from ecgveil.measure.median import LEAST_QRS_MS, NOISY, NORMAL, SUPRAVENTRICULAR, VENTRICULAR, Medians, iter_medians
from ecgveil.measure.prepare import Block
from ecgveil.measure.waves import amplitudes, axes_deg

RHYTHM = ("n_beats", "n_ventricular", "n_supraventricular", "n_noisy", "heart_rate_bpm", "rr_mean_ms", "rr_sd_ms",
          "rr_rmssd_ms")  # fmt: skip
INTERVALS = ("p_duration_ms", "pr_interval_ms", "qrs_duration_ms", "qt_interval_ms", "qtc_bazett_ms",
             "qtc_fridericia_ms", "qtc_framingham_ms", "qtc_hodges_ms")  # fmt: skip
AXES = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")
LEAD_COLUMNS = {
    "p": "p_{}_uv", "q": "q_{}_uv", "r": "r_{}_uv", "s": "s_{}_uv", "r2": "r2_{}_uv", "t": "t_{}_uv",
    "stj": "stj_{}_uv", "st60": "st60_{}_uv", "q_ms": "q_{}_ms", "r_ms": "r_{}_ms", "s_ms": "s_{}_ms",
    "rpt": "rpt_{}_ms", "notch": "notch_{}",
}  # fmt: skip
LEAD_NAMES = [name.format(lead.lower()) for lead in LEADS_12 for name in LEAD_COLUMNS.values()]
COUNTS = ("n_beats", "n_ventricular", "n_supraventricular", "n_noisy", "flat_leads", "wild_leads")

_LEAST_LIKENESS = 0.5  # beats that resemble their median less than this have none
_FLAT_S, _FLAT = 1.0, 1e-3  # constant for so long, or of so little of the usual lead's spread: no signal
_MOST_MV = 20.0  # no heart makes more
_LEAST_MEASURED_HZ = 100.0  # below it an R wave's height is lost


def measurements(ecgs: ECGSet, peaks: list[np.ndarray] | None = None) -> pd.DataFrame:
    """The table of `measure.measure` without its statements."""
    if ecgs.fs < _LEAST_MEASURED_HZ:
        return _unmeasured(ecgs, "fs_too_low")
    if ecgs.seconds < LEAST_SECONDS or not len(ecgs):
        return _unmeasured(ecgs, "too_short")
    peaks = None if peaks is None else _checked(peaks, ecgs)
    parts = [_rows(block, medians, ecgs) for block, medians in iter_medians(ecgs, peaks)]
    return pd.concat(parts, ignore_index=True)


def _rows(block: Block, medians: Medians, ecgs: ECGSet) -> pd.DataFrame:
    rows = range(block.start, block.start + len(block.signal))
    signal, in_mv = ecgs.signal[rows.start : rows.stop], ecgs.units == "mV"
    rhythm = _rhythm(medians)
    # A median of beats that do not resemble each other is nobody's beat.
    sound = ~(medians.likeness < _LEAST_LIKENESS) & (medians.qrs_off - medians.qrs_on >= LEAST_QRS_MS)
    intervals = _intervals(medians, rhythm["rr_mean_ms"])
    by_lead, axes = amplitudes(medians), axes_deg(medians)
    columns: dict[str, object] = {"record_name": [ecgs.record_name[row] for row in rows], **rhythm}
    columns |= {name: np.where(sound, intervals[name], np.nan) for name in INTERVALS}
    for name, axis in zip(AXES, axes.values(), strict=True):
        columns[name] = np.where(sound & in_mv, axis, np.nan)
    columns |= {name: np.full(len(rows), np.nan) for name in LEAD_NAMES}
    for i, lead in enumerate(medians.leads):
        for wave, name in LEAD_COLUMNS.items():
            told = sound & (in_mv or not name.endswith("_uv"))
            columns[name.format(lead.lower())] = np.where(told, by_lead[wave][:, i], np.nan)
    columns["p_present"] = np.where(sound, np.isfinite(medians.p_on).astype(float), np.nan)
    columns["p_beats_share"] = np.where(sound, medians.p_beats_share, np.nan)
    columns |= _quality(signal, block, ecgs.leads, ecgs.fs, in_mv)
    columns["reasons"] = _reasons(medians, sound, columns, ecgs)
    return pd.DataFrame(columns)


def _rhythm(medians: Medians) -> dict[str, np.ndarray]:
    """Counts and rates; NaN where there are too few beats."""
    rows = []
    for at, kind in zip(medians.peaks, medians.kinds, strict=True):
        rr = np.diff(at) * 1000 / medians.beat_fs
        mean = rr.mean() if len(rr) else np.nan
        plain = (kind[:-1] == NORMAL) & (kind[1:] == NORMAL) if len(kind) else np.zeros(0, bool)
        steps = np.diff(rr)[plain[1:] & plain[:-1]]
        rows.append((
            len(at), (kind == VENTRICULAR).sum(), (kind == SUPRAVENTRICULAR).sum(), (kind == NOISY).sum(),
            60_000 / mean, mean, rr.std(ddof=1) if len(rr) > 1 else np.nan,
            np.sqrt(np.mean(steps**2)) if len(steps) else np.nan,
        ))  # fmt: skip
    table = np.array(rows, float).reshape(len(rows), len(RHYTHM))
    return {
        name: column.astype(int) if name in COUNTS else column for name, column in zip(RHYTHM, table.T, strict=True)
    }


def _intervals(medians: Medians, rr_ms: np.ndarray) -> dict[str, np.ndarray]:
    """Durations in ms, and QT corrected for rate.

    Bazett, Heart 7:353, 1920; Fridericia, Acta Med Scand 53:469, 1920; Sagie et al. (Framingham), Am J Cardiol 70:797,
    1992; Hodges et al., J Am Coll Cardiol 1:694, 1983.
    """
    qt, rr_s = medians.t_off - medians.qrs_on, rr_ms / 1000
    values = {
        "p_duration_ms": medians.p_off - medians.p_on,
        "pr_interval_ms": medians.qrs_on - medians.p_on,
        "qrs_duration_ms": medians.qrs_off - medians.qrs_on,
        "qt_interval_ms": qt,
        "qtc_bazett_ms": qt / np.sqrt(rr_s),
        "qtc_fridericia_ms": qt / np.cbrt(rr_s),
        "qtc_framingham_ms": qt + 154 * (1 - rr_s),
        "qtc_hodges_ms": qt + 1.75 * (60 / rr_s - 60),
    }
    # Linear corrections leave their range, and may fall below zero, at the slowest rates.
    return {name: np.where(value > 0, value, np.nan) for name, value in values.items()}


def _quality(signal: np.ndarray, block: Block, leads: tuple[str, ...], fs: float, in_mv: bool) -> dict[str, np.ndarray]:
    spread = block.complete(block.signal).std(axis=-1)  # (n, L)
    # A median over time passes over the QRS; white noise has 0.816 of its size left beside the mean of three.
    before, here, after = (block.signal[..., i:-2:2] if i < 2 else block.signal[..., 2::2] for i in range(3))
    size = min(before.shape[-1], here.shape[-1], after.shape[-1])
    middle = (before[..., :size] + here[..., :size] + after[..., :size]) / 3
    ripple = np.median(np.abs(here[..., :size] - middle), axis=-1) / (0.6745 * 0.8165)
    unknown = np.full(len(signal), np.nan)
    residual = limb_residual(signal, leads) if in_mv else np.zeros((len(signal), 0, 0))
    weak = spread <= _FLAT * np.maximum(np.median(spread, axis=1, keepdims=True), 1e-30)
    extent = signal.max(axis=-1) - signal.min(axis=-1)
    return {
        "limb_residual_uv": 1000 * np.sqrt(np.mean(residual.astype(float) ** 2, axis=(1, 2)))
        if residual.size
        else unknown,
        "noise_uv": 1000.0 * np.median(ripple, axis=1) if in_mv else unknown,
        "wander_uv": 1000.0 * block.wander if in_mv else unknown,
        "flat_leads": np.maximum(weak.sum(axis=1), _constant(signal, round(_FLAT_S * fs)).sum(axis=1)),
        "wild_leads": (extent > _MOST_MV).sum(axis=1) if in_mv else np.zeros(len(signal), int),
    }


def _constant(signal: np.ndarray, length: int) -> np.ndarray:
    """Leads that keep one value for `length` steps, bool (n, L)."""
    if signal.shape[-1] <= length:
        return signal.max(axis=-1) == signal.min(axis=-1)
    still = np.cumsum(np.diff(signal, axis=-1) == 0, axis=-1, dtype=np.int32)
    return (still[..., length - 1 :] - np.pad(still, ((0, 0), (0, 0), (1, 0)))[..., :-length] == length).any(axis=-1)


def _checked(peaks: list[np.ndarray], ecgs: ECGSet) -> list[np.ndarray]:
    """R peaks given by the caller."""
    if len(peaks) != len(ecgs):
        raise RecordError(
            f"peaks of {len(peaks)} records for {len(ecgs)} ECGs; give one array for each, or none at all"
        )
    for name, at in zip(ecgs.record_name, peaks, strict=True):
        given = np.asarray(at)
        whole = given.size == 0 or (given.ndim == 1 and np.issubdtype(given.dtype, np.integer))
        if not whole or (np.diff(given) <= 0).any() or (given.size and not 0 <= given[0] <= given[-1] < ecgs.n_samples):
            raise RecordError(f"{name}: peaks must be ascending whole samples from 0 to {ecgs.n_samples - 1}")
    return [np.asarray(at, int) for at in peaks]


def _reasons(medians: Medians, sound: np.ndarray, columns: dict, ecgs: ECGSet) -> list[str]:
    given = []
    unlike = medians.likeness < _LEAST_LIKENESS
    missing = not set(LEADS_12) <= set(medians.leads)
    for row, beats in enumerate(columns["n_beats"]):
        reasons = []
        if beats < 3:
            reasons.append("no_beat" if not beats else "few_beats")
        elif np.isnan(columns["rr_rmssd_ms"][row]):
            reasons.append("few_normal_beats")
        if beats and not sound[row]:
            reasons.append("noisy" if unlike[row] else "no_whole_beat" if not medians.signal[row].any() else "no_qrs")
        if sound[row]:
            reasons += [f"no_{wave}" for wave in "pt" if np.isnan(getattr(medians, f"{wave}_off")[row])]
            if ecgs.units == "mV" and np.isnan(columns["qrs_axis_deg"][row]):
                reasons.append("no_axis")
        if ecgs.units != "mV":
            reasons.append(f"unit_{ecgs.units}")
        if missing:
            reasons.append("missing_leads")
        given.append("; ".join(reasons))
    return given


def _unmeasured(ecgs: ECGSet, reason: str) -> pd.DataFrame:
    """Rows of NaN with their reason."""
    n = len(ecgs)
    names = [*RHYTHM, *INTERVALS, *AXES, *LEAD_NAMES, "p_present", "p_beats_share", "limb_residual_uv", "noise_uv",
             "wander_uv", "flat_leads", "wild_leads"]  # fmt: skip
    columns: dict[str, object] = {"record_name": list(ecgs.record_name)}
    columns |= {name: np.zeros(n, int) if name in COUNTS else np.full(n, np.nan) for name in names}
    return pd.DataFrame({**columns, "reasons": [reason] * n})
