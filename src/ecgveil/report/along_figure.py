"""The measures along training as one figure: small panels over the same epochs, real ECGs as the line to reach.

It is Figure 3 of Pon Bharathi et al., *Image augmentation on ECG image dataset using GAN*, with more measures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ecgveil import paper
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.along import MEASURES, REAL, best_checkpoint, correlations
from ecgveil.evaluation.metric import text
from ecgveil.files import write_atomic
from ecgveil.report import figures
from ecgveil.report.figures import FAINT, INK, REAL_COLOUR, SYNTHETIC_COLOUR

TARGET = "rules_valid_share"


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    share: bool = False


PANELS: Mapping[str, _Panel] = {
    "fid": _Panel("Fréchet distance, learned features", "no unit"),
    "fid_measurements": _Panel("Fréchet distance, measurements", "no unit"),
    "js": _Panel("Jensen-Shannon, measurements", "bits, 0 to 1"),
    "mmd": _Panel("Mean discrepancy (MMD), waves", "squared, no unit"),
    "dtw": _Panel("Synthetic to nearest real wave (DTW)", "uV"),
    "dtw_missed": _Panel("Real to nearest synthetic wave (DTW)", "uV"),
    "rules_valid_share": _Panel("Rules of real ECGs that hold", "% of the rules", share=True),
    "accuracy": _Panel("Trained on synthetic: accuracy", "% of real ECGs", share=True),
    "macro_f1": _Panel("Trained on synthetic: F1", "mean over the classes", share=True),
}


def draw_along(table: pd.DataFrame, *, title: str = "", axis: str = "epoch", scale: float = 1.0) -> Figure:
    """All measures over the checkpoints, with 95 % intervals, real ECGs as the floor, and the best checkpoint marked.

    Parameters
    ----------
    table : of `evaluation.along.along`
    title : heading, as the recipe and the data
    axis : what the checkpoints' numbers count
    scale : share of the full-length study that was run; less than 1 is written on the figure

    Returns
    -------
    Figure
        On white. Write it with `save_along`, or `paper.to_png` and `svg`.

    Raises
    ------
    EvaluationError
        The table has no checkpoint, or the scale is not over 0 and at most 1.
    """
    steps = [step for step in table.index if str(step) != REAL]
    if not steps or not 0 < scale <= 1:
        raise EvaluationError(
            f"{len(steps)} checkpoints at scale {scale}; draw one checkpoint or more, at a scale over 0 and at most 1"
        )
    related = correlations(table, TARGET)["spearman"]
    with mpl.rc_context({**figures._STYLE, "figure.facecolor": "white", "axes.facecolor": "white"}):
        fig, axes = figures._panels(len(PANELS), columns=3, height=2.75)
        for ax, (name, panel) in zip(axes, PANELS.items(), strict=True):
            _draw_panel(ax, table, name, panel, float(related.get(name, np.nan)))
        for ax in axes[-3:]:
            ax.set_xlabel(axis)
        _head(fig, title, table, axis, scale)
        _foot(fig, axes, table, axis)
        fig.draw_without_rendering()
        fig.set_layout_engine("none")  # laid out once: drawn again, it is the same
    return fig


def svg(fig: Figure) -> str:
    """The figure as a free-standing SVG file; text stays text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "along"}):
        fig.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "ecgveil"})
    return buffer.getvalue()


def save_along(fig: Figure, stem: str | Path) -> list[Path]:
    """Write the figure as `<stem>.png` and `<stem>.svg`, and tell where."""
    paths = [Path(f"{stem}.png"), Path(f"{stem}.svg")]
    for path, content in zip(paths, (paper.to_png(fig, dpi=130), svg(fig).encode()), strict=True):
        write_atomic(path, content)
    return paths


