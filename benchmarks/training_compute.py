"""Operations that a training takes: our `veil` beside what Thambawita et al. (2021) published.

    python benchmarks/training_compute.py [--recipe veil]

Counted by torch (multiplications and additions of matrix products and convolutions, forward and backward, penalties
included) over real steps of the one loop, and multiplied by the number of steps. P2 trained 3,000 epochs of 7,233 ECGs,
five updates of a critic of width 50 for one of the generator (its section 2.2 and code); its steps are counted at batch
2, since the count is proportional to the batch and the memory is not small.
"""

import argparse

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ecgveil.complexes.parts import LENGTH, numbers_of
from ecgveil.leads import LEADS_8
from ecgveil.models.contract import Context
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.rhythm import STATISTICS, Rhythm
from ecgveil.training.looks import Windows
from ecgveil.training.players import Players
from ecgveil.training.step import Step

P2_EPOCHS, P2_ECGS, P2_CRITIC_STEPS = 3000, 7233, 5
FS = 500.0
MANY = 1000  # training records, where a recipe counts passes
SHAPE = (len(LEADS_8) * LENGTH + numbers_of(LEADS_8, FS) + len(STATISTICS),)


class Counter(TorchDispatchMode):
    """Counts by torch's formulas; its own FlopCounterMode cannot follow gradients that are differentiated again."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.total += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="veil")
    told = parser.parse_args()
    ours = load_recipe(told.recipe)
    every = ours.training.penalty_every * ours.training.marginals_every
    steps = ours.training.steps or ours.n_steps(MANY)
    mine = counted(ours, context(), every) / every * steps
    print(f"{told.recipe}: {steps} steps of {ours.training.batch}, {mine:.2e} operations", flush=True)
    settings = {"model.critic_width": 50, "training.batch": 2}
    one, two = (
        counted(load_recipe("pulse2pulse", {**settings, "training.critic_steps": n}), Context((8, 5000), 500.0), 1)
        for n in (1, 2)
    )
    critic, generator = (two - one) / 2, (2 * one - two) / 2  # of one ECG
    theirs = P2_EPOCHS * P2_ECGS * (critic + generator / P2_CRITIC_STEPS)
    print(f"P2 as published: {critic:.2e} an ECG of the critic, {generator:.2e} of the generator; {theirs:.2e} in all")
    print(f"1 / {theirs / mine:.0f}")


def context() -> Context:
    rng = np.random.default_rng(0)
    rhythm = Rhythm.fit([0.8 + 0.03 * rng.standard_normal(12) for _ in range(30)], 0)
    return Context(SHAPE, FS, rhythm)


def counted(recipe: Recipe, about: Context, steps: int) -> float:
    """Operations of the first `steps` steps."""
    players, n = Players(recipe, about, 0), 64
    real = torch.from_numpy(np.random.default_rng(0).normal(0, 0.3, (n, *about.shape)).astype(np.float32))
    step = Step(players, Windows(real, None), [str(k) for k in range(n)], recipe, 0, Fabric(devices=1))
    with Counter() as counter:
        for number in range(steps):
            step(number)
    return float(counter.total)


if __name__ == "__main__":
    main()
