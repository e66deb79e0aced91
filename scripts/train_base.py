"""The base model: trains what `ecgveil sample base` draws from, and makes the files that ship.

    pip install -c constraints.txt -e .
    python scripts/train_base.py train --out RUN [--data FOLDER ...] [--seed 0]
    python scripts/train_base.py judge RUN --out EVIDENCE [--unseen FOLDER] [--number 500]
    python scripts/train_base.py ship RUN

Trained on PhysioNet/CinC Challenge 2011 (acceptable) and the Challenge 2021 samples; LUDB is kept out, so that a
database it never saw can judge it. 15 % of the patients are held out besides. Interrupted, `train` goes on. `judge`
writes every figure of the evidence twice, against the patients held out and against the database never seen, and prints
what is measured on the mean and at heart rates that are asked for.
`ship` copies the run, but for its optimizers, to where the package looks for it.
"""

import argparse
import itertools
import os
import shutil
from pathlib import Path

import pandas as pd

from ecgveil.base import FOLDER
from ecgveil.ecg import ECGSet, concat
from ecgveil.evaluation import Means, evaluate
from ecgveil.files import make_folder, write_atomic
from ecgveil.intake import take_in
from ecgveil.measure import measure
from ecgveil.recipe import load_recipe
from ecgveil.report import metrics_json
from ecgveil.sampling import Run, load
from ecgveil.split import split
from ecgveil.studies.deepfake import TABLE2
from ecgveil.training.critic import critic_scores
from ecgveil.training.fit import fit
from ecgveil.training.players import Players
from ecgveil.training.tensors import load_tensors, save_tensors

DATA = Path(__file__).parents[2] / "shared" / "data"
SOURCES = [DATA / "cinc2011", DATA / "challenge2021"]
MEANS = (*TABLE2, "rr_sd_ms")
CODES = ("PVC", "PAC", "AFIB", "NO_P")
MANY, AT_A_RATE = 1500, 20  # synthetic ECGs measured
RATES = (45, 65, 85, 105, 125, 145)  # bpm
SHIPPED = ("recipe.toml", "encoder.json", "population.json", "provenance.json", "metrics.jsonl", "weights.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    todo = parser.add_subparsers(dest="todo", required=True)
    training, judging, shipping = (todo.add_parser(name) for name in ("train", "judge", "ship"))
    for each in (training, judging):
        each.add_argument("--out", type=Path, required=True)
        each.add_argument("--data", type=Path, nargs="+", default=SOURCES)
        each.add_argument("--seed", type=int, default=0)
    for each in (judging, shipping):
        each.add_argument("run", type=Path)
    judging.add_argument("--unseen", type=Path, default=DATA / "ludb")
    judging.add_argument("--number", type=int, default=500)
    told = parser.parse_args()
    if told.todo == "train":
        train(told.out, told.data, told.seed)
    elif told.todo == "judge":
        judge(told)
    else:
        ship(told.run)


def train(out: Path, data: list[Path], seed: int) -> None:
    learned, held = parts(data, seed)
    print(f"{len(learned)} ECGs to train on, {len(held)} held out", flush=True)
    fit(learned, "veil", out, seed=seed, use_all=True, resume=True, on_log=lambda row: print(row["step"], flush=True))


def parts(data: list[Path], seed: int) -> tuple[ECGSet, ECGSet]:
    """ECGs to train on, and those held out."""
    found = split(taken(data), seed=seed)
    return concat([found.train, found.validation]), found.holdout


def taken(data: list[Path]) -> ECGSet:
    return take_in(data, load_recipe("veil"), resample=True).ecgs


def judge(told: argparse.Namespace) -> None:
    """The whole evidence, with all that `veil` learned from as training part."""
    make_folder(told.out)
    run = load(told.run)
    synthetic = run.sample(told.number, seed=told.seed)
    learned, held = parts(told.data, told.seed)
    # The critic's weights ship too; of another database it would tell the database, not who was trained on.
    critic = critic_scores(run.folder, learned, held, seed=told.seed)
    unseen = taken([told.unseen])
    for name, real, means in (("held-out", held, Means(critic=critic)), ("unseen", unseen, Means())):
        train, real = (each.pick(synthetic.leads) for each in (learned, real))
        evidence = evaluate(train, real, synthetic, seed=told.seed, means=means)
        write_atomic(told.out / f"{name}.json", metrics_json(evidence.metrics))
    table = measure(learned.pick(synthetic.leads))
    print(means_table(measure(run.sample(MANY, seed=told.seed + 1)), table))
    print(rates_table(run, table, told.seed))


def means_table(synthetic: pd.DataFrame, learned: pd.DataFrame) -> str:
    """Means of synthetic ECGs beside those learned from, and shares of all."""
    rows = [(name, *(f"{each[name].mean():.1f}" for each in (synthetic, learned))) for name in MEANS]
    rows += [
        (f"{name} found", *(share(each["codes"].str.contains(name)) for each in (synthetic, learned))) for name in CODES
    ]
    rows += [
        ("called normal", *(share(each["conclusion"] == "normal") for each in (synthetic, learned))),
        ("no heart rate", *(share(each["heart_rate_bpm"].isna()) for each in (synthetic, learned))),
    ]
    for method in ("pearson", "spearman"):
        both = (each["qt_interval_ms"].corr(each["rr_mean_ms"], method=method) for each in (synthetic, learned))
        rows.append((f"QT and RR, {method}", *(f"{each:.2f}" for each in both)))
    head = f"| | synthetic, n = {len(synthetic)} | learned from, n = {len(learned)} |\n|---|---|---|\n"
    return head + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def rates_table(run: Run, learned: pd.DataFrame, seed: int) -> str:
    """How far measured heart rates are from those asked for, and T in V5 beside that of recordings as fast."""
    rows = []
    for low, high in itertools.pairwise(RATES):
        made = pd.concat(
            measure(run.bearing(heart_rate=rate).sample(AT_A_RATE, seed=seed + rate)).assign(asked=rate)
            for rate in range(low, high, 5)
        )
        away = made["heart_rate_bpm"] - made["asked"]
        alike = learned[learned["heart_rate_bpm"].between(low, high)]
        rows.append(
            f"| {low} to {high - 5} | {away.abs().mean():.1f} | {away.isna().sum()} of {len(away)} | "
            f"{made['t_v5_uv'].mean():.0f} | {alike['t_v5_uv'].mean():.0f}, n = {len(alike)} |"
        )
    return (
        "| asked for, bpm | away on the mean | unread | T in V5, uV | recordings |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
    )


def share(of: pd.Series) -> str:
    return f"{of.mean():.1%}"


def ship(run: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(run / name, FOLDER / name)
    state, facts = load_tensors(run / "state.safetensors")
    save_tensors(FOLDER / "state.safetensors", Players.networks(state), **facts)
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{size / 1e6:.1f} MB in {os.path.relpath(FOLDER)}")


if __name__ == "__main__":
    main()
