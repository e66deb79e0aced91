"""Utility on PTB-XL's five superclasses: trained on synthetic or real ECGs of folds 1-6, tested on fold 8.

    python benchmarks/tstr.py [--synthetic FOLDER_OR_NPZ | --stand-in gaussian] [--data ../shared/data/ptbxl_shape]

Prints every figure and the whole table. `--synthetic` is a folder of WFDB records with labels, as `ecgveil sample`
writes them, or an .npz with signal (n, leads, samples), fs, leads, labels (joined by ';'). Without it, real alone.
`--fold 7` tests on the validation fold, on which the classifiers were tuned; fold 8 is for the final figures.

Stand-ins say what the figures show where the truth is known: `jitter`, the training ECGs shifted and with noise;
`shuffled`, the same with labels dealt at random; `gaussian`, a normal distribution for each combination of labels, in
the principal components of the training ECGs.
"""

import argparse
import csv
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.metric import Metric, text
from ecgveil.evaluation.utility import MACRO, utility_metrics
from ecgveil.leads import LEADS_8
from ecgveil.windows import read, resample

FS_HZ = 100.0
UNIT = "sd"
COMPONENTS = 100
LEAST_ALIKE = 5  # a combination of labels that fewer bear has no distribution of its own


def real_parts(folder: Path, *parts: set[int]) -> list[ECGSet]:
    """The ECGs of some folds each, 8 leads at 100 Hz; their unit, standard deviations of each lead, is let pass."""
    ecgs, _ = read(folder, leads=LEADS_8, fs=FS_HZ, resample=True, allow=("wrong_unit",))
    with open(folder / "ptbxl_database.csv", newline="") as file:
        fold = {row["filename_hr"]: int(float(row["strat_fold"])) for row in csv.DictReader(file)}
    folds = [fold[name] for name in ecgs.record_name]
    return [ecgs.take([i for i, each in enumerate(folds) if each in part]) for part in parts]


def synthetic_part(path: Path) -> ECGSet:
    """Synthetic ECGs of a file or folder, in the form of `real_parts`."""
    if path.suffix == ".npz":
        held = np.load(path)
        names = tuple(f"synthetic{i}" for i in range(len(held["signal"])))
        labels = tuple(tuple(part for part in str(each).split(";") if part) for each in held["labels"])
        ecgs = ECGSet(held["signal"], float(held["fs"]), tuple(map(str, held["leads"])), names, labels=labels)
    else:
        ecgs, _ = read(path, leads=LEADS_8, allow=("wrong_unit",))
    return shaped(ecgs)


def shaped(ecgs: ECGSet) -> ECGSet:
    """ECGs in the form of `real_parts`: each lead to mean 0 and spread 1, as the real ones are."""
    x = resample(ecgs.pick(LEADS_8).signal, ecgs.fs, FS_HZ)
    x = x - x.mean(axis=-1, keepdims=True)
    spread = x.std(axis=-1, keepdims=True)
    x = np.divide(x, spread, out=np.zeros_like(x), where=spread > 0)
    return replace(ecgs, signal=x, fs=FS_HZ, leads=LEADS_8, units=UNIT)


def stand_in(kind: str, train: ECGSet, seed: int) -> ECGSet:
    """As many ECGs as `train` has, of a kind whose usefulness is known beforehand."""
    rng = np.random.default_rng([seed, 1])
    labels, signal = train.labels, train.signal
    if kind == "gaussian":
        labels, signal = gaussian(train, rng)
    else:
        signal = np.stack([np.roll(each, int(rng.integers(50)), axis=-1) for each in signal])
        signal = signal + 0.1 * rng.standard_normal(signal.shape, dtype=np.float32)
    if kind == "shuffled":
        labels = tuple(labels[i] for i in rng.permutation(len(labels)))
    names = tuple(f"synthetic{i}" for i in range(len(signal)))
    return ECGSet(signal, train.fs, train.leads, names, labels=labels, units=train.units)


def gaussian(train: ECGSet, rng: np.random.Generator) -> tuple[tuple[tuple[str, ...], ...], np.ndarray]:
    flat = train.signal.reshape(len(train), -1)
    mean = flat.mean(axis=0)
    _, _, axes = np.linalg.svd(flat - mean, full_matrices=False)
    scores = (flat - mean) @ axes[:COMPONENTS].T
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, each in enumerate(train.labels):
        alike[each].append(row)
    drawn, labels = [], []
    for combination, rows in alike.items():
        if len(rows) >= LEAST_ALIKE:
            centre, spread = scores[rows].mean(axis=0), scores[rows].std(axis=0)
            drawn.append(rng.normal(centre, spread, (len(rows), len(centre))))
            labels += [combination] * len(rows)
    signal = np.concatenate(drawn) @ axes[:COMPONENTS] + mean
    return tuple(labels), signal.reshape(-1, *train.signal.shape[1:]).astype(np.float32)


def show(metrics: list[Metric], table: pd.DataFrame, notes: list[str]) -> None:
    print("| figure | value | 95 % interval | floor | verdict |\n|---|---|---|---|---|")
    for each in metrics:
        interval = f"{text(each.ci_low)} to {text(each.ci_high)}"
        print(f"| {each.name} | {each.value:.3f} | {interval} | {text(each.floor)} | {each.verdict} |")
    keys = ["classifier", "training", "share_of_real", "tested_on", "n_training"]
    for what in ("auroc", "f1"):
        means = table.pivot_table(index=keys, columns="class", values=what, aggfunc="mean", sort=False)
        spread = table[table["class"] == MACRO].groupby(keys, sort=False)[what].std()
        print(f"\n{what}, mean over seeds, and the spread of its macro mean over seeds\n")
        print(means.assign(spread=spread).round(3).to_string())
    print("\n" + "\n".join(notes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "ptbxl_shape")
    parser.add_argument("--synthetic", type=Path)
    parser.add_argument("--stand-in", choices=("jitter", "shuffled", "gaussian"))
    parser.add_argument("--fold", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--classifiers", default="resnet,rocket")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv", type=Path, help="where to write the whole table, a row for each seed")
    arguments = parser.parse_args()
    train, holdout = real_parts(arguments.data, {1, 2, 3, 4, 5, 6}, {arguments.fold})
    synthetic = None
    if arguments.synthetic:
        synthetic = synthetic_part(arguments.synthetic)
    elif arguments.stand_in:
        synthetic = stand_in(arguments.stand_in, train, arguments.seed)
    start = time.monotonic()
    metrics, table, notes = utility_metrics(
        train,
        holdout,
        synthetic,
        seed=arguments.seed,
        seeds=arguments.seeds,
        classifiers=arguments.classifiers.split(","),
        quick=arguments.quick,
        progress=lambda done, total: print(
            f"{done} of {total} trainings, {time.monotonic() - start:.0f} s", file=sys.stderr
        ),
    )
    made = f", {len(synthetic)} synthetic" if synthetic else ""
    print(f"train {len(train)}, test {len(holdout)}{made}; {time.monotonic() - start:.0f} s\n")
    show(metrics, table, notes)
    if arguments.csv:
        table.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
