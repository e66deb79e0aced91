"""P3's study: measures along training (Pon Bharathi et al., section 4 and Fig. 3), for each of its five systems.

P3 gives a figure without numbers, and three sentences on it; those stand beside what is found here. A dcgan with
`model.width=16` learns 6,000 steps on the single beats of 1,400 patients in about five minutes of one core, in which
the effect is to be seen.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError, RecordError
from ecgveil.evaluation.along import MEASURES, REAL, along, best_checkpoint, correlations
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.metric import LEAST_N
from ecgveil.files import write_atomic
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.report.along_figure import TARGET, draw_along
from ecgveil.split import FRACTIONS, split
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.page import STYLE, Best, Section, new_figure

RECIPES = ("wgan-gp", "acgan", "ac-wgan-gp", "dcgan", "bilstm-cnn")
SNAPSHOTS, SAMPLES, SHOWN = 8, 1000, 6
BEST_EPOCHS = 3000  # P3's best configuration: its study is as long at least
CLINIC_LABELS = ["sinus rhythm"]  # of the embedded clinic; half of its patients bear it
STAMP_IN = 0.45  # room for the stamp, inches
PLAIN = {
    "fid": "FID",
    "fid_measurements": "FID of measurements",
    "js": "JS",
    "mmd": "MMD",
    "dtw": "DTW to nearest real, uV",
    "dtw_missed": "DTW to nearest synthetic, uV",
    "rules_valid_share": "valid rules",
    "rules_error_increase": "rules: error increase",
    "rules_support_change": "rules: support change",
    "accuracy": "accuracy",
    "macro_f1": "F1",
}


def run(job: Job, folder: Path) -> list[Section]:
    """Train one system, draw as many ECGs as P3 at every checkpoint, and measure them against real ones."""
    recipe = recipe_of(job)
    real = job.share(job.read(recipe))
    _check_classes(real, recipe)
    _check_patients(real, job)
    trained = job.train(recipe, real)
    checkpoints = drawn(trained, job)
    table = along(
        trained.parts.train,
        trained.parts.holdout,
        checkpoints,
        seed=job.seed,
        most=job.number(SAMPLES),
        progress=job.progress("measures"),
    )
    (folder / "tables").mkdir(exist_ok=True)
    write_atomic(folder / "tables" / "along.csv", table.to_csv())
    made = len(next(iter(checkpoints.values())))
    stamp = f"{trained.stamp}; {made} drawn at each checkpoint, n = {table.attrs['n']} compared, one a patient"
    return [
        figure(table, trained, job, stamp),
        measures(table, trained, stamp),
        related(table, stamp),
        published(table, trained, stamp),
        losses(trained),
        beside(checkpoints, trained, job),
    ]


def recipe_of(job: Job) -> Recipe:
    """The study's recipe; the embedded clinic has labels of its own."""
    labelled = load_recipe(job.name).data.labels and "data.labels" not in job.changes
    own = {"data__labels": CLINIC_LABELS} if not job.data and labelled else {}
    return job.recipe(job.name, training__snapshots=SNAPSHOTS, **own)


def drawn(trained: Trained, job: Job) -> dict[int, ECGSet]:
    """The same draws of noise at every checkpoint; labels as often as the training population bears them."""
    steps = trained.run.folder.snapshots()
    found = {}
    for done, step in enumerate(steps, start=1):
        found[step] = trained.at(step).sample(job.number(SAMPLES), seed=job.seed)
        job.tell("drawing", done, len(steps), {})
    return found


def figure(table: pd.DataFrame, trained: Trained, job: Job, stamp: str) -> Section:
    """Fig. 3, with the measures that P3's sources use beside its own."""
    share = min(job.scale, trained.epoch(trained.run.steps) / BEST_EPOCHS)
    title = f"{trained.run.recipe.name}: measures along training"
    fig = draw_along(table, title=title, axis="step", scale=float(f"{share:.2g}"))
    _make_room(fig, STAMP_IN)
    text = (
        f"P3 is best at {BEST_EPOCHS} epochs, to which the scale in the figure compares this training. "
        "Dashed: real ECGs of other patients in the place of synthetic ones."
    )
    return Section("along", "Fig. 3: measures along training", text, stamp, fig)


