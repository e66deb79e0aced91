"""P2: WaveGAN* and Pulse2Pulse on normal ECGs (Thambawita et al. 2021), from Table 1 to the bulk set."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from textwrap import fill

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.measure import measure
from ecgveil.measuring import measure_folder
from ecgveil.paper import REAL_COLOUR, SYNTHETIC_COLOUR, draw_12lead, to_png
from ecgveil.pipeline import write_samples
from ecgveil.report.fiducials import beats_of, labelled_beats
from ecgveil.sampling import Run
from ecgveil.studies.job import Job, Trained
from ecgveil.studies.page import STAMP_COLOUR, STYLE, Best, Section, new_figure

RECIPES = ("wavegan-star", "pulse2pulse")
EPOCHS = (500, 1000, 1500, 2000, 2500, 3000)
TABLE1 = {  # share of ECGs that 12SL called normal, %
    "wavegan-star": (20.9, 69.5, 71.2, 72.5, 71.3, 65.3),
    "pulse2pulse": (78.7, 81.2, 78.8, 79.7, 81.6, 81.5),
}
TABLE2 = {  # mean, SD, 2.5 %, 97.5 %: of 7,233 real normal ECGs, of 121,977 normal synthetic ones, of all 150,000
    "heart_rate_bpm": ((70, 8, 60, 90), (70, 7, 60, 88), (70, 8, 60, 89)),
    "p_duration_ms": ((105, 12, 82, 130), (117, 17, 86, 152), (118, 17, 84, 152)),
    "qt_interval_ms": ((395, 21, 352, 436), (395, 20, 354, 436), (395, 22, 352, 436)),
    "qrs_duration_ms": ((90, 9, 74, 110), (92, 9, 78, 112), (93, 10, 78, 114)),
    "pr_interval_ms": ((156, 19, 120, 198), (158, 17, 126, 192), (159, 19, 124, 194)),
    "stj_v5_uv": ((2, 27, -44, 58), (18, 33, -44, 87), (16, 36, -54, 87)),
    "r_v5_uv": ((1287, 402, 600, 2163), (1275, 367, 620, 2026), (1273, 402, 566, 2094)),
    "t_v5_uv": ((343, 137, 126, 664), (366, 135, 156, 668), (361, 141, 141, 673)),
}
JUDGED, BULK, PAIRS = 10_000, 150_000, 20
NORMAL = "normal"
LEAST = 20  # normal ECGs to train on


def run(job: Job, folder: Path) -> list[Section]:
    """Train both on the normal ECGs, choose model and checkpoint by the share called normal, draw the bulk set."""
    if "training.snapshots" in job.changes:
        raise ConfigError(f"Table 1 has {len(EPOCHS)} checkpoints; leave training.snapshots out of --set")
    recipes = [job.recipe(name, training__snapshots=len(EPOCHS)) for name in RECIPES]
    if missing := [lead for lead in LEADS_8 if lead not in recipes[0].data.leads]:
        raise ConfigError(f"data.leads lacks {', '.join(missing)}: P2 judges 12-lead ECGs, made of these 8")
    real = job.share(normal_ones(job.read(recipes[0]), job))
    trained = {recipe.name: job.train(recipe, real) for recipe in recipes}
    table, best = checkpoints(trained, job)
    name, step = best
    chosen, stamp = trained[name].at(step), f"{trained[name].stamp}; checkpoint at step {step}"
    bulk, number = folder / "bulk", job.number(BULK)
    bulk.mkdir()
    write_samples(chosen, bulk, number, seed=job.seed, batch_size=64, progress=job.progress("bulk"))
    measure_folder(bulk, folder / "bulk.csv", progress=job.progress("measuring"))
    found = pd.read_csv(folder / "bulk.csv")
    of_real = _measured(real, job)
    stamps = "; ".join(each.stamp for each in trained.values())
    return [
        Section("table1", "Table 1: share called normal at each checkpoint, %", _TABLE1_TEXT, stamps, table=table),
        table2(of_real, found, stamp),
        reasons(found, stamp),
        pair(real, chosen, job, stamp),
        rates(of_real, found, stamp),
        labelled(chosen, stamp),
        qt_rr(of_real, found, stamp),
        pairs(real, chosen, job, stamp),
    ]


_TABLE1_TEXT = (
    "After as many sixths of the training; ours are called normal by ecgveil's own measuring, P2's by GE's 12SL. The "
    "best of each model is bold; the bulk set is drawn from the better of these."
)


def normal_ones(ecgs: ECGSet, job: Job) -> ECGSet:
    """P2 trained on ECGs that were called normal, so that no mixed disease is learned."""
    table = _measured(ecgs, job)
    rows = np.flatnonzero(table["conclusion"] == NORMAL)
    if len(set(np.array(ecgs.patient_id)[rows])) < LEAST:
        raise RecordError(
            f"{len(rows)} of the {len(ecgs)} ECGs of {job.source} are normal; P2's study trains on normal ones of "
            f"{LEAST} patients or more: give more records"
        )
    return ecgs.take(rows)


def checkpoints(trained: dict[str, Trained], job: Job) -> tuple[pd.DataFrame, tuple[str, int]]:
    """Table 1, and the model and step whose ECGs are normal most often."""
    number = job.number(JUDGED, least=50)
    shares: dict[tuple[str, int], float] = {}
    cells: dict[str, list[str]] = {name: [] for name in trained}
    for name, each in trained.items():
        for step in _sixths(each):
            if (name, step) in shares:
                cells[name].append(cells[name][-1])  # of a training shorter than six steps
                continue
            table = _measured(each.at(step).sample(number, seed=job.seed), job)
            normal = int((table["conclusion"] == NORMAL).sum())
            low, high = binomtest(normal, number).proportion_ci(method="wilson")
            shares[name, step] = normal / number
            cells[name].append(f"{100 * normal / number:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
    for name, each in trained.items():
        best = int(np.argmax([shares[name, step] for step in _sixths(each)]))
        if shares[name, _sixths(each)[best]]:  # of nothing, nothing is best
            cells[name][best] = Best(cells[name][best])
    columns: dict[str, list] = {"P2's epochs": list(EPOCHS)}
    for name, each in trained.items():
        columns[f"{name}, epochs"] = [round(each.epoch(step), 2) for step in _sixths(each)]
        columns[f"{name}, n = {number}"] = cells[name]
        columns[f"{name}, P2"] = list(TABLE1[name])
    return pd.DataFrame(columns), max(shares, key=lambda key: shares[key])


def _sixths(trained: Trained) -> list[int]:
    """The steps after as many sixths of the training."""
    return [max(1, round(trained.run.steps * i / len(EPOCHS))) for i in range(1, len(EPOCHS) + 1)]


def table2(real: pd.DataFrame, found: pd.DataFrame, stamp: str) -> Section:
    normal = found[found["conclusion"] == NORMAL]
    rows = []
    for column, published in TABLE2.items():
        row: dict[str, object] = {"": column}
        for kind, table, theirs in zip(("real", "normal", "all"), (real, normal, found), published, strict=True):
            row[f"{kind}, n = {len(table)}"] = _four(table[column])
            row[f"{kind}, P2"] = "{} ± {} [{}, {}]".format(*theirs)
        rows.append(row)
    text = "Mean ± SD [2.5 %, 97.5 %]. Ours by ecgveil, P2's by 12SL, on other people: P2's real ECGs are not public."
    return Section("table2", "Table 2: real and synthetic measurements", text, stamp, table=pd.DataFrame(rows))


def reasons(found: pd.DataFrame, stamp: str) -> Section:
    """Table S4: why synthetic ECGs are not normal."""
    told = found.loc[found["conclusion"] != NORMAL, "statements"].dropna().astype(str)
    counted = Counter(each for line in told for each in line.split("; "))
    rows = [(each, n, n / len(found)) for each, n in counted.most_common(12)]
    table = pd.DataFrame(rows or [("-", 0, 0.0)], columns=["statement", "synthetic ECGs", "share of all"])
    return Section("reasons", "Table S4: why synthetic ECGs are not normal", "", stamp, table=table)


def pair(real: ECGSet, chosen: Run, job: Job, stamp: str) -> Section:
    row = int(np.random.default_rng([job.seed, 84]).integers(len(real)))
    made = chosen.sample(1, seed=job.seed)
    sheets = (
        _sheet(real.pick(LEADS_12), row, "Real ECG", False, stamp),
        _sheet(made, 0, "Synthetic ECG", True, stamp),
    )
    return Section("pair", "Fig. 1: a real ECG and a synthetic one", "Drawn at random.", stamp, sheets=sheets)


def pairs(real: ECGSet, chosen: Run, job: Job, stamp: str) -> Section:
    """Fig. S1."""
    number = min(PAIRS, len(real))
    rows = np.random.default_rng([job.seed, 85]).permutation(len(real))[:number]
    made = chosen.sample(number, seed=job.seed)
    sheets = []
    for k, row in enumerate(rows):
        sheets.append(_sheet(real.pick(LEADS_12), int(row), f"Pair {k + 1}: real", False, stamp))
        sheets.append(_sheet(made, k, f"Pair {k + 1}: synthetic", True, stamp))
    return Section("pairs", f"Fig. S1: {number} random pairs", "Not chosen.", stamp, sheets=tuple(sheets))


def rates(real: pd.DataFrame, found: pd.DataFrame, stamp: str) -> Section:
    rate = found["heart_rate_bpm"].dropna()
    edges = np.arange(30, 151, 2)
    inside = (edges[:-1] >= 60) & (edges[:-1] < 100)
    counts, _ = np.histogram(rate.clip(30, 149.9), edges)
    with mpl.rc_context(STYLE):
        fig = new_figure(9, 3)
        ax = fig.subplots()
        for which, colour, label in ((inside, SYNTHETIC_COLOUR, "60 to 99"), (~inside, "#b9b9b9", "outside")):
            ax.bar(edges[:-1][which], counts[which], 2, align="edge", color=colour, label=f"synthetic, {label}")
        of_real, _ = np.histogram(real["heart_rate_bpm"].dropna().clip(30, 149.9), edges)
        ax.stairs(of_real * counts.sum() / max(1, of_real.sum()), edges, color=REAL_COLOUR, label="real, to scale")
        ax.set(xlabel="heart rate, beats per minute", ylabel="ECGs")
        ax.legend(frameon=False)
    lost = f"not measurable {1 - len(rate) / len(found):.1%}"
    slow, fast = float((rate < 60).mean()), float((rate >= 100).mean())
    text = f"Slow {slow:.1%} (P2: 10.2 %), fast {fast:.1%} (P2: 0.5 %), {lost}." if len(rate) else f"{lost}."
    return Section("rates", "Fig. 2: heart rates", text, stamp, fig)


def labelled(chosen: Run, stamp: str) -> Section:
    """Fig. 3, on the first synthetic ECG whose beat can be drawn."""
    made = chosen.sample(10)
    drawn = (beats_of(made, row, "Synthetic", SYNTHETIC_COLOUR) for row in range(10))
    svg = labelled_beats(next((each for each in drawn if each), []))
    text = "" if svg else "None of ten synthetic ECGs has a beat to measure."
    return Section("labelled", "Fig. 3: what is measured", text, stamp, svg=svg)


def qt_rr(real: pd.DataFrame, found: pd.DataFrame, stamp: str) -> Section:
    with mpl.rc_context(STYLE):
        fig = new_figure(7, 4)
        ax = fig.subplots()
        told = []
        kinds = (
            ("synthetic, normal", found[found["conclusion"] == NORMAL], SYNTHETIC_COLOUR, 4),
            ("real", real, REAL_COLOUR, 7),
        )
        for label, table, colour, size in kinds:
            rr, qt = table["rr_mean_ms"], table["qt_interval_ms"]
            both = rr.notna() & qt.notna()
            ax.scatter(rr[both], qt[both], s=size, color=colour, alpha=0.5, linewidths=0, label=label)
            r = np.corrcoef(rr[both], qt[both])[0, 1] if both.sum() > 2 else float("nan")
            told.append(f"{label} r2 = {r * r:.2f} (n = {both.sum()})")
        ax.set(xlabel="RR interval, ms", ylabel="QT interval, ms")
        ax.legend(frameon=False)
    return Section("qt_rr", "Fig. 4: QT and RR", "; ".join(told) + ".", stamp, fig)


def _sheet(ecgs: ECGSet, row: int, title: str, synthetic: bool, stamp: str) -> tuple[str, bytes]:
    fig = draw_12lead(ecgs, row, title=title, synthetic=synthetic)
    fig.text(0.99, 0.004, fill(stamp, 170), fontsize=4.5, color=STAMP_COLOUR, ha="right", va="bottom")
    return title, to_png(fig, dpi=90)


def _four(values: pd.Series) -> str:
    values = values.dropna()
    if len(values) < 2:
        return "-"
    return f"{values.mean():.0f} ± {values.std():.0f} [{values.quantile(0.025):.0f}, {values.quantile(0.975):.0f}]"


def _measured(ecgs: ECGSet, job: Job) -> pd.DataFrame:
    parts = []
    for start in range(0, len(ecgs), 64):
        parts.append(measure(ecgs.take(range(start, min(start + 64, len(ecgs))))))
        job.tell("measuring", min(start + 64, len(ecgs)), len(ecgs), {})
    return pd.concat(parts, ignore_index=True)
