"""The base model: trains what `ecgveil sample base` draws from, and makes the files that ship.

    pip install -c constraints.txt -e .
    python scripts/train_base.py train --out RUN [--data FOLDER ...] [--seed 0]
    python scripts/train_base.py ship RUN

Trained on PhysioNet/CinC Challenge 2011 (acceptable) and the Challenge 2021 samples; LUDB is kept out, so that a
database it never saw can judge it. 15 % of the patients are held out besides. Interrupted, the same command goes on.
"""

import argparse
from pathlib import Path

from ecgveil.ecg import ECGSet, concat
from ecgveil.intake import take_in
from ecgveil.recipe import load_recipe
from ecgveil.split import split
from ecgveil.training.fit import fit

DATA = Path(__file__).parents[2] / "shared" / "data"
SOURCES = [DATA / "cinc2011", DATA / "challenge2021"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    todo = parser.add_subparsers(dest="todo", required=True)
    training = todo.add_parser("train")
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--data", type=Path, nargs="+", default=SOURCES)
    training.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    train(told.out, told.data, told.seed)


def train(out: Path, data: list[Path], seed: int) -> None:
    learned, held = parts(data, seed)
    print(f"{len(learned)} ECGs to train on, {len(held)} held out", flush=True)
    fit(learned, "veil", out, seed=seed, use_all=True, resume=True, on_log=lambda row: print(row["step"], flush=True))


def parts(data: list[Path], seed: int) -> tuple[ECGSet, ECGSet]:
    """ECGs to train on, and those held out."""
    found = split(take_in(data, load_recipe("veil"), resample=True).ecgs, seed=seed)
    return concat([found.train, found.validation]), found.holdout


if __name__ == "__main__":
    main()
