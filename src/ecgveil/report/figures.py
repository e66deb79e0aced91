"""The charts of the report, as inline SVG that takes its colours from the page, light or dark."""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ecgveil.ecg import ECGSet
from ecgveil.evaluation import Distances, Evaluation
from ecgveil.evaluation.fidelity import mean_level_db
from ecgveil.measure.beats import median_beat, r_peaks
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.report.guard import LEAST_BAR, enough

# Stand-ins that become CSS variables in the page, so that one drawing serves light and dark.
INK, FAINT = "#0a0b0c", "#d0d1d2"
_VARIABLES = {
    REAL_COLOUR: "var(--real)",
    SYNTHETIC_COLOUR: "var(--synthetic)",
    INK: "var(--ink)",
    FAINT: "var(--faint)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}
SETS = (
    ("real, training", "train", REAL_COLOUR, "-"),
    ("real, holdout", "holdout", REAL_COLOUR, (0, (3, 2))),
    ("synthetic", "synthetic", SYNTHETIC_COLOUR, "-"),
)
SHOWN_LEADS: tuple[str, ...] = ("I", "II", "V2", "V5")
_WIDTH, _PANEL_HEIGHT = 10.4, 2.7  # inches; the page scales them


def training_curves(history: Sequence[dict]) -> str:
    """Every loss in the history against the step; an empty string where there is none."""
    names = sorted({key for row in history for key in row if key.endswith("loss")})
    if not names:
        return ""
    with mpl.rc_context(_STYLE):
        fig, axes = _panels(len(names), columns=2)
        for ax, name in zip(axes, names, strict=True):
            rows = [row for row in history if row.get(name) is not None]
            rows = rows[:: max(1, len(rows) // 1000)]
            ax.plot([row["step"] for row in rows], [row[name] for row in rows], color=INK, lw=0.9)
            ax.set(title=name.replace("_", " "), xlabel="training step")
        return _svg(fig, "training")


def _sets(evaluation: Evaluation, public: bool) -> list[tuple]:
    """The sets to draw; on a public page no real one so small that its mean could be a person's."""
    return [each for each in SETS if enough(getattr(evaluation, each[1]), each[1], public)]


def distributions(evaluation: Evaluation, *, public: bool = False) -> str:
    """Heart rate, its irregularity, and R and T amplitudes: share of records in each bin, three sets.

    `public` leaves out small real sets, and bars of real sets that stand for fewer than `LEAST_BAR` people.
    """
    sets = _sets(evaluation, public)
    leads = evaluation.train.leads
    chosen = [lead for lead in ("II", "V1", "V5") if lead in leads] or leads[:2]
    panels = [("heart_rate_bpm", "Heart rate", "beats per minute"), ("rr_sd_ms", "Spread of RR intervals", "ms")]
    panels += [(f"r_{lead.lower()}_uv", f"R wave, lead {lead}", "uV") for lead in chosen]
    panels += [(f"t_{lead.lower()}_uv", f"T wave, lead {lead}", "uV") for lead in chosen]
    panels = [panel for panel in panels if any(_finite(evaluation, name, panel[0]).size for _, name, _, _ in sets)]
    if not panels:
        return ""
    with mpl.rc_context(_STYLE):
        fig, axes = _panels(len(panels), columns=4)
        for ax, (column, title, unit) in zip(axes, panels, strict=True):
            values = {label: _finite(evaluation, name, column) for label, name, _, _ in sets}
            whose = {label: _whose(evaluation, name, column) for label, name, _, _ in sets}
            _histogram(ax, values, whose=whose, public=public)
            ax.set(title=title, xlabel=unit)
        axes[0].set_ylabel("% of records")
        _legend(fig, axes[0])
        return _svg(fig, "distributions")


def spectra(evaluation: Evaluation, *, public: bool = False) -> str:
    """Mean power spectral density of a few leads."""
    leads = evaluation.train.leads
    chosen = [lead for lead in SHOWN_LEADS if lead in leads] or leads[:4]
    with mpl.rc_context(_STYLE):
        fig, axes = _panels(len(chosen), columns=4)
        for ax, lead in zip(axes, chosen, strict=True):
            for label, name, colour, dash in _sets(evaluation, public):
                features = getattr(evaluation, name)
                level = mean_level_db(features.psd_db[:, leads.index(lead)])
                shown = np.where(np.isfinite(level), level, np.nan)
                ax.plot(features.freqs_hz, shown, color=colour, linestyle=dash, label=label)
            ax.set(title=f"Lead {lead}", xlabel="Hz")
        axes[0].set_ylabel("dB re 1 unit²/Hz")
        _legend(fig, axes[0])
        return _svg(fig, "spectra")


def correlations(evaluation: Evaluation) -> str:
    """Mean correlation between leads, real (training) beside synthetic beside their difference; empty for one lead."""
    leads = evaluation.train.leads
    if len(leads) < 2:
        return ""
    real, synthetic = (each.correlation.mean(axis=0) for each in (evaluation.train, evaluation.synthetic))
    with mpl.rc_context({**_STYLE, "axes.grid": False}):
        fig = Figure(figsize=(_WIDTH, 3.7), layout="constrained")
        axes = np.atleast_1d(fig.subplots(1, 3))
        titles = ("Real, training", "Synthetic", "Synthetic minus real")
        for ax, matrix, title in zip(axes, (real, synthetic, synthetic - real), titles, strict=True):
            mesh = ax.pcolormesh(matrix[::-1], cmap="RdBu_r", vmin=-1, vmax=1, edgecolors="face", linewidth=0.3)
            ax.set(title=title, aspect="equal")
            ax.set_xticks(np.arange(len(leads)) + 0.5, leads, fontsize=7, rotation=90)
            ax.set_yticks(np.arange(len(leads)) + 0.5, leads[::-1], fontsize=7)
            ax.tick_params(length=0)
        fig.colorbar(mesh, ax=list(axes), shrink=0.8, label="correlation", aspect=30)
        return _svg(fig, "correlations")


def nearest_distances(distances: Distances, *, public: bool = False) -> str:
    """Distances to the nearest record, among equally large reference parts."""
    with mpl.rc_context(_STYLE):
        fig = Figure(figsize=(_WIDTH, 3.0), layout="constrained")
        ax = fig.subplots()
        shown = (
            ("synthetic to nearest training", distances.synthetic_to_train, SYNTHETIC_COLOUR, "-"),
            ("synthetic to nearest holdout", distances.synthetic_to_holdout, SYNTHETIC_COLOUR, (0, (3, 2))),
            ("real holdout to nearest training", distances.holdout_to_train, REAL_COLOUR, "-"),
        )
        styles = {label: (colour, dash) for label, _, colour, dash in shown}
        _histogram(ax, {label: values for label, values, _, _ in shown}, styles, public=public)
        ax.set(xlabel="root mean square difference of median beats, uV", ylabel="% of records")
        _legend(fig, ax)
        return _svg(fig, "distances")


def closest_pairs(train: ECGSet, synthetic: ECGSet, distances: Distances, n_pairs: int = 3) -> str:
    """Median beats of the nearest pairs laid over each other, the training ECG under the synthetic one."""
    pairs = distances.pairs[:n_pairs]
    leads = [lead for lead in SHOWN_LEADS if lead in train.leads] or list(train.leads[:4])
    real = _median_beats(train, [pair.train_row for pair in pairs], leads)
    made = _median_beats(synthetic, [pair.synthetic_row for pair in pairs], leads)
    with mpl.rc_context(_STYLE):
        fig, axes = _panels(len(pairs) * len(leads), columns=len(leads), height=2.2)
        for i, ax in enumerate(axes):
            row, column = divmod(i, len(leads))
            time_ms = np.arange(real.shape[-1]) * 1000 / train.fs - 250
            ax.plot(time_ms, real[row, column], color=REAL_COLOUR, label="real, training")
            ax.plot(time_ms, made[row, column], color=SYNTHETIC_COLOUR, label="SYNTHETIC")
            name = f"Pair {row + 1}, {pairs[row].distance:.0f} uV: lead" if column == 0 else "Lead"
            ax.set(title=f"{name} {leads[column]}")
            if row == len(pairs) - 1:
                ax.set_xlabel("ms from R peak")
            if column == 0:
                ax.set_ylabel(train.units)
        _legend(fig, axes[0])
        return _svg(fig, "pairs")


def _median_beats(ecgs: ECGSet, rows: list[int], leads: list[str]) -> np.ndarray:
    """Median beats of these leads, aligned at the R peak of all leads; one record may be in several pairs."""
    singles = [ecgs.take([row]) for row in rows]
    return np.concatenate([median_beat(each.pick(leads), r_peaks(each))[0] for each in singles])


def _finite(evaluation: Evaluation, name: str, column: str) -> np.ndarray:
    values = getattr(evaluation, name).table[column].to_numpy(float)
    return values[np.isfinite(values)]


def _whose(evaluation: Evaluation, name: str, column: str) -> np.ndarray:
    """Of whom the values of `_finite` are."""
    features = getattr(evaluation, name)
    return features.patient_id[np.isfinite(features.table[column].to_numpy(float))]


def _histogram(
    ax: Axes,
    values: dict[str, np.ndarray],
    styles: dict[str, tuple] | None = None,
    *,
    whose: dict[str, np.ndarray] | None = None,
    public: bool = False,
) -> None:
    """Histograms over common bins, in per cent of each set; what lies beyond counts in the last bin.

    `whose` says of each value of whom it is; without it each is of its own person.
    """
    styles = styles or {label: (colour, dash) for label, _, colour, dash in SETS}
    every = np.concatenate(list(values.values()))
    low, high = np.percentile(every, [5, 95] if public else [0.5, 99.5])  # no one's extreme on a public page
    fewest = min(each.size for each in values.values() if each.size)
    bins = int(np.clip(2.5 * np.cbrt(fewest), 5, 30))
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    for label, each in values.items():
        if not each.size:
            continue
        at = np.digitize(each, edges[1:-1])
        counts = np.bincount(at, minlength=bins)
        colour, dash = styles[label]
        if public and colour == REAL_COLOUR:
            people = np.arange(each.size) if whose is None else np.unique(whose[label], return_inverse=True)[1]
            behind = np.bincount(np.unique(np.stack([at, people]), axis=1)[0], minlength=bins)
            counts = np.where(behind < LEAST_BAR, 0, counts)
        share = 100 * counts / each.size
        ax.stairs(share, edges, color=colour, linestyle=dash, lw=1.5, label=label)
        if colour == REAL_COLOUR and dash == "-":
            ax.stairs(share, edges, fill=True, color=colour, alpha=0.15)


def _panels(n: int, columns: int, height: float = _PANEL_HEIGHT) -> tuple[Figure, list[Axes]]:
    columns = min(columns, n)
    rows = -(-n // columns)
    fig = Figure(figsize=(_WIDTH, height * rows), layout="constrained")
    engine = fig.get_layout_engine()
    if engine is not None:
        engine.set(h_pad=0.1, w_pad=0.06)  # type: ignore[call-arg]
    axes = list(np.atleast_1d(fig.subplots(rows, columns)).flat)
    for ax in axes[n:]:
        ax.axis("off")
    for ax in axes[:n]:
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    return fig, axes[:n]


def _legend(fig: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper right", ncols=len(labels))


def _svg(fig: Figure, name: str) -> str:
    """The figure as an <svg> element; ids are salted by name so that figures in one page do not share them."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(colour, variable)
    drawn = re.sub(r"('DejaVu Sans'|DejaVu Sans)[^;\"]*?sans-serif", "system-ui, sans-serif", drawn)
    drawn = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", drawn, count=1)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', drawn, count=1)
