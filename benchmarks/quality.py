"""Recipes side by side: equal records, equal time to train, the whole evidence of each in one table.

    pip install -c constraints.txt -e .
    python benchmarks/quality.py --out DIR [--recipes wavegan-star pulse2pulse veil] [--minutes 90] [--number 500]
        [--data FOLDER ...] [--seed 0] [--set veil:training.batch=64 ...] [--quick]
        [--begin veil:base] [--held 0.15]

A share of the patients is held out, the rest is trained on. The minutes are of two cores, thus twice as many of core
minutes, on as many threads as OMP_NUM_THREADS says. How many steps fit into them is found by a few that are thrown
away, unless `--set RECIPE:training.steps=` says; what the training then took is told. Interrupted, the same command
goes on; other minutes need another DIR. DIR/table.md has every figure beside that of real ECGs against real ones;
DIR/RECIPE holds run, samples and report, and draws real ECGs, so it is the keeper's.
"""

import argparse
import json
import math
import shutil
import time
from pathlib import Path

import torch

from ecgveil.ecg import ECGSet, concat
from ecgveil.evaluation import Evaluation, evaluate
from ecgveil.files import write_atomic
from ecgveil.intake import take_in
from ecgveil.measure import measure
from ecgveil.recipe import load_recipe, parse_overrides
from ecgveil.sampling import load
from ecgveil.split import split
from ecgveil.studies.deepfake import TABLE2
from ecgveil.training.fit import fit

DATA = Path(__file__).parents[2] / "shared" / "data"
_TRIED = 20  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["wavegan-star", "pulse2pulse", "veil"])
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--data", type=Path, nargs="+", default=[DATA / "cinc2011", DATA / "ludb"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="RECIPE:KEY=VALUE")
    parser.add_argument("--begin", nargs="*", default=[], metavar="RECIPE:RUN", help="what run a recipe goes on from")
    parser.add_argument("--held", type=float, default=0.15, help="share of patients that are held out")
    parser.add_argument("--quick", action="store_true", help="evidence of few ECGs")
    told = parser.parse_args()
    found = {name: judged(name, told) for name in told.recipes}
    write_atomic(told.out / "table.md", table(found))
    print(table(found))


def judged(name: str, told: argparse.Namespace) -> dict:
    """Train a recipe, draw from it and judge; from what an earlier call left, where it did."""
    folder = told.out / name
    if (folder / "figures.json").is_file():
        return json.loads((folder / "figures.json").read_text())
    settings = parse_overrides([each.split(":", 1)[1] for each in told.set if each.startswith(f"{name}:")])
    recipe = load_recipe(name, settings)
    base = dict(each.split(":", 1) for each in told.begin).get(name)
    fractions = (0.85 - told.held, 0.15, told.held)
    parts = split(take_in(told.data, recipe).ecgs, seed=told.seed, fractions=fractions)
    train = concat([parts.train, parts.validation])
    print(f"{name}: {len(train)} ECGs to train on, {len(parts.holdout)} held out", flush=True)
    steps = planned(name, settings, train, folder, told)
    spent = folder / "spent.json"  # core seconds, of all calls
    before = json.loads(spent.read_text())["seconds"] if spent.is_file() else 0.0
    began = time.process_time()

    def kept(row: dict) -> None:
        write_atomic(spent, json.dumps({"seconds": before + time.process_time() - began}))

    recipe = load_recipe(name, {**settings, "training.steps": steps})
    run = fit(train, recipe, folder / "run", seed=told.seed, use_all=True, resume=True, base=base, on_log=kept)
    minutes = json.loads(spent.read_text())["seconds"] / 60
    trained = load(run.path)
    if not trained.finished:
        raise SystemExit(f"{name}: stopped at step {trained.step} of {trained.steps}; the same command goes on")
    synthetic = trained.sample(told.number, seed=told.seed)
    real, held = (each.pick(synthetic.leads) for each in (train, parts.holdout))
    evidence = evaluate(real, held, synthetic, seed=told.seed, quick=told.quick)
    figures = {"steps": steps, "core_minutes": minutes, "threads": torch.get_num_threads(), **told_of(evidence)}
    figures["means"] = {key: means(each) for key, each in (("real", held), ("synthetic", synthetic))}
    write_atomic(folder / "figures.json", json.dumps(figures, indent=1))
    return figures


def planned(name: str, settings: dict, train: ECGSet, folder: Path, told: argparse.Namespace) -> int:
    """Steps that fit into the minutes of two cores; once found, they stay. Those asked for come first."""
    if "training.steps" in settings:
        return int(settings["training.steps"])
    note = folder / "steps.json"
    if not note.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        spent: list[tuple[int, float]] = []
        few = load_recipe(name, {**settings, "training.steps": _TRIED, "training.pictures": 0})
        fit(
            train,
            few,
            folder / "few",
            seed=told.seed,
            use_all=True,
            on_log=lambda row: spent.append((row["step"], time.process_time())),
        )
        shutil.rmtree(folder / "few")
        (first, before), (last, after) = spent[0], spent[-1]
        per_step = (after - before) / (last - first)
        write_atomic(note, json.dumps({"steps": max(1, int(2 * told.minutes * 60 / per_step))}))
    return int(json.loads(note.read_text())["steps"])


def told_of(evidence: Evaluation) -> dict:
    return {
        "metrics": {
            each.name: {"value": each.value, "floor": each.floor, "better": each.better, "verdict": each.verdict}
            for each in evidence.metrics
        }
    }


def means(ecgs: ECGSet) -> dict[str, float]:
    """Of what P2's Table 2 lists."""
    rows = measure(ecgs)
    return {name: float(rows[name].mean()) for name in TABLE2}


def table(found: dict[str, dict]) -> str:
    """Markdown: a row a figure, a column a recipe, the floor last."""
    lines = ["| figure | " + " | ".join(found) + " | real against real |", "|---" * (len(found) + 2) + "|"]
    for key in ("steps", "core_minutes"):
        lines.append(f"| {key} | " + " | ".join(_shown(each[key]) for each in found.values()) + " | |")
    names = dict.fromkeys(name for each in found.values() for name in each["metrics"])
    for name in names:
        cells = [each["metrics"].get(name, {}) for each in found.values()]
        if all(math.isnan(cell.get("value", math.nan)) for cell in cells):
            continue
        floor = next((cell["floor"] for cell in cells if cell), math.nan)
        lines.append(f"| {name} | " + " | ".join(_shown(cell.get("value")) for cell in cells) + f" | {_shown(floor)} |")
    first = next(iter(found.values()))["means"]["real"]
    for name in first:
        cells = [_shown(each["means"]["synthetic"].get(name)) for each in found.values()]
        lines.append(f"| mean {name} | " + " | ".join(cells) + f" | {_shown(first[name])} |")
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4g}"


if __name__ == "__main__":
    main()
