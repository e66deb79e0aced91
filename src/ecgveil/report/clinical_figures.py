"""The clinical charts of the report: heart rate, QT against RR, and how measurements go together, real and synthetic.

They are Figures 2, 4 and S2 of Thambawita et al. 2021, *DeepFake electrocardiograms*.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from ecgveil.evaluation import Evaluation, Features
from ecgveil.report import figures
from ecgveil.report.clinical import A_FEW, TOO_FEW_PEOPLE, column
from ecgveil.report.figures import INK, REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.report.guard import LEAST_BAR, LEAST_MEAN, enough, guarded, people

NORMAL_BPM = (60.0, 100.0)  # of sinus rhythm at rest
MOST_DOTS = 1000
# Cells in which real ECGs are counted on a page that may be passed on: the finest that shows enough of them is taken.
CELLS_MS = ((25.0, 10.0), (50.0, 20.0), (75.0, 30.0), (100.0, 40.0))
TOLD = 0.75  # share of the ECGs

PAIR = (("Real, training", "train", REAL_COLOUR), ("Synthetic", "synthetic", SYNTHETIC_COLOUR))

# Column, short name; axes are angles.
CORRELATED = (
    ("heart_rate_bpm", "heart rate"),
    ("rr_sd_ms", "SD of RR"),
    ("p_duration_ms", "P duration"),
    ("pr_interval_ms", "PR"),
    ("qrs_duration_ms", "QRS"),
    ("qt_interval_ms", "QT"),
    ("qtc_fridericia_ms", "QTc"),
    ("p_axis_deg", "P axis"),
    ("qrs_axis_deg", "QRS axis"),
    ("t_axis_deg", "T axis"),
    ("p_ii_uv", "P in II"),
    ("r_ii_uv", "R in II"),
    ("s_v1_uv", "S in V1"),
    ("r_v5_uv", "R in V5"),
    ("stj_v5_uv", "STJ in V5"),
    ("t_v5_uv", "T in V5"),
)


def heart_rates(evaluation: Evaluation, *, public: bool = False) -> str:
    """Distribution of heart rates, the normal range in full colour; empty where none was measured.

    On a page that may be passed on (`public`), bars of fewer than `LEAST_BAR` real people are left out. Bins are the
    same for any data, so that their ends tell nothing.
    """
    sets = [(*each, getattr(evaluation, each[1])) for each in PAIR]
    rates = [column(features, "heart_rate_bpm") for *_, features in sets]
    if not any(np.isfinite(each).any() for each in rates):
        return ""
    least = 200 * (LEAST_BAR if public else 1)
    width = 2.5 if min(np.isfinite(each).sum() for each in rates) >= least else 5.0
    edges = np.arange(10.0, 300.0 + width, width)
    bars = [
        _bars(features, name, rate, edges, public) for (_, name, _, features), rate in zip(sets, rates, strict=True)
    ]
    drawn = np.flatnonzero(np.sum([counts > 0 for counts in bars], axis=0))
    if not drawn.size:
        return ""
    with mpl.rc_context(figures._STYLE):
        fig, axes = figures._panels(2, columns=2, height=3.1)
        for ax, (title, name, colour, features), rate, counts in zip(axes, sets, rates, bars, strict=True):
            share = 100 * counts / max(1, np.isfinite(rate).sum())
            inside = (edges[:-1] >= NORMAL_BPM[0]) & (edges[:-1] < NORMAL_BPM[1])
            shades = [(colour, 0.85 if each else 0.25) for each in inside[counts > 0]]
            ax.bar(edges[:-1][counts > 0], share[counts > 0], width, align="edge", color=shades)
            ax.stairs(share, edges, color=colour, lw=0.8)
            for limit in NORMAL_BPM:
                ax.axvline(limit, color=INK, lw=0.7, linestyle=(0, (4, 3)))
            ax.set(title=title, xlabel="heart rate, beats per minute")
            _write_shares(ax, features, name, rate, public)
        low, high = min(edges[drawn[0]], 50.0), max(edges[drawn[-1] + 1], 110.0)
        top = max(float((100 * each / max(1, each.sum())).max()) for each in bars)
        for ax in axes:
            ax.set(xlim=(low, high), ylim=(0, 1.32 * top))
        axes[0].set_ylabel("% of ECGs")
        return figures._svg(fig, "heart-rates")


def _bars(features: Features, name: str, rate: np.ndarray, edges: np.ndarray, public: bool) -> np.ndarray:
    """ECGs in each bin; what lies beyond the ends counts in the last bins."""
    there = np.isfinite(rate)
    if not enough(features, name, public, there):
        return np.zeros(len(edges) - 1, int)
    at = np.digitize(np.clip(rate[there], edges[0], edges[-1] - 1e-6), edges) - 1
    counts = np.bincount(at, minlength=len(edges) - 1)
    if guarded(name, public):
        counts[_persons_in(at, features.patient_id[there], len(counts)) < LEAST_BAR] = 0
    return counts


def _persons_in(cell: np.ndarray, person: np.ndarray, n_cells: int) -> np.ndarray:
    """How many persons have an ECG in each cell, (n,) -> (n_cells,)."""
    _, person = np.unique(person, return_inverse=True)
    pairs = np.unique(np.stack([cell, person]), axis=1)
    return np.bincount(pairs[0], minlength=n_cells)


def _write_shares(ax: Axes, features: Features, name: str, rate: np.ndarray, public: bool) -> None:
    """Shares below, within and above the normal range, over the bars."""
    there = np.isfinite(rate)
    if not there.any() or not enough(features, name, public, there):
        why = TOO_FEW_PEOPLE if there.any() else "not measured"
        ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center")
        return
    low, high = NORMAL_BPM
    groups = (
        (low - 1.5, "right", "below", rate < low),
        ((low + high) / 2, "center", f"normal, {low:g} to {high:g}", (rate >= low) & (rate <= high)),
        (high + 1.5, "left", "above", rate > high),
    )
    few = [guarded(name, public) and 0 < people(features, among) < LEAST_BAR for *_, among in groups]
    for (x, side, word, among), hidden in zip(groups, few, strict=True):
        share = A_FEW if hidden else f"{100 * among.sum() / there.sum():.1f} %"
        if any(few) and not hidden:
            share = ""  # the other shares would tell the hidden one
        ax.text(x, 0.965, f"{word}\n{share}", transform=ax.get_xaxis_transform(), ha=side, va="top", fontsize=8.5)


@dataclass(frozen=True)
class Line:
    """QT over RR in one set: correlation with its 95 % interval (Fisher), and the least-squares line."""

    r: float
    low: float
    high: float
    slope: float
    level: float
    n: int


def qt_line(features: Features) -> Line | None:
    """How QT goes with RR; None with fewer than four ECGs, or where one of them is constant."""
    rr, qt, _ = _rr_qt(features)
    if len(rr) < 4 or not np.ptp(rr) or not np.ptp(qt):
        return None
    r = float(np.corrcoef(rr, qt)[0, 1])
    reach = 1.96 / np.sqrt(len(rr) - 3)
    low, high = np.tanh(np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)) + np.array([-reach, reach]))
    slope, level = np.polyfit(rr, qt, 1)
    return Line(r, float(low), float(high), float(slope), float(level), len(rr))


def _rr_qt(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RR and QT in ms where both were measured, and which ECGs these are."""
    rr, qt = column(features, "rr_mean_ms"), column(features, "qt_interval_ms")
    both = np.isfinite(rr) & np.isfinite(qt)
    return rr[both], qt[both], both


