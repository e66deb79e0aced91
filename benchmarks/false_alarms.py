"""Real ECGs in the place of synthetic ones: how often `evaluate` cries wolf.

    python benchmarks/false_alarms.py --out FILE.csv [--source ../shared/data/cinc2011 | --source simulated]
        [--repeats 20] [--quick] [--parts 1 1 1] [--first 0]

The patients of the folder are dealt at random into train, holdout and 'synthetic', `--parts` to each, the last under
other names; nothing should be found. Every figure of every evaluation is a row of FILE.csv, so a command that is cut
off goes on where it stopped, and several may share the work (`--first`, and a file for each; `--report FILE FILE ...`
counts them together). Of a folder with `quality.csv` the acceptable records are used. 'simulated' draws new people of
the demo clinic for each evaluation, 585 of them.

Counted: evaluations with any fidelity figure beyond its floor, and with any accusing privacy verdict; then the same of
each figure, and how often its p value, where it has one, is below 5 %.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ecgveil import ECGSet, read
from ecgveil.evaluation import evaluate
from ecgveil.evaluation.fidelity import BEYOND
from ecgveil.evaluation.privacy import clopper_pearson
from ecgveil.report.answers import ACCUSING
from ecgveil.simulate import simulate

FS_HZ = 250.0
SIMULATED = 585
COLUMNS = ("seed", "family", "name", "value", "floor", "ci_low", "ci_high", "p_value", "n", "verdict")


def real(folder: Path) -> ECGSet:
    ecgs, _ = read(folder, seconds=10, fs=FS_HZ, resample=True, allow=("wrong_unit",))
    if not (folder / "quality.csv").is_file():
        return ecgs
    with open(folder / "quality.csv", newline="") as file:
        good = {row["record_name"] for row in csv.DictReader(file) if row["quality"] == "acceptable"}
    return ecgs.take([i for i, name in enumerate(ecgs.record_name) if name in good])


def deal(ecgs: ECGSet, parts: list[float], seed: int) -> list[ECGSet]:
    """Train, holdout and 'synthetic' ECGs, the last under names of their own."""
    people, person = np.unique(ecgs.patient_id, return_inverse=True)
    order = np.random.default_rng([seed, 77]).permutation(len(people))
    edges = np.round(len(people) * np.cumsum(parts) / sum(parts)).astype(int)[:-1]
    train, holdout, rest = (ecgs.take(np.flatnonzero(np.isin(person, each))) for each in np.split(order, edges))
    names, who = (tuple(f"synthetic {name}" for name in of) for of in (rest.record_name, rest.patient_id))
    return [train, holdout, replace(rest, record_name=names, patient_id=who)]


def report(table: pd.DataFrame) -> None:
    table = table.assign(
        alarm=table["verdict"].eq(BEYOND) & table["family"].eq("fidelity"), accused=table["verdict"].isin(ACCUSING)
    )
    of_each = table.groupby("seed")[["alarm", "accused"]].any()
    for column, what in (("alarm", "any fidelity figure beyond"), ("accused", "any accusing privacy verdict")):
        k, n = int(of_each[column].sum()), len(of_each)
        low, high = clopper_pearson(k, n)
        print(f"{what}: {k} of {n} evaluations = {k / n:.1%} ({low:.1%} to {high:.1%})")
    print("\n| figure | evaluations | n | mean value | mean floor | SD of the difference | p < 5 % | alarms |")
    print("|---|---|---|---|---|---|---|---|")
    for (family, name), rows in table[table["value"].notna()].groupby(["family", "name"], sort=False):
        tested = rows["p_value"].dropna()
        small = f"{(tested < 0.05).sum()} of {len(tested)}" if len(tested) else "-"
        value, floor, apart = rows["value"].mean(), rows["floor"].mean(), (rows["value"] - rows["floor"]).std()
        alarms = int(rows["alarm"].sum() if family == "fidelity" else rows["accused"].sum())
        print(
            f"| {name} | {len(rows)} | {rows['n'].median():.0f} | {value:.3g} | {floor:.3g} "
            f"| {apart:.3g} | {small} | {alarms} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--source", default=str(Path(__file__).parents[2] / "shared" / "data" / "cinc2011"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first evaluation")
    parser.add_argument("--parts", type=float, nargs=3, default=[1, 1, 1], help="of train, holdout and 'synthetic'")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--report", type=Path, nargs="+", help="count what is in these files; evaluate nothing")
    args = parser.parse_args()
    if args.report:
        report(pd.concat([pd.read_csv(file) for file in args.report]))
        return
    if args.out is None:
        parser.error("--out is needed: a CSV file for the figures")
    done = set(pd.read_csv(args.out)["seed"]) if args.out.is_file() else set()
    ecgs = real(Path(args.source)) if args.source != "simulated" else None
    for seed in range(args.first, args.first + args.repeats):
        if seed in done:
            continue
        drawn = ecgs if ecgs is not None else simulate(SIMULATED, seed=10_000 + seed, fs=FS_HZ)[0]
        result = evaluate(*deal(drawn, args.parts, seed), seed=seed, quick=args.quick)
        rows = [{"seed": seed} | {name: getattr(metric, name) for name in COLUMNS[1:]} for metric in result.metrics]
        pd.DataFrame(rows, columns=COLUMNS).to_csv(args.out, mode="a", header=not args.out.is_file(), index=False)
        bad = [m.name for m in result.metrics if m.verdict in (BEYOND, *ACCUSING)]
        print(f"seed {seed}: {sum(result.seconds.values()):.0f} s; {', '.join(bad) or 'nothing found'}", flush=True)
    report(pd.read_csv(args.out))


if __name__ == "__main__":
    main()
