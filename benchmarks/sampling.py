"""ECGs per second: a recipe of ours beside the package deepfake-ecg, in one run, the network alone and to disk.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/sampling.py [--recipe veil] [--number 200] [--repeats 3]

Both draw on the same cores; deepfake-ecg's `generate` writes 8 leads as text, we write 12 leads as WFDB. Recipe
`pulse2pulse` has a generator of the published size. Our weights are those of step 1: speed does not depend on what was
learned. The network alone is timed at several batch sizes for both, and the best counts; what `veil` makes of the
network's numbers, ECGs, counts to disk.
"""

import argparse
import contextlib
import io
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepfakeecg
import numpy as np
import torch
import wfdb

from ecgveil.ecg import ECGSet
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8
from ecgveil.models.contract import stack
from ecgveil.pipeline import write_samples
from ecgveil.recipe import load_recipe
from ecgveil.sampling import Run, load
from ecgveil.simulate import simulate
from ecgveil.training.fit import fit

BATCHES = (1, 4, 16, 64)


def untrained(name: str, folder: Path) -> Run:
    """A run of the recipe's full size after one step, of ECGs of the simulated clinic."""
    recipe = load_recipe(name, {"training.steps": 1, "training.batch": 2, "training.pictures": 0})
    ecgs, _ = simulate(24, seed=0)
    fit(ecgs.pick(LEADS_8), recipe, folder, seed=0)
    return load(folder)


def seconds(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def theirs(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
        deepfakeecg.generate(number, folder)


def theirs_as_published(number: int) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        deepfakeecg.generate(number, folder)


def ours(run: Run, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_samples(run, Path(folder), number, seed=1, batch_size=64, progress=lambda done, total: None)


def network(generator: torch.nn.Module, noise: Callable[[int], Any], number: int) -> dict[int, float]:
    """ECGs per second of a network at each batch size; its noise is drawn before."""
    rates = {}
    with torch.no_grad():
        for batch in BATCHES:
            given = noise(batch)
            generator(given)
            rounds = -(-number // batch)
            rates[batch] = rounds * batch / seconds(lambda b=given, n=rounds: [generator(b) for _ in range(n)])
    return rates


def writing(ecgs: ECGSet) -> tuple[float, float]:
    """Seconds a record of our writer and of wfdb.wrsamp."""
    with tempfile.TemporaryDirectory() as folder:
        own = seconds(lambda: write(ecgs, folder))
    with tempfile.TemporaryDirectory() as folder:
        rival = seconds(
            lambda: [
                wfdb.wrsamp(
                    name,
                    fs=ecgs.fs,
                    units=["mV"] * 12,
                    sig_name=list(ecgs.leads),
                    p_signal=signal.T.astype(float),
                    fmt=["16"] * 12,
                    adc_gain=[1000.0] * 12,
                    baseline=[0] * 12,
                    write_dir=folder,
                )
                for name, signal in zip(ecgs.record_name, ecgs.signal, strict=True)
            ]
        )
    return own / len(ecgs), rival / len(ecgs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pulse2pulse")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = untrained(args.recipe, Path(folder) / "run")
        print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, n = {args.number}")
        rates: dict[str, list[float]] = {}
        for _ in range(args.repeats):  # interleaved, so that both meet the same machine
            for name, work in (
                ("deepfake-ecg generate", lambda: theirs_as_published(args.number)),
                ("deepfake-ecg generate, gradients off", lambda: theirs(args.number)),
                ("ecgveil sample", lambda: ours(run, args.number)),
            ):
                rates.setdefault(name, []).append(args.number / seconds(work))
        for name, values in rates.items():
            print(f"{name:38s} {np.median(values):7.1f} ECG/s to disk (runs: {', '.join(f'{v:.1f}' for v in values)})")
        ratio = np.median(rates["ecgveil sample"]) / np.median(rates["deepfake-ecg generate"])
        print(f"ecgveil / deepfake-ecg: {ratio:.2f}")
        rng = np.random.default_rng(0)
        mine = network(run.generator, lambda n: stack([run.generator.draw(rng) for _ in range(n)]), args.number)
        rivals = network(deepfakeecg.Generator().eval(), lambda n: torch.rand(n, 8, 5000) * 2 - 1, args.number)
        for name, found in (("ours", mine), ("deepfake-ecg", rivals)):
            told = ", ".join(f"{rate:.0f} at {batch}" for batch, rate in found.items())
            print(f"network alone, {name}: {told} ECG/s")
        print(f"network alone, best batch of each: {max(mine.values()) / max(rivals.values()):.1f}")
        own, rival = writing(run.sample(50))
        print(f"writing a record: {own * 1e3:.2f} ms, wfdb.wrsamp {rival * 1e3:.2f} ms, ratio {rival / own:.1f}")


if __name__ == "__main__":
    main()