def qt_rr(evaluation: Evaluation, *, public: bool = False) -> str:
    """QT against RR, real and synthetic, with both correlation coefficients; empty where QT was not measured.

    Each dot is an ECG. On a page that may be passed on (`public`) real ECGs are counted in cells instead, and cells of
    fewer than `LEAST_BAR` people are left out.
    """
    sets = [(*each, getattr(evaluation, each[1])) for each in PAIR]
    if not any(_rr_qt(features)[0].size for *_, features in sets):
        return ""
    with mpl.rc_context(figures._STYLE):
        fig, axes = figures._panels(2, columns=2, height=4.0)
        shown: list[np.ndarray] = []
        for ax, (title, name, colour, features) in zip(axes, sets, strict=True):
            ax.set(title=title, xlabel="mean RR interval, ms")
            rr, qt, both = _rr_qt(features)
            if not rr.size or not enough(features, name, public, both):
                why = TOO_FEW_PEOPLE if rr.size else "not measured"
                ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center")
            elif guarded(name, public):
                shown.append(_draw_cells(ax, rr, qt, features.patient_id[both], colour))
            else:
                shown.append(_draw_dots(ax, rr, qt, colour))
        _limits(axes, shown)
        _draw_lines(axes, sets, public)
        axes[0].set_ylabel("QT interval, ms")
        return figures._svg(fig, "qt-rr")


