"""P1's thyroid study: rows of a patient table as images, and back (Piacentino et al. 2021, section 3.3)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ecgveil.errors import ConfigError
from ecgveil.evaluation.tables import FeatureFigure, compare_tables
from ecgveil.kinds import read_others
from ecgveil.models.draw import draw
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.recipe import Recipe
from ecgveil.studies import piacentino
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.page import STYLE, Best, Section, new_figure
from ecgveil.table_encoder import TABLE_ARRANGEMENTS, TableEncoder, grey_levels
from ecgveil.tables import TableSet, join_tables

SNAPSHOTS = 100  # one an epoch
DRAWN = 6330  # rows that P1 compares
ALONG = 1000  # rows drawn at each snapshot
IMAGES = 8
CONTRASTED = 13  # grey levels, 5 % of 255, from either end
SUFFIXES = (".data", ".dat", ".csv", ".txt")
ZONES = ("#eceff3", "#f3c68f", "#9fc3ea")  # NULL, binary, continuous


def run(job: Job, folder: Path) -> list[Section]:
    """Train on the rows, and compare a table drawn with them: images, NULL area, distributions."""
    recipe = job.recipe(job.name, training__snapshots=SNAPSHOTS)
    table: Any = read(job, recipe)  # in the place of ECGs
    trained = job.train(recipe, job.share(table))
    number = job.number(DRAWN)
    tensors = np.concatenate(list(trained.run.tensors(number, seed=job.seed)))
    made = trained.run.encoder.decode(tensors)
    along = watched(trained, job)
    return [
        arrangements(trained),
        truth(trained),
        evolution(trained),
        null_area(trained, along),
        boxes(trained, made, job),
        counts(trained, made, job),
        compared(trained, made),
        in_words(trained, tensors, made, along),
        replace(piacentino.losses(trained), title="Losses", text=_LOSSES),
        replace(piacentino.warnings(trained), title="What the monitors said"),
    ]


_LOSSES = "P1: the generator overtakes the discriminator from the beginning, whose gradient diminishes."


def read(job: Job, recipe: Recipe) -> TableSet:
    """The table given: a file, or all files of a folder.

    Raises
    ------
    ConfigError
        None was given, or a folder without a table.
    RecordError
        A table cannot be read.
    """
    if not job.data:
        raise ConfigError(
            f"study {job.name} needs a table, and none comes with ecgveil: pass --data with the thyroid table of KEEL "
            "(thyroid.dat) or of UCI (ann-train.data and ann-test.data), or with the folder that holds it"
        )
    files: list[Path] = []
    for path in job.data:
        found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES) if path.is_dir() else [path]
        if not found:
            raise ConfigError(f"{path} holds no table ({', '.join(SUFFIXES)}); give the file, or its folder")
        files += found
    table, _ = read_others(files, recipe)
    assert isinstance(table, TableSet)
    return table


def arrangements(trained: Trained) -> Section:
    """Fig. 4, left."""
    encoder = trained.run.encoder
    binary, side = np.array(encoder.binary_), encoder.side
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.2)
        for ax, (name, arrange) in zip(
            fig.subplots(1, len(TABLE_ARRANGEMENTS)), TABLE_ARRANGEMENTS.items(), strict=True
        ):
            try:
                cells = arrange(binary.tolist(), side)
            except ConfigError:
                ax.set(title=f"{name}: no room")
                ax.set_axis_off()
                continue
            zone = np.zeros(side * side, int)
            for feature, own in enumerate(cells):
                zone[own] = 1 if binary[feature] else 2
            _zones(ax, zone.reshape(side, side))
            ax.set_title(f"{name} (taken)" if name == encoder.arrange else name)
        handles = [Rectangle((0, 0), 1, 1, color=ZONES[i]) for i in (2, 1, 0)]
        labels = [f"continuous ({int((~binary).sum())})", f"binary ({int(binary.sum())})", "NULL"]
        fig.legend(handles, labels, loc="outside right center", frameon=False)
    return Section("arrangements", "Fig. 4, left: where the features lie", "P1's text describes the one it takes: "
                   "binary zone bottom left, NULL side at the right. P1's other schemes are in its picture alone, so "
                   "that these others are ours.", trained.stamp, fig)  # fmt: skip


def _zones(ax: Axes, zone: np.ndarray) -> None:
    for (row, column), kind in np.ndenumerate(zone):
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=ZONES[kind], edgecolor="white", lw=1))
    ax.set(xlim=(0, zone.shape[1]), ylim=(zone.shape[0], 0), aspect="equal")
    ax.set_axis_off()


def truth(trained: Trained) -> Section:
    """Fig. 4, right: a real row that was not trained on, as an image, its features named, and more of them."""
    encoder, holdout = trained.run.encoder, trained.parts.holdout
    rng = np.random.default_rng([trained.run.folder.provenance["seed"], 84])
    rows = rng.permutation(len(holdout))[: 1 + IMAGES // 2]
    tensors, _ = encoder.encode(holdout.take(rows))
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3.6)
        grid = fig.add_gridspec(2, 3, width_ratios=[2, 1, 1])
        large = fig.add_subplot(grid[:, 0])
        _image(large, tensors[0])
        _name_cells(large, encoder, grey_levels(tensors[0]).reshape(-1))
        large.set_title("real row: grey level and feature of each cell")
        for i, tensor in enumerate(tensors[1:]):
            _image(fig.add_subplot(grid[i % 2, 1 + i // 2]), tensor)
        fig.suptitle("real", color=REAL_COLOUR, fontsize=9)
    return Section("truth", "Fig. 4, right: real rows as images", "Rows that were not trained on. Continuous features "
                   "take levels 1 to 255 (eq. 2, a = 1), binary ones 1 or 255, the NULL area 0.",
                   trained.stamp, fig)  # fmt: skip


def _name_cells(ax: Axes, encoder: TableEncoder, levels: np.ndarray) -> None:
    for name, cells in zip(encoder.names, encoder.cells(), strict=True):
        short = name if len(name) <= 9 else name[:8] + "."
        for cell in cells:
            row, column = divmod(cell, encoder.side)
            colour = "black" if levels[cell] > 150 else "white"
            ax.text(column, row, f"{levels[cell]:.0f}\n{short}", ha="center", va="center", fontsize=5, color=colour)


def evolution(trained: Trained) -> Section:
    """Fig. 6: images of the same noise at the beginning, the middle and the end, and real ones."""
    steps = trained.run.folder.snapshots()
    encoder, holdout = trained.run.encoder, trained.parts.holdout
    rows = np.random.default_rng([trained.run.folder.provenance["seed"], 85]).permutation(len(holdout))[:IMAGES]
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 5.2)
        axes = fig.subplots(4, IMAGES)
        for ax in axes.flat:
            ax.set_axis_off()
        for line, step in zip(axes, sorted({steps[0], steps[(len(steps) - 1) // 2], steps[-1]}), strict=False):
            for ax, tensor in zip(line, draw(trained.at(step).generator, 0, 0, IMAGES), strict=True):
                _image(ax, tensor)
            line[0].set_title(f"SYNTHETIC, epoch {trained.epoch(step):.3g}", loc="left", color=SYNTHETIC_COLOUR)
        for ax, tensor in zip(axes[3], encoder.encode(holdout.take(rows))[0], strict=False):
            _image(ax, tensor)
        axes[3][0].set_title("real", loc="left", color=REAL_COLOUR)
    return Section("evolution", "Fig. 6: images along training", "Each column of the synthetic ones is one draw of "
                   "noise. P1: contrasted values in the binary zone between epochs 1 and 50, and yet values on the "
                   "NULL side; at epoch 100 all of these 0.", trained.stamp, fig)  # fmt: skip


def watched(trained: Trained, job: Job) -> pd.DataFrame:
    """At each snapshot: share of rows whose NULL area is all 0, of NULL cells that are, of contrasted binary cells."""
    number, found = job.number(ALONG, least=200), []
    for step in trained.run.folder.snapshots():
        tensors = np.concatenate(list(trained.at(step).tensors(number, seed=job.seed)))
        found.append((step, trained.epoch(step), *_cells(trained.run.encoder, tensors)))
    return pd.DataFrame(found, columns=["step", "epoch", "rows", "cells", "contrasted"]).assign(n=number)


def _cells(encoder: TableEncoder, tensors: np.ndarray) -> tuple[float, float, float]:
    """Share of rows whose NULL area is all 0, of NULL cells that are, and of binary cells near either end."""
    levels = grey_levels(tensors).reshape(len(tensors), -1)
    binary = [
        cell for cells, is_binary in zip(encoder.cells(), encoder.binary_, strict=True) if is_binary for cell in cells
    ]
    near = np.minimum(levels[:, binary], 255 - levels[:, binary]) < CONTRASTED
    return encoder.null_share(tensors), _mean(levels[:, encoder.null_cells()] == 0), _mean(near)


def null_area(trained: Trained, along: pd.DataFrame) -> Section:
    """What Fig. 6 shows, counted at every snapshot."""
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.8)
        ax = fig.subplots()
        for column, label, colour, width in (
            ("rows", "rows whose whole NULL area is 0", SYNTHETIC_COLOUR, 1.6),
            ("cells", "NULL cells that are 0", "#e9a37a", 1.0),
            ("contrasted", f"binary cells within {CONTRASTED - 1} levels of 0 or 255", "#5b6470", 1.0),
        ):
            ax.plot(along["epoch"], along[column], color=colour, lw=width, label=label)
        ax.set(xlabel="epoch", ylabel="share", ylim=(-0.03, 1.03))
        ax.legend(frameon=False, loc="lower right")
    text = (
        f"{along['n'][0]} rows drawn at each snapshot, in whole grey levels. In real rows all three are 1 by the "
        "arrangement. Published: values left at epoch 50, none at 100."
    )
    return Section("null", "Fig. 6, counted: the NULL area along training", text, trained.stamp, fig)


def boxes(trained: Trained, made: TableSet, job: Job) -> Section:
    """Box plots of the continuous features, and their quartiles."""
    real, made = _as_many(trained, made, job.seed)
    kept = [i for i, binary in enumerate(trained.run.encoder.binary_) if not binary]
    rows = []
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3.2)
        for ax, i in zip(np.atleast_1d(fig.subplots(1, max(1, len(kept)))), kept, strict=False):
            pair = [each.values[:, i][~np.isnan(each.values[:, i])] for each in (real, made)]
            drawn = ax.boxplot(pair, widths=0.6, patch_artist=True, flierprops={"ms": 1.5, "mew": 0.3})
            for box, colour in zip(drawn["boxes"], (REAL_COLOUR, SYNTHETIC_COLOUR), strict=True):
                box.set(facecolor=colour, alpha=0.5)
            ax.set_xticks((1, 2), ("real", "SYNTH."))
            ax.set_title(real.names[i])
            for kind, values in zip(("real", "synthetic"), pair, strict=True):
                rows.append((real.names[i], kind, len(values), *_five(values)))
    table = pd.DataFrame(rows, columns=["feature", "rows", "n", "lowest", "Q1", "median", "Q3", "highest"])
    text = (
        "P1: generated values lie inside the real range (here by the decoding: no level beyond 1 to 255); dispersion a "
        "bit different, medians and quartiles not matching. Box: quartiles; whiskers: 1.5 times the box. "
        "As many real rows, of all parts."
    )
    return Section("boxes", "Box plots of the continuous features", text, trained.stamp, fig, table)


def counts(trained: Trained, made: TableSet, job: Job) -> Section:
    """Positives of the binary features in as many rows of each kind."""
    (real, made), encoder = _as_many(trained, made, job.seed), trained.run.encoder
    kept = [i for i, binary in enumerate(encoder.binary_) if binary]
    positive = [
        [int((each.values[:, i] > (encoder.low_[i] + encoder.high_[i]) / 2).sum()) for i in kept]
        for each in (real, made)
    ]
    names = [real.names[i] for i in kept]
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3.4)
        ax = fig.subplots()
        places = np.arange(len(kept))
        for shift, share, colour, label in zip(
            (-0.2, 0.2), positive, (REAL_COLOUR, SYNTHETIC_COLOUR), ("real", "SYNTHETIC"), strict=True
        ):
            ax.bar(places + shift, share, 0.4, color=colour, label=label)
        ax.set_xticks(places, [name.replace("_", " ") for name in names], rotation=35, ha="right", fontsize=7)
        ax.set_ylabel("positives")
        ax.legend(frameon=False)
    table = pd.DataFrame(
        {"feature": names, f"real, of {len(real)}": positive[0], f"synthetic, of {len(made)}": positive[1]}
    )
    text = "P1: for the same amount of samples, positives and negatives are similar in number in all features."
    return Section("counts", "Positives of the binary features", text, trained.stamp, fig, table)


def compared(trained: Trained, made: TableSet) -> Section:
    """KS distance and difference of rate, beside what real rows reach, and what real rows lose as 8-bit images."""
    train, holdout, encoder = trained.parts.train, trained.parts.holdout, trained.run.encoder
    through = compare_tables(train, encoder.decode(encoder.encode(train)[0]), holdout)
    rows = [
        (figure.name, figure.measure, figure.value, figure.floor, eight.value)
        for figure, eight in zip(compare_tables(train, made, holdout), through, strict=True)
    ]
    for measure in ("ks", "rate"):
        own = np.array([row[2:] for row in rows if row[1] == measure], float)
        if len(own):
            rows += [
                (Best(f"mean of {len(own)}"), measure, *own.mean(axis=0)),
                (Best(f"largest of {len(own)}"), measure, *own.max(axis=0)),
            ]
    columns = ["feature", "measure", "synthetic", "real, other people (floor)", "the same rows through 8 bits"]
    text = (
        f"Against the training rows: {len(made)} synthetic rows, and {len(holdout)} real rows of other people. ks: "
        "Kolmogorov-Smirnov distance; rate: difference of the share of positives; 0 is alike. The last column is the "
        "training rows themselves as images and back: what 8 bits alone cost, most where many values share a level."
    )
    return Section("compared", "Feature by feature, against real rows", text, trained.stamp,
                   table=pd.DataFrame(rows, columns=columns))  # fmt: skip


def in_words(trained: Trained, tensors: np.ndarray, made: TableSet, along: pd.DataFrame) -> Section:
    """What P1 says, beside what was found."""
    encoder, train = trained.run.encoder, trained.parts.train
    at = along.iloc[[0, (len(along) - 1) // 2, len(along) - 1]]

    def told(column: str) -> str:
        return ", ".join(f"{share:.1%} at {epoch:.3g}" for share, epoch in zip(at[column], at["epoch"], strict=True))

    rows, cells, _ = _cells(encoder, tensors)
    figures = compare_tables(train, made, trained.parts.holdout)
    inside = [
        bool((np.nanmin(train.values[:, i]) <= low) and (high <= np.nanmax(train.values[:, i])))
        for i, (low, high) in enumerate(
            zip(np.nanmin(made.values, axis=0), np.nanmax(made.values, axis=0), strict=True)
        )
        if not encoder.binary_[i]
    ]
    table = pd.DataFrame(
        [
            ("binary cells contrasted, by epoch", "between epoch 1 and 50", told("contrasted")),
            ("rows with a NULL area of 0, by epoch", "values left at 50, at 100 all 0", told("rows")),
            (Best(f"of {len(made)} rows at the end, NULL area all 0"), "all", Best(f"{rows:.2%} (cells: {cells:.3%})")),
            ("continuous features inside the real range", "all", f"{sum(inside)} of {len(inside)} (by decoding)"),
            ("KS distance of continuous features, mean", "'dispersion a bit different'", _against(figures, "ks")),
            ("difference of rate, binary features, mean", "'similar'", _against(figures, "rate")),
            ("different rows", "-", f"{len(np.unique(made.values, axis=0))} of {len(made)}"),
        ],
        columns=["", "P1, in words", "ours"],
    )  # fmt: skip
    return Section("words", "What P1 describes, counted", "", trained.stamp, table=table)


def _against(figures: list[FeatureFigure], measure: str) -> str:
    own = [(each.value, each.floor) for each in figures if each.measure == measure]
    if not own:
        return "-"
    value, floor = np.array(own).mean(axis=0)
    return f"{value:.3f} (real against real: {floor:.3f})"


def _as_many(trained: Trained, made: TableSet, seed: int) -> tuple[TableSet, TableSet]:
    """As many real rows, of all parts as in P1, as synthetic ones; drawn at random."""
    real = join_tables(trained.parts)
    n = min(len(real), len(made))
    return real.take(np.random.default_rng([seed, 86]).permutation(len(real))[:n]), made.take(range(n))


def _five(values: np.ndarray) -> list[str]:
    if not len(values):
        return ["-"] * 5
    return [f"{each:.3g}" for each in np.percentile(values, (0, 25, 50, 75, 100))]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _image(ax: Axes, tensor: np.ndarray) -> None:
    """(1, side, side) in [-1, 1] as grey levels 0 to 255."""
    ax.imshow(grey_levels(tensor[0]), cmap="viridis", vmin=0, vmax=255)
    ax.set_axis_off()