def _draw_panel(ax: Axes, table: pd.DataFrame, name: str, panel: _Panel, related: float) -> None:
    factor = 100.0 if panel.share else 1.0
    seen = table[[str(step) != REAL for step in table.index]]
    steps = np.array([int(step) for step in seen.index])
    values, low, high = (_column(seen, f"{name}{end}") * factor for end in ("", "_low", "_high"))
    better = "lower is better" if MEASURES[name] == "lower" else "higher is better"
    told = "" if name == TARGET or not np.isfinite(related) else f"; goes with rules: {related:+.2f}"
    ax.set_title(f"{panel.title}\n", fontsize=9)
    ax.text(0, 1.03, f"{better}{told}", transform=ax.transAxes, fontsize=8)
    ax.set_ylabel(_unit(panel, table), fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if panel.share:
        ax.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    known = np.isfinite(values)
    if not _measured(table, name):
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
        return
    if _measured(table, "fid"):
        ax.axvline(best_checkpoint(table), color=FAINT, lw=5, zorder=0)
    ax.fill_between(steps, low, high, color=SYNTHETIC_COLOUR, alpha=0.18, lw=0)
    ax.plot(steps[known], values[known], "o-", color=SYNTHETIC_COLOUR, ms=3.5, label="synthetic, 95 % interval")
    if REAL in table.index and np.isfinite(table.at[REAL, name]):
        label = "real ECGs in their place: what can be reached"
        ax.axhline(factor * table.at[REAL, name], color=REAL_COLOUR, linestyle=(0, (4, 2)), label=label)
    best = best_checkpoint(table, name)
    at = int(np.flatnonzero(steps == best)[0])
    ax.plot(
        best, values[at], "o", ms=10, mfc="none", mec=INK, mew=1.2, clip_on=False, label="best checkpoint of the panel"
    )
    above = 9 if not panel.share or values[at] < 85 else -17
    ax.annotate(
        text(float(values[at])), (best, values[at]), (0, above), textcoords="offset points", ha="center", fontsize=8
    )
    ax.margins(x=0.06, y=0.16)
    if panel.share:
        ax.set_ylim(0, 108)
    elif name != "mmd":  # unbiased, so that chance takes it below 0
        ax.set_ylim(bottom=0)


def _head(fig: Figure, title: str, table: pd.DataFrame, axis: str, scale: float) -> None:
    about = table.attrs
    stamp = [f"n = {int(table['n'].iloc[0])} ECGs on each side, for each {axis}"]
    if "form" in about:
        kind = "single beats" if about["form"] == "beats" else "windows"
        stamp.append(f"{kind} of {about['seconds']:.3g} s, {about['n_leads']} lead{'s' * (about['n_leads'] > 1)}")
        stamp.append(f"waves of lead {about['lead']}; {about['n_rules']} rules")
    stamp.append("full length" if scale == 1 else f"SCALE {scale:g}: shorter than the study")
    fig.suptitle(f"{title or 'Measures along training'}\n{'  |  '.join(stamp)}", x=0.01, ha="left", fontsize=10)


def _foot(fig: Figure, axes: list[Axes], table: pd.DataFrame, axis: str) -> None:
    lines = [
        "A rule says, for example: if the QRS is wide and R is low, then S is high. "
        '"Goes with rules": rank correlation with the share of rules that hold, from -1 to +1.',
        str(correlations(table, TARGET).attrs["note"]),
    ]
    if _measured(table, "fid"):
        lines.append(f"Grey bar: the {axis} that is best by the Fréchet distance of learned features.")
    keys = next((each for each in (ax.get_legend_handles_labels() for ax in axes) if each[0]), ([], []))
    fig.legend(
        *keys,
        loc="outside lower left",
        ncols=max(1, len(keys[0])),
        title="\n".join(lines),
        title_fontsize=8,
        alignment="left",
    )


def _measured(table: pd.DataFrame, name: str) -> bool:
    seen = table[[str(step) != REAL for step in table.index]]
    return bool(np.isfinite(_column(seen, name)).any())


def _column(table: pd.DataFrame, name: str) -> np.ndarray:
    return table[name].to_numpy(float) if name in table else np.full(len(table), np.nan)


def _unit(panel: _Panel, table: pd.DataFrame) -> str:
    units = table.attrs.get("units", "mV")
    return panel.unit if panel.unit != "uV" or units == "mV" else f"0.001 {units}"