def _draw_dots(ax: Axes, rr: np.ndarray, qt: np.ndarray, colour: str) -> np.ndarray:
    """The ECGs as dots, at most `MOST_DOTS` evenly through the set; returns the corners of what is drawn, (2, 2)."""
    rows = np.unique(np.linspace(0, len(rr) - 1, min(len(rr), MOST_DOTS)).round().astype(int))
    alpha = float(np.clip(12 / np.sqrt(len(rows)), 0.35, 0.8))
    ax.plot(rr[rows], qt[rows], "o", ms=3.2, mew=0, color=colour, alpha=alpha)
    return np.array([[rr.min(), rr.max()], [qt.min(), qt.max()]])


def _draw_cells(ax: Axes, rr: np.ndarray, qt: np.ndarray, person: np.ndarray, colour: str) -> np.ndarray:
    """Counts in cells, the darker the more; returns the corners of what is drawn, (2, 2), perhaps empty (2, 0)."""
    for size in CELLS_MS:
        cells, counts, persons = _cells(rr, qt, person, np.array(size))
        told = persons >= LEAST_BAR
        if counts[told].sum() >= TOLD * len(rr):
            break
    cells, counts = cells[told], counts[told]
    if not len(cells):
        ax.text(0.5, 0.5, f"no cell holds {LEAST_BAR} people", transform=ax.transAxes, ha="center", va="center")
        return np.empty((2, 0))
    low = cells * size  # (n_cells, 2)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    rgba = [mpl.colors.to_rgba(colour, 0.15 + 0.8 * count / counts.max()) for count in counts]
    ax.add_collection(PolyCollection(list(low[:, None] + square), facecolors=rgba, edgecolors="none", zorder=1.5))
    ax.text(
        0.98, 0.03, f"ECGs in cells of {size[0]:g} x {size[1]:g} ms\nwith {LEAST_BAR} people or more",
        transform=ax.transAxes, ha="right", va="bottom", fontsize=7.5,
    )  # fmt: skip
    return np.stack([low.min(axis=0), (low + size).max(axis=0)], axis=1)


