"""Are the monitors of training silent on healthy runs, and soon heard when something is planted?

python benchmarks/monitors.py [--steps 2000] [--plant-at 600] [--cases quick ...] [--only healthy|planted] [--rows DIR]

Small networks on simulated ECGs. A healthy run must end without a warning. A plant (the generator forced to one shape,
to four; a critic whose weights are zeroed, or no longer change; a learning rate 100 times as
high) must be found within 200 steps. `--rows` keeps the logged figures of every run.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ecgveil.ecg import ECGSet
from ecgveil.errors import RunError
from ecgveil.recipe import load_recipe
from ecgveil.simulate import simulate
from ecgveil.training import fit as fitting
from ecgveil.training import monitors
from ecgveil.training import step as stepping
from ecgveil.training.looks import Looks
from ecgveil.training.players import Players
from ecgveil.windows import cut

WITHIN = 200  # steps
_BEAT = {"data.n_samples": 1000, "model.width": 16, "model.critic_width": 8, "training.batch": 8, "model.crop_s": 1.5}
_IMAGE = {"data.fs": 125.0, "data.n_samples": 225, "model.widths": [16, 32, 32], "training.batch": 16}
_WAVE = {"data.n_samples": 2500, "data.fs": 250.0, "data.leads": ["I"], "model.width": 5, "model.critic_width": 1,
         "training.batch": 8, "training.critic_steps": 1}  # fmt: skip
CASES = {
    "quick": ("quick", _BEAT),
    "quick-bce": ("quick", {**_BEAT, "training.objective": "bce", "training.learning_rate": 2e-4,
                            "training.betas": [0.5, 0.999]}),
    "quick-wgan": ("quick", {**_BEAT, "training.objective": "wgan-gp", "training.penalty": 10.0,
                             "training.learning_rate": 2e-4}),
    "superclass": ("superclass", {**_BEAT, "data.n_samples": 500, "data.units": "mV", "data.labels": ["NORM", "MI"]}),
    "image": ("piacentino-z", _IMAGE),
    "image-smooth": ("piacentino-z", {**_IMAGE, "training.label_smoothing": 0.1}),
    "image-wgan": ("piacentino-z", {**_IMAGE, "model.critic_norm": "none", "training.objective": "wgan-gp",
                                    "training.penalty": 10.0, "training.critic_steps": 3}),
    "wave": ("pulse2pulse", _WAVE),
    "wave-bce": ("pulse2pulse", {**_WAVE, "training.objective": "bce", "training.critic_steps": 1}),
    "wave-relativistic": ("pulse2pulse", {**_WAVE, "training.objective": "relativistic", "training.penalty": 0.5}),
}  # fmt: skip
COLLAPSING = ("quick-bce",)  # by itself, without a penalty or batch norm: to be heard, not to be silent


class Held(Players):
    """Players that can be reached from outside."""

    last: "Held"

    def __init__(self, *args):
        super().__init__(*args)
        Held.last = self


def shapes(number):
    def plant(players):
        forward = players.generator.forward

        def forced(noise):
            return forward({name: each[torch.arange(len(each)) % number] for name, each in noise.items()})

        players.generator.forward = forced

    return plant


def zeroed(players):
    with torch.no_grad():
        for weight in players.critic.parameters():
            weight.zero_()


def frozen(players):
    players.optimizers[1].step = lambda: None


def faster(times):
    def plant(players):
        set_rate = stepping._set_rate
        stepping._set_rate = lambda optimizers, rate, *rest: set_rate(optimizers, times * rate, *rest)
        players.restore = lambda: setattr(stepping, "_set_rate", set_rate)

    return plant


PLANTS = {
    "one shape": ("mode collapse", shapes(1)),
    "four shapes": ("mode collapse", shapes(4)),
    "zeroed critic": ("dead critic", zeroed),
    "frozen critic": ("dead critic", frozen),
    "rate x 100": ("divergence", faster(100)),
}


def windows(recipe, seed):
    """Every whole window of 120 simulated patients."""
    form = recipe.data
    ecgs, _ = simulate(120, seed=seed, fs=form.fs)
    ecgs = ecgs.pick(form.leads)
    parts = [cut(signal, form.n_samples) for signal in ecgs.signal]
    rows = np.repeat(np.arange(len(ecgs)), [len(part) for part in parts])
    labels = tuple(("NORM",) if row % 3 else ("MI",) for row in rows) if form.labels else ()
    names = tuple(f"window {k}" for k in range(len(rows)))
    people = tuple(ecgs.patient_id[row] for row in rows)
    return ECGSet(np.concatenate(parts), form.fs, form.leads, names, people, labels, units=form.units)


def run(case, steps, seed, plant=None, at=0):
    """(rows, seconds, error) of a run, with something planted after step `at`."""
    name, changes = CASES[case]
    recipe = load_recipe(name, {**changes, "training.steps": steps, "training.pictures": 0})
    planted = []
    fitting.Players = Held

    def on_log(row):
        if plant and row["step"] >= at and not planted:
            planted.append(row["step"])
            plant(Held.last)

    rows, error, began = [], "", time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            fitting.fit(windows(recipe, seed), recipe, out, seed=seed, on_log=on_log)
        except RunError as caught:
            error = str(caught)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    getattr(Held.last, "restore", lambda: None)()
    return rows, time.perf_counter() - began, error


def found(rows, error, at):
    """Step of the first warning of each kind, later than `at`."""
    told = {}
    for row in rows:
        for warning in row.get("warning", ()):
            told.setdefault(warning["kind"], warning["step"])
    if error:
        told["error"] = rows[-1]["step"]
    return {kind: step for kind, step in told.items() if step > at}


def looks_share(case, looks, seed):
    """Share of the time of training that the looks take, of as many updates as lie between two."""
    steps = looks * monitors.LOOK_EVERY
    spent = 0.0
    figures = Looks.figures

    def timed(self):
        nonlocal spent
        began = time.perf_counter()
        told = figures(self)
        spent += time.perf_counter() - began
        return told

    Looks.figures = timed
    try:
        rows, _, _ = run(case, steps, seed)
    finally:
        Looks.figures = figures
    return spent / (rows[-1]["seconds_per_step"] * steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000, help="of a healthy run")
    parser.add_argument("--plant-at", type=int, default=600)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=CASES)
    parser.add_argument("--only", choices=("healthy", "planted", "overhead"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="folder to keep the logged rows in")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for case in args.cases:
        if args.only in (None, "overhead"):
            print(f"{case:18} the looks take {looks_share(case, 5, args.seed):.1%} of the time", flush=True)
        if args.only in (None, "healthy"):
            rows, seconds, error = run(case, args.steps, args.seed)
            keep(args.rows, case, "healthy", rows)
            kind = "collapsing" if case in COLLAPSING else "healthy"
            told = found(rows, error, 0)
            print(f"{case:18} {kind}, {rows[-1]['step']} steps, {seconds:.0f} s: {told}", flush=True)
        if args.only in (None, "planted"):
            for name, (kind, plant) in PLANTS.items():
                at = args.plant_at
                rows, _, error = run(case, at + WITHIN, args.seed, plant, at)
                keep(args.rows, case, name, rows)
                told = found(rows, error, at)
                verdict = "found" if kind in told or (error and kind == "divergence") else "MISSED"
                after = {each: step - at for each, step in told.items()}
                print(f"{case:18} {name:20} {verdict}, said after so many steps: {after}", flush=True)


def keep(folder, case, name, rows):
    if folder:
        folder.mkdir(exist_ok=True)
        (folder / f"{case}-{name}.json".replace(" ", "-")).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
