"""P1's cardiogram studies: image GANs on windows of an ECG (Piacentino et al. 2021, sections 3.3 and 4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import RecordError
from ecgveil.evaluation.features import draw_rows
from ecgveil.models.draw import draw
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.split import split
from ecgveil.standardize import STANDARDIZERS
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.page import STYLE, Section, new_figure
from ecgveil.studies.window_figures import FIGURES, window_figures
from ecgveil.training.critic import class_logits

RECIPES = (
    "piacentino-z",
    "piacentino-min-max",
    "piacentino-transposed",
    "piacentino-reversed",
    "piacentino-rgb",
    "piacentino-six",
    "piacentino-rgb-smooth",
)
SNAPSHOTS, IMAGES, SERIES = 8, 8, 6
COMPARED = 200  # windows of each kind in the table


def images(job: Job, folder: Path) -> list[Section]:
    """One recipe: its images along training, its series beside real ones, its losses, and what can be counted."""
    recipe = job.recipe(job.name, training__snapshots=SNAPSHOTS)
    real = job.share(job.read(recipe))
    _check_windows(real, job)
    trained = job.train(recipe, real)
    return [
        truth(trained),
        evolution(trained),
        series(trained),
        losses(trained),
        standardized(trained),
        counted(trained),
        warnings(trained),
    ]


def _check_windows(real: ECGSet, job: Job) -> None:
    held_out = len(split(real, seed=job.seed).holdout)
    if held_out < SERIES:
        raise RecordError(
            f"{len(real)} windows of {len(set(real.patient_id))} patients leave {held_out} not to train on, and "
            f"{SERIES} are drawn: give more records, a larger --scale or --all-patients, or a smaller data.n_samples"
        )


def truth(trained: Trained) -> Section:
    """Figs. 5, 10 and 13: a real window, and the image it becomes."""
    holdout, encoder = trained.parts.holdout, trained.run.encoder
    rows = _rows(holdout, 2, trained)
    tensors, _ = encoder.encode(holdout.take(rows))
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 4)
        axes = fig.subplots(2, 2, width_ratios=[2.4, 1])
        for (left, right), row, tensor in zip(axes, rows, tensors, strict=True):
            _trace(left, holdout, row, REAL_COLOUR)
            left.set(title=f"real, {', '.join(holdout.leads)}", ylabel=holdout.units)
            _image(right, tensor)
    return Section("truth", "Figs. 5, 10, 13: a window as an image", "Real windows that were not trained on, and their "
                   "images.", trained.stamp, fig)  # fmt: skip


def evolution(trained: Trained) -> Section:
    """Figs. 7, 11, 14 and 16: images of the same noise along training."""
    steps = trained.run.folder.snapshots()
    shown = [steps[round(i)] for i in np.linspace(0, len(steps) - 1, min(5, len(steps)))]
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 1.2 * len(shown) + 0.4)
        axes = np.atleast_2d(fig.subplots(len(shown), IMAGES))
        for row, step in zip(axes, shown, strict=True):
            run = trained.at(step)
            tensors = draw(run.generator, 0, 0, IMAGES, run.conditions)
            for ax, tensor in zip(row, tensors, strict=True):
                _image(ax, tensor)
            row[0].set_title(f"epoch {trained.epoch(step):.3g}", loc="left")
        fig.suptitle("SYNTHETIC", color=SYNTHETIC_COLOUR, fontsize=9)
    return Section("evolution", "Figs. 7, 11, 14, 16: images along training", "Each column is one draw of noise: what "
                   "changes down a column is training, not luck.", trained.stamp, fig)  # fmt: skip


def series(trained: Trained) -> Section:
    """Figs. 8, 12, 17 and 19: real windows beside synthetic ones, drawn at random."""
    holdout, made = trained.parts.holdout, trained.run.sample(SERIES)
    rows = _rows(holdout, SERIES, trained)
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 1.1 * SERIES + 0.5)
        axes = fig.subplots(SERIES, 2, sharex=True)
        for i, (left, right) in enumerate(axes):
            _trace(left, holdout, rows[i], REAL_COLOUR)
            _trace(right, made.pick(holdout.leads), i, SYNTHETIC_COLOUR)
        axes[0][0].set_title(f"real, {', '.join(holdout.leads)}, {holdout.units}")
        axes[0][1].set_title("SYNTHETIC")
        for ax in axes[-1]:
            ax.set_xlabel("s")
    return Section("series", "Figs. 8, 12, 17, 19: series decoded", "Drawn at random, not chosen; leads one above the "
                   "other.", trained.stamp, fig)  # fmt: skip


def losses(trained: Trained) -> Section:
    """Fig. 15: the losses record."""
    history = trained.run.folder.metrics()
    epochs = [row["epoch"] for row in history]
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.6)
        ax = fig.subplots()
        for name, colour in (("critic_loss", "#444444"), ("generator_loss", SYNTHETIC_COLOUR)):
            ax.plot(epochs, [row[name] for row in history], color=colour, lw=0.8, label=name.replace("_", " "))
        ax.set(xlabel="epoch", ylabel="loss")
        ax.legend(frameon=False)
    return Section("losses", "Fig. 15: losses record", "", trained.stamp, fig)


def standardized(trained: Trained) -> Section:
    """4.1 and Fig. 9: the values of the training windows, and both ways to make grey levels of them, side by side."""
    train, encoder = trained.parts.train, trained.run.encoder
    values = train.signal[_rows(train, 500, trained)].ravel()
    published = ("min-max", "adapted-range") if train.units == "mV" else ("min-max",)  # its span is in mV
    both = {name: STANDARDIZERS[name]().fit(train.signal) for name in published}
    both[encoder.names[0]] = encoder.standardize  # with the recipe's own settings
    window = trained.parts.holdout.take(_rows(trained.parts.holdout, 1, trained))
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.6)
        axes = fig.subplots(1, 1 + len(both), width_ratios=[2, *[1] * len(both)])
        axes[0].hist(np.clip(values, -3, 3), 120, color=REAL_COLOUR)
        axes[0].set(xlabel=f"{train.units} (beyond 3 in the last bin)", ylabel="values", yscale="log")
        for ax, (name, each) in zip(axes[1:], both.items(), strict=True):
            _image(ax, encoder.arrange.forward(each.forward(window.signal)[0])[0])
            ax.set_title(f"real, {name}")
    columns = {"": ["one grey level, thousandths of the unit", "values cut", "windows with a value cut"]}
    for name, each in both.items():
        cut = each.saturated_
        columns[name] = [f"{1000 * each.step_mv:.1f}", f"{cut['values']:.2%}", f"{cut['windows']:.1%}"]
    if train.units == "mV":
        columns["P1, adapted range"] = ["9.8", "", "4 %"]
    text = "How fine the grey levels are and what lies beyond them; the same window both ways."
    return Section("standardized", "4.1 and Fig. 9: standardisation", text, trained.stamp, fig, pd.DataFrame(columns))


def counted(trained: Trained) -> Section:
    """What P1 says of its series in words, counted."""
    n = min(COMPARED, len(trained.parts.holdout))
    holdout, train = (each.take(_rows(each, n, trained)) for each in (trained.parts.holdout, trained.parts.train))
    made = trained.run.sample(n).pick(holdout.leads)
    of = [window_figures(each) for each in (train, holdout, made)]
    rows = [(FIGURES[key].what, *(each[key] for each in of), FIGURES[key].published) for key in FIGURES if key in of[0]]
    table = pd.DataFrame(rows, columns=["figure", "real, train", "real, holdout", "synthetic", "P1, in words"])
    text = f"{n} windows of each kind, drawn at random."
    return Section("counted", "What P1 describes, counted", text, trained.stamp, table=table)


def warnings(trained: Trained) -> Section:
    """What the monitors said during training."""
    told = trained.run.folder.warnings()
    rows = [(f"{trained.epoch(each['step']):.3g}", each["text"], str(each["until"] or "the end")) for each in told]
    table = pd.DataFrame(rows or [("-", "nothing", "-")], columns=["epoch", "warning", "held until step"])
    return Section("warnings", "4.3: what the monitors said", "Mode collapse, vanishing gradients, divergence.",
                   trained.stamp, table=table)  # fmt: skip


def classes(job: Job, folder: Path) -> list[Section]:
    """4.6: three classes; with undersampling and without."""
    sections: list[Section] = []
    for under in (True, False):
        recipe = job.recipe(job.name, training__snapshots=SNAPSHOTS, data__undersample=under)
        trained = job.train(recipe, job.share(job.read(recipe)), f"{job.name}-{'undersampled' if under else 'all'}")
        how = "undersampled" if under else "all windows"
        sections += [by_class(trained, how), accuracy(trained, how), confusion(trained, how), warnings(trained)]
    return [
        Section(f"{each.key}-{'all' if i >= len(sections) // 2 else 'undersampled'}", each.title, each.text,
                each.stamp, each.figure, each.table)
        for i, each in enumerate(sections)
    ]  # fmt: skip


def by_class(trained: Trained, how: str) -> Section:
    """Fig. 20: series of each class."""
    names = trained.run.conditions.names if trained.run.conditions else []
    holdout = trained.parts.holdout
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 1.3 * 3 + 0.4)
        axes = fig.subplots(3, 2 * len(names), sharex=True)
        for k, name in enumerate(names):
            made = trained.run.bearing([name]).sample(3).pick(holdout.leads)
            own = np.flatnonzero([name in borne for borne in holdout.labels])
            rows = np.random.default_rng([0, 81, k]).permutation(own)[:3]
            for i in range(3):
                if i < len(rows):
                    _trace(axes[i][2 * k], holdout, rows[i], REAL_COLOUR)
                _trace(axes[i][2 * k + 1], made, i, SYNTHETIC_COLOUR)
            axes[0][2 * k].set_title(f"{name}: real, {holdout.units}")
            axes[0][2 * k + 1].set_title("SYNTHETIC")
        for ax in axes[-1]:
            ax.set_xlabel("s")
    return Section("classes", f"Fig. 20: series of each class ({how})", "Real ones drawn at random; in each row the "
                   "same noise for each class.", trained.stamp, fig)  # fmt: skip


def accuracy(trained: Trained, how: str) -> Section:
    """Fig. 21: accuracy of the class head on real windows not trained on, and on synthetic ones, along training."""
    rows = [row for row in trained.run.folder.metrics() if "class_accuracy_real" in row]
    names = trained.run.conditions.names if trained.run.conditions else []
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3)
        ax = fig.subplots()
        for key, label, colour in (
            ("class_accuracy_real", "real, validation", REAL_COLOUR),
            ("class_accuracy_synthetic", "synthetic", SYNTHETIC_COLOUR),
        ):
            ax.plot([row["epoch"] for row in rows], [row[key] for row in rows], color=colour, label=label)
        ax.axhline(1 / max(1, len(names)), color="#888888", ls=":", lw=1, label="guessing, equal classes")
        ax.set(xlabel="epoch", ylabel="accuracy of the class head", ylim=(0, 1))
        ax.legend(frameon=False)
    text = "" if rows else "Too short a training for the class head to be asked. "
    text += "P1: on synthetic windows 30 to 40 % at first, very high before epoch 50; on real ones highest near 300."
    return Section("accuracy", f"Fig. 21: class accuracy along training ({how})", text, trained.stamp, fig)


def confusion(trained: Trained, how: str) -> Section:
    """What the class head calls held-out real windows and synthetic ones of each class."""
    names = trained.run.conditions.names if trained.run.conditions else []
    n = max(20, min(COMPARED, len(trained.parts.holdout) // max(1, len(names))))
    of_class = [_renamed(trained.run.bearing([name]).sample(n), name) for name in names]
    made, rows = concat(of_class), []
    for kind, ecgs in (("real, holdout", trained.parts.holdout), ("synthetic", made.pick(trained.parts.holdout.leads))):
        called = class_logits(trained.run.folder, ecgs).argmax(axis=1)
        truth_ = np.array([next(i for i, name in enumerate(names) if name in borne) for borne in ecgs.labels])
        for k, name in enumerate(names):
            own = called[truth_ == k]
            shares = [float((own == j).mean()) if own.size else float("nan") for j in range(len(names))]
            rows.append((kind, name, len(own), *shares))
        balanced = float(np.nanmean([(called[truth_ == k] == k).mean() for k in np.unique(truth_)]))
        rows.append((kind, "mean over classes", len(called), balanced, *[""] * (len(names) - 1)))
    table = pd.DataFrame(rows, columns=["windows", "class", "n", *(f"called {name}" for name in names)])
    text = (
        "Share of each class's windows that the class head gives each class; the last row is the balanced accuracy. "
        f"The same noise asked for another class differs by {_heard(of_class):.1%} of what other noise differs by: a "
        "class head is no proof that the eye sees a class."
    )
    return Section("confusion", f"4.6: what the class head says ({how})", text, trained.stamp, table=table)


def _heard(of_class: list[ECGSet]) -> float:
    """How much windows of the same noise differ from class to class, as a share of how much those of other noise do."""
    signals = np.stack([each.signal for each in of_class])  # (classes, n, leads, T), the same noise in each place of n

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(np.square(one - other).mean(axis=(-2, -1))).mean())

    return apart(signals, np.roll(signals, 1, axis=0)) / apart(signals, np.roll(signals, 1, axis=1))


def _renamed(ecgs: ECGSet, name: str) -> ECGSet:
    names = tuple(f"{each}-{name}" for each in ecgs.record_name)
    return replace(ecgs, record_name=names, patient_id=names)


def _rows(ecgs: ECGSet, n: int, trained: Trained) -> np.ndarray:
    """Rows drawn at random, of different patients as long as there are some."""
    rng = np.random.default_rng([trained.run.folder.provenance["seed"], 82])
    patients = np.array(ecgs.patient_id)
    if n <= len(np.unique(patients)):
        return draw_rows(patients, n, rng, replace=False)
    return rng.permutation(len(ecgs))[:n]


def _trace(ax: Axes, ecgs: ECGSet, row: int, colour: str) -> None:
    """Leads one above the other, as far apart as they are high."""
    time = np.arange(ecgs.n_samples) / ecgs.fs
    apart = float(np.percentile(np.ptp(ecgs.signal[row], axis=1), 90)) if len(ecgs.leads) > 1 else 0.0
    for i, lead in enumerate(ecgs.signal[row]):
        ax.plot(time, lead - i * apart, color=colour, lw=0.7)


def _image(ax: Axes, tensor: np.ndarray) -> None:
    """(C, side, side) in [-1, 1]; one channel in false colours as P1 shows it, three as red, green and blue."""
    pixels = np.clip((tensor + 1) / 2, 0, 1)
    if len(pixels) < 3:
        ax.imshow(pixels[0], cmap="viridis", vmin=0, vmax=1)
    else:
        ax.imshow(np.moveaxis(pixels[:3], 0, 2))
    ax.set_axis_off()
