"""ECGs per second to disk: our pulse2pulse recipe beside the package deepfake-ecg's own `generate`, in one run.

    pip install -c constraints.txt -e ".[bench]"
    python benchmarks/sampling.py [--number 200] [--repeats 3]

Both draw on the same cores from a generator of the published size; deepfake-ecg writes 8 leads as text, we write 12
leads as WFDB. Our weights are those of step 0: speed does not depend on what was learned.
"""

import argparse
import contextlib
import io
import platform
import tempfile
import time
from pathlib import Path

import deepfakeecg
import numpy as np
import torch
import wfdb

from ecgveil.ecg import ECGSet
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8
from ecgveil.models.draw import BLOCK, draw
from ecgveil.pipeline import write_samples
from ecgveil.recipe import load_recipe
from ecgveil.sampling import Run, load
from ecgveil.training.fit import fit


def untrained(folder: Path) -> Run:
    """The recipe's generator at its published width; two steps with a small critic make the run folder."""
    recipe = load_recipe("pulse2pulse", {"training.steps": 1, "training.batch": 2, "training.pictures": 0})
    signal = np.random.default_rng(0).normal(0, 0.2, (20, 8, 5000))
    fit(ECGSet(signal, 500, LEADS_8, tuple(map(str, range(20)))), recipe, folder, seed=0)
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
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = untrained(Path(folder) / "run")
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
        network = args.number / seconds(lambda: draw(run.generator, 1, 0, args.number))
        print(f"our network alone, blocks of {BLOCK}: {network:.1f} ECG/s")
        own, rival = writing(run.sample(50))
        print(f"writing a record: {own * 1e3:.2f} ms, wfdb.wrsamp {rival * 1e3:.2f} ms, ratio {rival / own:.1f}")


if __name__ == "__main__":
    main()