def measures(table: pd.DataFrame, trained: Trained, stamp: str) -> Section:
    """All measures at every checkpoint, and the floor; the 95 % intervals are in the figure and in along.csv."""
    names = [name for name in MEASURES if name in table and np.isfinite(table[name].to_numpy(float)).any()]
    best = {name: _best(table, name) for name in names}
    rows = []
    for step, row in table.iterrows():
        at = ["real", ""] if str(step) == REAL else [str(step), f"{trained.epoch(int(str(step))):.3g}"]
        rows.append([*at, *((Best if step == best[name] else str)(f"{row[name]:.3g}") for name in names)])
    arrows = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}"}
    columns = ["step", "epoch", *(f"{PLAIN[name]} {arrows[MEASURES[name]]}" for name in names)]
    text = (
        "Arrows: where better is; best checkpoint bold. Last row, the floor: real ECGs of other patients in the place "
        "of synthetic ones. Intervals: tables/along.csv. "
    )
    text += " ".join(dict.fromkeys(table.attrs["notes"]))
    return Section("measures", "All measures", text, stamp, table=pd.DataFrame(rows, columns=columns))


def related(table: pd.DataFrame, stamp: str) -> Section:
    """Which measure goes together with the share of valid rules."""
    found = correlations(table, TARGET)
    rows = [
        (
            PLAIN[str(name)].removesuffix(", uV"),
            each.spearman,
            _interval(each),
            each.p_value,
            "+" if each.expected > 0 else "-",
            _agrees(each),
        )
        for name, each in found.iterrows()
    ]
    columns = ["measure", "Spearman", "95 % interval", "p", "sign if it follows the rules", "follows"]
    if not rows:
        rows = [("-", "-", "-", "-", "-", "-")]
    text = (
        f"Rank correlation with the share of valid rules. {found.attrs['note']} Intervals and p are of each measure "
        "alone: of ten that follow nothing, one is below p = 0.1. What is counted on the rules "
        "themselves follows them by nature."
    )
    return Section("correlations", "What goes with valid rules", text, stamp, table=pd.DataFrame(rows, columns=columns))


def published(table: pd.DataFrame, trained: Trained, stamp: str) -> Section:
    """P3's sentences on Fig. 3 beside ours."""
    found = correlations(table, TARGET)
    rows = [
        ("JS does not offer consistent indicators", _told(found, "js")),
        ("FID does; it may predict how well XAI would perform", _told(found, "fid")),
    ]
    best = {name: _best(table, name) for name in ("fid", TARGET, "accuracy", "macro_f1")}
    known = {name: step for name, step in best.items() if step is not None}
    for name in best:
        at = "not measured"
        if name in known:
            step = known[name]
            at = f"step {step}, epoch {trained.epoch(step):.3g}: {table.at[step, name]:.3g}"
            if name in ("accuracy", "macro_f1", TARGET) and np.isfinite(table.at[REAL, name]):
                at += f" (real: {table.at[REAL, name]:.3g})"
        rows.append((f"best {PLAIN[name]}: {BEST_EPOCHS} epochs", at))
    agree = "not to be said" if len(known) < 2 else "yes" if len(set(known.values())) == 1 else "no"
    rows.append(("all of them best at one checkpoint", agree))
    text = (
        "P3, section 4, gives no numbers, and no sizes of its networks; its ECGs are those of Germany's National "
        "Metrology Institute on PhysioNet. XAI are its validated rules."
    )
    columns = ["P3", "here"]
    return Section("published", "P3's words beside ours", text, stamp, table=pd.DataFrame(rows, columns=columns))


def losses(trained: Trained) -> Section:
    history = trained.run.folder.metrics()
    told = trained.run.folder.warnings()
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 2.6)
        ax = fig.subplots()
        for name, colour in (("critic_loss", "#444444"), ("generator_loss", SYNTHETIC_COLOUR)):
            ax.plot(
                [row["step"] for row in history],
                [row[name] for row in history],
                color=colour,
                lw=0.8,
                label=name.replace("_", " "),
            )
        for step in trained.run.folder.snapshots():
            ax.axvline(step, color="#dfe3e8", lw=3, zorder=0)
        ax.set(xlabel="step (grey: checkpoints)", ylabel="loss")
        ax.legend(frameon=False)
    rows = [(each["step"], each["text"]) for each in told] or [("-", "none")]
    table = pd.DataFrame(rows, columns=["step", "warning"])
    return Section("losses", "Losses", "And what the monitors said.", trained.stamp, fig, table)


