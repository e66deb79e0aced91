"""What can be counted in windows of about 2 s, for what P1 says of them in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.signal import butter, sosfiltfilt

from ecgveil.ecg import ECGSet
from ecgveil.leads import limb_residual
from ecgveil.measure.beats import r_peaks

NOISE_HZ = 40.0  # little of an ECG lies above


class Figure(NamedTuple):
    what: str
    published: str


_UNIT = "thousandths of the unit"
FIGURES = {
    key: Figure(what, published)
    for key, what, published in (
        ("beats", "beats found in a window, mean", "two to three beats most of the time"),
        ("two_or_three", "share of windows with 2 or 3 beats", "almost all"),
        ("height_spread", "spread of R heights in a window, share of their mean", "not solid on the generated side"),
        ("shape_spread", "difference of a window's beats, share of their size", "slight variations in a sample"),
        ("noise", f"noise above {NOISE_HZ:g} Hz, {_UNIT}", "more noise with several channels"),
        ("diversity", f"mean distance of two windows, {_UNIT}", "wider with label smoothing"),
        ("same_time", "R peaks that all leads show within 40 ms, share", "at the same time in all three"),
        ("residual", f"limb leads, |III - (II - I)|, {_UNIT}", "III down where I and II are up"),
    )
}


def window_figures(ecgs: ECGSet, *, seed: int = 0) -> dict[str, float]:
    """Each of `FIGURES` that these leads allow, by key; NaN where no window shows enough beats."""
    peaks = r_peaks(ecgs)
    count = np.array([len(each) for each in peaks])
    first = ecgs.signal[:, 0]
    spreads, shapes = [], []
    for lead, at in zip(first, peaks, strict=True):
        inner = at[(at > 0.1 * ecgs.fs) & (at < ecgs.n_samples - 0.1 * ecgs.fs)]
        if len(inner) >= 2:
            reach = np.arange(-int(0.1 * ecgs.fs), int(0.1 * ecgs.fs))
            beats = lead[inner[:, None] + reach]
            beats = beats - np.median(beats, axis=1, keepdims=True)
            heights = np.ptp(beats, axis=1)
            spreads.append(heights.std() / heights.mean())
            shapes.append(np.sqrt(beats.var(axis=0).mean() / (beats.mean(axis=0) ** 2).mean()))
    found = {
        "beats": float(count.mean()),
        "two_or_three": float(((count == 2) | (count == 3)).mean()),
        "height_spread": _median(spreads),
        "shape_spread": _median(shapes),
        "diversity": 1000 * _diversity(ecgs.signal, seed),
    }
    if ecgs.fs > 2.5 * NOISE_HZ:
        high = sosfiltfilt(butter(4, NOISE_HZ, "highpass", fs=ecgs.fs, output="sos"), ecgs.signal, axis=-1)
        found["noise"] = 1000 * float(np.median(high.std(axis=-1)))
    if len(ecgs.leads) > 1:
        found["same_time"] = _same_time(ecgs)
    if {"I", "II", "III"} <= set(ecgs.leads):
        found["residual"] = 1000 * float(np.median(np.abs(limb_residual(ecgs.signal, ecgs.leads))))
    return found


def _diversity(signal: np.ndarray, seed: int) -> float:
    """Root mean square difference of two windows, each around its own median, mean over random pairs."""
    centred = signal - np.median(signal, axis=-1, keepdims=True)
    a, b = np.random.default_rng([seed, 83]).integers(0, len(signal), (2, 1000))
    return float(np.sqrt(np.square(centred[a] - centred[b])[a != b].mean(axis=(1, 2))).mean())


def _same_time(ecgs: ECGSet) -> float:
    """Share of the first lead's beats that every other lead has one within 40 ms of."""
    each = [r_peaks(ecgs.pick((lead,))) for lead in ecgs.leads]
    met: list[bool] = []
    for row in range(len(ecgs)):
        for at in each[0][row]:
            near = (other[row].size and np.abs(other[row] - at).min() <= 0.04 * ecgs.fs for other in each[1:])
            met.append(all(near))
    return float(np.mean(met)) if met else float("nan")


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")