def _cells(
    rr: np.ndarray, qt: np.ndarray, person: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells that hold an ECG, (n_cells, 2) in steps of `size` ms, with their ECGs and persons."""
    at = np.floor(np.stack([rr, qt], axis=1) / size).astype(int)
    cells, which, counts = np.unique(at, axis=0, return_inverse=True, return_counts=True)
    return cells, counts, _persons_in(which.ravel(), person, len(cells))


def _limits(axes: list[Axes], shown: list[np.ndarray]) -> None:
    """One frame for both panels, around all that is drawn, with room above for the coefficient."""
    corners = np.concatenate([np.empty((2, 0)), *shown], axis=1)
    if not corners.size:
        return
    low, high = corners.min(axis=1), corners.max(axis=1)
    room = 0.06 * np.maximum(high - low, 1)
    for ax in axes:
        ax.set(xlim=(low[0] - room[0], high[0] + room[0]), ylim=(low[1] - room[1], high[1] + 4 * room[1]))


def _draw_lines(axes: list[Axes], sets: list[tuple], public: bool) -> None:
    """Each set's line in its own panel, and dashed in the other's; its correlation coefficient above."""
    for i, (_, name, colour, features) in enumerate(sets):
        line = qt_line(features)
        if line is None or not enough(features, name, public, _rr_qt(features)[2]):
            continue
        for j, ax in enumerate(axes):
            ends = np.array(ax.get_xlim())
            dash = "-" if i == j else (0, (4, 2.5))
            ax.plot(ends, line.level + line.slope * ends, color=colour, linestyle=dash, lw=1.6, zorder=3, scalex=False,
                    scaley=False)  # fmt: skip
        said = f"r = {line.r:.2f} ({line.low:.2f} to {line.high:.2f}), r² = {line.r**2:.2f}, n = {line.n}"
        axes[i].text(0.02, 0.98, said, transform=axes[i].transAxes, ha="left", va="top", weight="bold")


def together(evaluation: Evaluation, *, public: bool = False) -> str:
    """Correlations of the measurements: real, synthetic, and how far holdout and synthetic are from training.

    A correlation needs `LEAST_MEAN` persons in whom both were measured. Empty where there are not two measurements.
    """
    sets = {name: getattr(evaluation, name) for name in ("train", "holdout", "synthetic")}
    if not enough(sets["train"], "train", public):
        return ""
    middle = {key: _mean_angle(column(sets["train"], key)) for key, _ in CORRELATED if key.endswith("_deg")}
    tables = {name: _measured(features, middle) for name, features in sets.items()}
    matrices = {name: correlation(table, sets[name].patient_id) for name, table in tables.items()}
    kept = [i for i in range(len(CORRELATED)) if np.isfinite(matrices["train"][i]).sum() > 1]
    if len(kept) < 2:
        return ""
    train, holdout, made = (matrices[name][np.ix_(kept, kept)] for name in ("train", "holdout", "synthetic"))
    panels = (
        ("Real, training", train),
        ("Synthetic", made),
        (f"Real holdout minus training{_mean_off_diagonal(holdout - train)}", holdout - train),
        (f"Synthetic minus training{_mean_off_diagonal(made - train)}", made - train),
    )
    return _draw_matrices(panels, [CORRELATED[i][1] for i in kept])


def correlation(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Pearson correlation of the columns of (n, m) over the rows where both are finite; NaN below `LEAST_MEAN` persons.

    Returns
    -------
    (m, m)
    """
    m = values.shape[1]
    there = np.isfinite(values)
    found = np.full((m, m), np.nan)
    for i in range(m):
        for j in range(i, m):
            both = there[:, i] & there[:, j]
            one, other = values[both, i], values[both, j]
            if len(np.unique(person[both])) >= LEAST_MEAN and np.ptp(one) and np.ptp(other):
                found[i, j] = found[j, i] = np.corrcoef(one, other)[0, 1]
    return found


def _measured(features: Features, middle: dict[str, float]) -> np.ndarray:
    """The measurements as (n, m); angles as degrees from their mean direction in the training set."""
    columns = []
    for key, _ in CORRELATED:
        values = column(features, key)
        if key in middle:
            values = (values - middle[key] + 180) % 360 - 180
        columns.append(values)
    return np.stack(columns, axis=1)


def _mean_angle(degrees: np.ndarray) -> float:
    """Direction of the mean of unit vectors, degrees; 0 for none."""
    radians = np.deg2rad(degrees[np.isfinite(degrees)])
    return float(np.rad2deg(np.arctan2(np.sin(radians).sum(), np.cos(radians).sum())))


def _mean_off_diagonal(difference: np.ndarray) -> str:
    values = np.abs(difference[np.triu_indices(len(difference), 1)])
    values = values[np.isfinite(values)]
    return f": {values.mean():.2f} on average" if values.size else ""


def _draw_matrices(panels: tuple[tuple[str, np.ndarray], ...], names: list[str]) -> str:
    with mpl.rc_context({**figures._STYLE, "axes.grid": False}):
        fig = Figure(figsize=(figures._WIDTH, 9.6), layout="constrained")
        axes = list(fig.subplots(2, 2).flat)
        for i, (ax, (title, matrix)) in enumerate(zip(axes, panels, strict=True)):
            mesh = ax.pcolormesh(
                np.ma.masked_invalid(matrix[::-1]), cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="face", linewidth=0.3
            )
            ax.set(title=title, aspect="equal")
            ticks = np.arange(len(names)) + 0.5
            ax.set_xticks(ticks, names if i > 1 else [], fontsize=8, rotation=90)
            ax.set_yticks(ticks, names[::-1] if i % 2 == 0 else [], fontsize=8)
            ax.tick_params(length=0)
        fig.colorbar(mesh, ax=axes, shrink=0.5, label="correlation", aspect=35)
        return figures._svg(fig, "together")
