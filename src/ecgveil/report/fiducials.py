"""A median beat with its marks, intervals and amplitudes named, as in a textbook.

It is Figure 3 of Thambawita et al. 2021, *DeepFake electrocardiograms*, drawn on an ECG of the sets themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator, MultipleLocator

from ecgveil.ecg import ECGSet
from ecgveil.measure.median import median_beats
from ecgveil.measure.waves import amplitudes
from ecgveil.report import figures
from ecgveil.report.figures import FAINT, INK

LEADS = ("II", "V5")  # P stands out best in II; the amplitudes of Table 2 are those of V5
MARKS = ("p_on", "p_off", "qrs_on", "qrs_off", "t_off")
WAVES = {"P": "p", "Q": "q", "R": "r", "S": "s", "R'": "r2", "STJ": "stj", "T": "t"}  # as `amplitudes` names them
LEAST_MS, MOST_MS = -230.0, 460.0  # what is shown around the R peak where no mark asks for more
MOST_MV = 8.0  # a taller beat is drawn without the squares of ECG paper
LEAST_WAVE = 0.04  # of the height drawn: a Q, R, S or R' of less is not named

# Row below the beat, name, from, to.
INTERVALS = (
    (0, "P", "p_on", "p_off"),
    (0, "QRS", "qrs_on", "qrs_off"),
    (1, "PR", "p_on", "qrs_on"),
    (1, "QT", "qrs_on", "t_off"),
)


@dataclass(frozen=True, eq=False)
class Beat:
    """One lead of a median beat, to draw.

    Parameters
    ----------
    title : heading
    lead : its name
    time_ms : (n_window,) from the R peak
    trace : (n_window,) against the PR level
    units : of the trace
    marks : ms from the R peak, of `MARKS`, NaN where not found
    heights : of `WAVES` in this lead, NaN where not measured
    colour : of the trace
    """

    title: str
    lead: str
    time_ms: np.ndarray
    trace: np.ndarray
    units: str
    marks: dict[str, float]
    heights: dict[str, float]
    colour: str


def beats_of(ecgs: ECGSet, row: int, title: str, colour: str) -> list[Beat]:
    """The median beat of one ECG with its marks, in each of `LEADS` or in its first lead; none where it has no beat."""
    medians = median_beats(ecgs.take([row]))
    heights = amplitudes(medians)  # thousandths of the unit
    marks = {name: float(getattr(medians, name)[0]) for name in MARKS}
    beats = []
    for lead in [name for name in LEADS if name in medians.leads] or medians.leads[:1]:
        trace = np.asarray(medians.signal[0, medians.leads.index(lead)], float)
        time_ms = (np.arange(len(trace)) - medians.r_at) * 1000 / medians.fs
        lead_heights = {name: float(heights[key][0, medians.leads.index(lead)]) / 1000 for name, key in WAVES.items()}
        beats.append(Beat(title, lead, time_ms, trace, ecgs.units, marks, lead_heights, colour))
    return [beat for beat in beats if np.isfinite(beat.trace).all() and np.ptp(beat.trace)]


def labelled_beats(beats: Sequence[Beat]) -> str:
    """Beats, two beside each other: P, Q, R, S and T, durations and intervals, and the heights of R, STJ and T."""
    if not beats:
        return ""
    with mpl.rc_context({**figures._STYLE, "axes.grid": False}):
        fig, axes = figures._panels(len(beats), columns=2, height=4.2)
        for ax, beat in zip(axes, beats, strict=True):
            _draw(ax, beat)
        return figures._svg(fig, "fiducials")


def _draw(ax: Axes, beat: Beat) -> None:
    marks = beat.marks
    start = np.fmin(LEAST_MS, marks["p_on"] - 50)
    end = np.fmax(MOST_MS, marks["t_off"] + 60)
    shown = (beat.time_ms >= start) & (beat.time_ms <= end)
    time_ms, trace = beat.time_ms[shown], beat.trace[shown]
    low, high = min(trace.min(), 0.0), max(trace.max(), 0.0)
    span = high - low
    rows = low - span * np.array([0.22, 0.46])
    peaks = _peaks(beat)
    words_at = _stj_height(peaks, span)
    top = max(high + 0.14 * span, words_at + 0.06 * span)
    _paper(ax, beat.units, (start, end), (rows[-1] - 0.22 * span, top))
    ax.axhline(0, color=INK, lw=0.5, alpha=0.6)
    ax.plot(time_ms, trace, color=beat.colour, lw=2.0, solid_joinstyle="round", zorder=3)
    _intervals(ax, beat, rows)
    _waves(ax, beat, peaks, span, words_at)
    missing = [name for _, name, one, other in INTERVALS if np.isnan(marks[one] + marks[other])]
    note = f"\nnot measured: {', '.join(missing)}" if missing else ""
    ax.set_title(f"{beat.title}: lead {beat.lead}{note}")
    ax.set(xlabel="ms from the R peak", ylabel=beat.units)
    if beat.units == "mV":
        step = 0.5 if span >= 1 else 0.2
        ax.yaxis.set_major_locator(MultipleLocator(step) if span < MOST_MV else MaxNLocator(5))
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])  # no voltage beside the intervals


def _paper(ax: Axes, units: str, across: tuple[float, float], up: tuple[float, float]) -> None:
    """A frame with the squares of ECG paper: 40 ms and 0.1 mV, every fifth line stronger."""
    ax.set(xlim=across, ylim=up)
    ax.xaxis.set_major_locator(MultipleLocator(200))
    ax.tick_params(length=0)
    steps_x = np.arange(np.ceil(across[0] / 40), np.floor(across[1] / 40) + 1)
    lines = [(step % 5 == 0, [(40 * step, up[0]), (40 * step, up[1])]) for step in steps_x]
    if units == "mV" and up[1] - up[0] < 2 * MOST_MV:
        steps_y = np.arange(np.ceil(up[0] / 0.1), np.floor(up[1] / 0.1) + 1)
        lines += [(step % 5 == 0, [(across[0], 0.1 * step), (across[1], 0.1 * step)]) for step in steps_y]
    widths = [0.9 if strong else 0.4 for strong, _ in lines]
    ax.add_collection(LineCollection([line for _, line in lines], colors=FAINT, linewidths=widths, zorder=0))


def _intervals(ax: Axes, beat: Beat, rows: np.ndarray) -> None:
    """Durations and intervals as arrows below the beat, a dotted line from each mark on the trace down to them."""
    lowest: dict[str, float] = {}
    for row, name, one, other in INTERVALS:
        start, end = beat.marks[one], beat.marks[other]
        if np.isnan(start + end):
            continue
        y = float(rows[row])
        _arrow(ax, (start, y), (end, y))
        ax.annotate(
            f"{name}\n{end - start:.0f} ms", ((start + end) / 2, y), (0, -3), textcoords="offset points", ha="center",
            va="top", linespacing=1.05,
        )  # fmt: skip
        for mark in (one, other):
            lowest[mark] = min(y, lowest.get(mark, y))
    for mark, y in lowest.items():
        at = beat.marks[mark]
        top = float(np.interp(at, beat.time_ms, beat.trace))
        ax.plot([at, at], [y, top], color=INK, lw=0.7, linestyle=(0, (1, 2)), zorder=2)
        ax.plot(at, top, "o", ms=3.4, mew=0, color=INK, zorder=4)


def _stj_height(peaks: dict[str, tuple[float, float]], span: float) -> float:
    """Where the words on STJ stand: near the top of R, but clear of those on T."""
    height = max(0.85 * peaks["R"][1] if "R" in peaks else 0, 0.3 * span)
    top_of_t = peaks["T"][1] if "T" in peaks else -span
    return top_of_t + 0.25 * span if abs(height - top_of_t - 0.1 * span) < 0.15 * span else height


def _waves(ax: Axes, beat: Beat, peaks: dict[str, tuple[float, float]], span: float, words_at: float) -> None:
    """The waves by their letters, and the heights of R, STJ and T."""
    for name in ("P", "Q", "S", "R'"):
        if name in peaks and (name == "P" or abs(peaks[name][1]) > LEAST_WAVE * span):
            _name(ax, name, *peaks[name])
    if "T" in peaks:
        at, value = peaks["T"]
        _arrow(ax, (at, 0), (at, value))
        _name(ax, f"T {_amount(value, beat.units)}", at, value)
    if "R" in peaks and peaks["R"][1] > LEAST_WAVE * span:
        at, value = peaks["R"]
        _name(ax, "R", at, value)
        beside = beat.marks["qrs_on"] - 18
        ax.plot([beside - 8, at], [value, value], color=INK, lw=0.6)
        _arrow(ax, (beside, 0), (beside, value))
        ax.text(beside - 9, 0.88 * value, f"R {_amount(value, beat.units)}", va="center", ha="right", fontsize=9)
    if "STJ" in peaks:
        at, value = peaks["STJ"]
        line = {"arrowstyle": "-", "color": INK, "lw": 0.6, "relpos": (0, 0.4), "shrinkA": 1, "shrinkB": 3}
        ax.annotate(f"STJ {_amount(value, beat.units)}", (at, value), (at + 30, words_at), va="center",
                    arrowprops=line)  # fmt: skip


def _peaks(beat: Beat) -> dict[str, tuple[float, float]]:
    """(ms, height) of the waves that were measured in this lead: where its trace comes nearest to their height."""
    marks = beat.marks
    r_at, _ = _nearest(beat, "R", marks["qrs_on"], marks["qrs_off"])
    s_at, _ = _nearest(beat, "S", r_at, marks["qrs_off"])
    found = {
        "P": _nearest(beat, "P", marks["p_on"], marks["p_off"]),
        "Q": _nearest(beat, "Q", marks["qrs_on"], r_at),
        "R": (r_at, beat.heights["R"]),
        "S": (s_at, beat.heights["S"]),
        "R'": _nearest(beat, "R'", s_at, marks["qrs_off"]),
        "STJ": _nearest(beat, "STJ", marks["qrs_off"], marks["qrs_off"]),
        "T": _nearest(beat, "T", marks["qrs_off"], marks["t_off"]),
    }
    return {name: peak for name, peak in found.items() if np.isfinite(sum(peak))}


def _nearest(beat: Beat, wave: str, start: float, end: float) -> tuple[float, float]:
    """Where between two instants the trace comes nearest to the height of a wave; NaN where one is missing."""
    height = beat.heights[wave]
    if not np.isfinite(start + end + height):
        return np.nan, height
    first, last = np.searchsorted(beat.time_ms, [start, end + 1e-6])
    first = min(int(first), len(beat.trace) - 1)
    off = np.abs(beat.trace[first : max(int(last), first + 1)] - height)
    return float(beat.time_ms[first + int(off.argmin())]), height


def _name(ax: Axes, name: str, at: float, value: float) -> None:
    """A wave's name above its peak, or below it where it points down."""
    up = value >= 0
    ax.annotate(name, (at, value), (0, 5 if up else -5), textcoords="offset points", ha="center",
                va="bottom" if up else "top", linespacing=1.1)  # fmt: skip


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {
        "arrowstyle": "<|-|>,head_length=0.28,head_width=0.14",
        "color": INK,
        "lw": 0.8,
        "shrinkA": 0,
        "shrinkB": 0,
    }
    ax.annotate("", end, start, arrowprops=style)


def _amount(value: float, units: str) -> str:
    return f"{round(1000 * value)} uV" if units == "mV" else f"{value:.2f} {units}"
