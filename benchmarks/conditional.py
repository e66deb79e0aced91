"""Train a conditional generator on part of PTB-XL's folds and draw labelled ECGs from it, for `benchmarks/tstr.py`.

    pip install -c constraints.txt -e .
    python benchmarks/conditional.py --out DIR [--data ../shared/data/ptbxl_shape] [--steps N] [--number N] [--seed 0]
        [--recipe superclass | --recipe veil-conditional --set data.units=sd]

Folds 1 to 6 are trained on, all of them: 7 and 8 are what validates and tests. DIR/run is the run folder (interrupted,
the same command goes on), DIR/samples the synthetic WFDB records, whose headers carry their labels; as many as were
trained on unless --number says otherwise, with the labels as often as in training.
"""

import argparse
import csv
import time
from collections import Counter
from pathlib import Path

import numpy as np

from ecgveil.ecg import ECGSet
from ecgveil.files import require_free
from ecgveil.formats.wfdb_write import write, write_records_file
from ecgveil.intake import take_in
from ecgveil.recipe import Recipe, load_recipe, parse_overrides
from ecgveil.sampling import load
from ecgveil.training.fit import fit

TRAIN_FOLDS = range(1, 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "ptbxl_shape")
    parser.add_argument("--recipe", default="superclass")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the recipe")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--number", type=int)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    require_free(told.out / "samples")
    steps = {"training.steps": told.steps} if told.steps else {}
    recipe = load_recipe(told.recipe, parse_overrides(told.set) | steps)
    train = training_folds(told.data, recipe)
    print(f"{len(train)} training ECGs of {len(set(train.patient_id))} patients; {count(train)}", flush=True)
    began = time.monotonic()
    fit(train, recipe, told.out / "run", seed=told.seed, resume=True, use_all=True, on_log=report)
    run = load(told.out / "run")
    print(f"trained to step {run.step} of {run.steps}, {time.monotonic() - began:.0f} s", flush=True)
    if not run.finished:
        return
    drawn = run.sample(told.number or len(train), seed=told.seed)
    write(drawn, told.out / "samples", comments=["synthetic ECG made by ecgveil; no recording of a person"])
    write_records_file(told.out / "samples", drawn.record_name)
    print(f"{len(drawn)} ECGs in {told.out / 'samples'}; {count(drawn)}")


def training_folds(data: Path, recipe: Recipe) -> ECGSet:
    """The usable records of the training folds, in the recipe's form."""
    with (data / "ptbxl_database.csv").open(encoding="utf-8", newline="") as file:
        fold = {row["filename_hr"]: int(float(row["strat_fold"])) for row in csv.DictReader(file)}
    ecgs = take_in([data], recipe).ecgs
    return ecgs.take(np.flatnonzero([fold[name] in TRAIN_FOLDS for name in ecgs.record_name]))


def count(ecgs: ECGSet) -> str:
    counted = Counter(" + ".join(labels) or "none" for labels in ecgs.labels)
    return ", ".join(f"{labels} {n}" for labels, n in counted.most_common())


def report(row: dict) -> None:
    print({key: round(value, 4) for key, value in row.items()}, flush=True)


if __name__ == "__main__":
    main()