def beside(checkpoints: dict[int, ECGSet], trained: Trained, job: Job) -> Section:
    """Real ECGs, and synthetic ones of the first, the middle and the last checkpoint."""
    steps = sorted(checkpoints)
    shown = sorted({steps[0], steps[(len(steps) - 1) // 2], steps[-1]})
    drawn_rows = np.random.default_rng([job.seed, 88]).permutation(len(checkpoints[steps[0]]))[:SHOWN].tolist()
    labels = [checkpoints[steps[0]].labels[row] for row in drawn_rows]
    holdout = trained.parts.holdout
    columns = [("real", holdout, _alike(holdout, labels, job.seed), REAL_COLOUR)]
    columns += [(f"SYNTHETIC, step {step}", checkpoints[step], drawn_rows, SYNTHETIC_COLOUR) for step in shown]
    lead = holdout.leads[0]
    time = np.arange(holdout.n_samples) / holdout.fs
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 1.15 * len(labels) + 0.6)
        axes = np.atleast_2d(fig.subplots(len(labels), len(columns), sharex=True, sharey="row"))
        for k, (title, ecgs, rows, colour) in enumerate(columns):
            for ax, row in zip(axes[:, k], rows, strict=True):
                ax.plot(time, ecgs.pick((lead,)).signal[row, 0], color=colour, lw=0.8)
            axes[0, k].set_title(title, color=colour)
            axes[-1, k].set_xlabel("s")
        for ax, borne in zip(axes[:, 0], labels, strict=True):
            ax.set_ylabel(f"{lead}, {holdout.units}" + "".join(f"\n{each}" for each in borne), fontsize=7)
    text = (
        "Drawn at random, not chosen. Along a row, synthetic ECGs are of one draw of noise: what changes is training."
    )
    if any(labels):
        text += " Real ones bear the label that the synthetic ones of their row were asked for, and are other people's."
    return Section("beside", "Real ECGs beside synthetic ones", text, trained.stamp, fig)


def _alike(ecgs: ECGSet, labels: list[tuple[str, ...]], seed: int) -> list[int]:
    """For each of `labels` a row that bears just these (or any, where none does), of different patients if possible."""
    rng = np.random.default_rng([seed, 89])
    people = np.array(ecgs.patient_id)
    order = draw_rows(people, len(np.unique(people)), rng, replace=False).tolist()
    rows: list[int] = []
    for borne in labels:
        fresh = [row for row in order if row not in rows] or order
        rows.append(next((row for row in fresh if set(ecgs.labels[row]) == set(borne)), fresh[0]))
    return rows


def _check_classes(ecgs: ECGSet, recipe: Recipe) -> None:
    """Every class is there: where `data.other` takes all that bear none, a label nobody bears would pass unseen."""
    borne = {label for labels in ecgs.labels for label in labels}
    for name in recipe.data.classes if recipe.data.exclusive else ():
        if name not in borne:
            raise RecordError(
                f"no ECG is of class '{name}' of recipe {recipe.name}; name labels that some of your ECGs bear, and "
                "others do not, with --set 'data.labels=[\"...\"]'"
            )


def _check_patients(ecgs: ECGSet, job: Job) -> None:
    """There are as many as `along` needs: asked before the training, not after it."""
    parts = split(ecgs, seed=job.seed)
    n = min(len(set(parts.train.patient_id)) // 2, len(set(parts.holdout.patient_id)))
    if n < LEAST_N:
        people = len(set(ecgs.patient_id))
        raise RecordError(
            f"{people} patients at scale {job.scale:g} leave {n} to compare, and {LEAST_N} are needed; give about "
            f"{round(1.05 * LEAST_N / FRACTIONS[2])} patients or more, or a larger --scale"
        )


def _make_room(fig: Figure, inches: float) -> None:
    """Room below a figure whose layout is done."""
    width, height = fig.get_size_inches()
    shrunk, lifted = height / (height + inches), inches / (height + inches)
    fig.set_size_inches(width, height + inches)
    for ax in fig.axes:
        box = ax.get_position()
        ax.set_position((box.x0, lifted + shrunk * box.y0, box.width, shrunk * box.height))
    for legend in fig.legends:
        legend.set_bbox_to_anchor((0, lifted, 1, shrunk), transform=fig.transFigure)
    title = fig._suptitle  # type: ignore[attr-defined]
    title.set_y(lifted + shrunk * title.get_position()[1])


def _best(table: pd.DataFrame, name: str) -> int | None:
    try:
        return best_checkpoint(table, name)
    except EvaluationError:
        return None


def _interval(row: pd.Series) -> str:
    return f"{row.low:+.2f} to {row.high:+.2f}" if np.isfinite(row.low) else "too few checkpoints for an interval"


def _agrees(row: pd.Series) -> str:
    """Whether the sign is the expected one, and shown to be so."""
    if not np.isfinite(row.spearman):
        return "does not vary"
    if not np.isfinite(row.low) or row.low <= 0 <= row.high:
        return "not shown"
    return "yes" if row.agrees else "the other way"


def _told(found: pd.DataFrame, name: str) -> str:
    if name not in found.index or not np.isfinite(found.at[name, "spearman"]):
        return "not measured"
    row = found.loc[name]
    return f"Spearman with valid rules {row.spearman:+.2f} ({_interval(row)}); follows them: {_agrees(row)}"
