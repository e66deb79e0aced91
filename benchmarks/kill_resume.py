"""kill -9 at random moments of a fit, each followed by --resume: are the final weights those of an uninterrupted fit?

python benchmarks/kill_resume.py DATA [--recipe quick] [--kills 10] [--seed 0]
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ecgveil.errors import RunError
from ecgveil.training.tensors import load_tensors

SETTINGS = {
    "quick": ["training.steps=1000", "model.width=16", "model.critic_width=8", "training.batch=4"],
    "piacentino-z": ["training.steps=1000", "model.widths=[16, 16, 16]"],
    "pulse2pulse": ["training.steps=60", "model.width=10", "model.critic_width=2", "training.batch=4"],
}


def command(data: str, run: Path, recipe: str) -> list[str]:
    given = [word for setting in [*SETTINGS[recipe], "training.checkpoint_seconds=0.5"] for word in ("--set", setting)]
    fit = ["ecgveil", "fit", data, "--out", str(run), "--recipe", recipe]
    return [*fit, "--seed", "1", "--resume", "--resample", *given]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--recipe", default="quick", choices=SETTINGS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    whole, killed = folder / "whole", folder / "killed"
    began = time.monotonic()
    subprocess.run(command(args.data, whole, args.recipe), check=True, stderr=subprocess.DEVNULL)
    length = time.monotonic() - began
    moments = random.Random(args.seed)
    for number in range(1, args.kills + 1):
        process = subprocess.Popen(command(args.data, killed, args.recipe), stderr=subprocess.DEVNULL)
        wait = moments.uniform(0.2, 1.0) * (2 * length / args.kills + 6)  # 6 s: about what starting takes
        try:
            process.wait(wait)
            moment = "it had ended"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            moment = "killed"
        try:
            step = load_tensors(killed / "state.safetensors")[1]["step"]
        except RunError:
            step = "none, no run folder yet"
        print(f"kill {number}: {moment} after {wait:.1f} s; checkpoint at step {step}", flush=True)
    subprocess.run(command(args.data, killed, args.recipe), check=True, stderr=subprocess.DEVNULL)
    one, two = (load_tensors(run / "state.safetensors")[0] for run in (whole, killed))
    equal = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    print(f"{len(one)} tensors of the final state {'equal bit for bit' if equal else 'DIFFER'}")
    shutil.rmtree(folder)
    sys.exit(not equal)


if __name__ == "__main__":
    main()
