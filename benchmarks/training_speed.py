"""Speed of Pulse2Pulse's training at our critic's width and at the published one, and where the time goes.

    pip install -c constraints.txt -e .
    python benchmarks/training_speed.py [--batch 32] [--steps 3] [--threads N] [--device cpu] [--widths 16 50]

Both sizes train in this process, one after the other, on the same batch of noise at the settings of recipe
`pulse2pulse`: a step is `critic_steps` updates of the critic under WGAN-GP and one of the generator. The published code
has critic width 50 (its dense layer takes 25,000 values, 100 x 50 x 5) and generator width 50, as ours. The first step
of each size warms up and is not counted. Parts are timed one after the other, on a GPU with a wait after each; the
memory is the peak on a GPU, else that of the process while this size was in memory, weights, gradients and Adam's
moments included. On a CPU with other work, go by the processor time, which is told too.
"""

import argparse
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ecgveil.models.contract import Context, stack
from ecgveil.recipe import Recipe, load_recipe
from ecgveil.training.objectives import OBJECTIVES, Pair
from ecgveil.training.players import Players

SHAPE, FS = (8, 5000), 500.0


class Timer:
    """Seconds of each part of a step, added up by name."""

    def __init__(self, device: torch.device):
        self.device, self.seconds = device, defaultdict(float)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] += time.perf_counter() - began

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Memory:
    """Peak memory in MB between entering and leaving: of the GPU, or of this process, looked at 50 times a second."""

    def __init__(self, device: torch.device):
        self.device, self.peak_mb, self._done = device, 0.0, threading.Event()

    def __enter__(self) -> "Memory":
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._watch = threading.Thread(target=self._look, daemon=True)
            self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            self.peak_mb = torch.cuda.max_memory_allocated(self.device) / 1e6
            return
        self._done.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            self.peak_mb = max(self.peak_mb, pages * 4096 / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--width", type=int, default=50, help="of the generator; another one than 50 tries this out")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 50], help="of the critic")
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    device = torch.device(told.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {told.threads} threads"
    print(f"{where}; torch {torch.__version__}; batch {told.batch}; {told.steps} steps of each size, after one more")
    found = {}
    for critic in sorted(told.widths):
        found[critic] = measure(critic, told, device)
        show(critic, found[critic])
    for clock in ("seconds", "processor_seconds"):
        slow, fast = (found[critic][clock] for critic in (max(found), min(found)))
        print(f"a step of critic width {max(found)} takes {slow / fast:.1f} times the {clock.replace('_', ' ')}")
    print(json.dumps({"device": where, "batch": told.batch, "found": found}))


def show(critic_width: int, result: dict) -> None:
    print(f"\ncritic width {critic_width}")
    print(f"  parameters: generator {result['generator']:,}, critic {result['critic']:,}")
    print(f"  {1 / result['seconds']:.4f} steps/s ({result['seconds']:.2f} s a step)")
    print(f"  {result['processor_seconds']:.2f} s of processor time a step; peak memory {result['peak_mb']:.0f} MB")
    for name, share in result["shares"].items():
        print(f"  {share:6.1%}  {name}", flush=True)


def measure(critic_width: int, told: argparse.Namespace, device: torch.device) -> dict:
    """Seconds a step, shares of the parts, parameters and memory at one width of the critic."""
    recipe = load_recipe("pulse2pulse", {"model.critic_width": critic_width, "model.width": told.width})
    with Memory(device) as memory:
        players = Players(recipe, Context(SHAPE, FS), seed=0)
        for player in (players.generator, players.critic):
            player.to(device)
        real = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (told.batch, *SHAPE)).astype(np.float32))
        real, timer = real.to(device), Timer(device)
        for number in range(told.steps + 1):
            if number == 1:
                timer.seconds.clear()
                busy = time.process_time()
            step(players, recipe, real, timer, number)
    total = sum(timer.seconds.values())
    return {
        "generator": count(players.generator),
        "critic": count(players.critic),
        "seconds": total / told.steps,
        "processor_seconds": (time.process_time() - busy) / told.steps,
        "peak_mb": memory.peak_mb,
        "shares": {name: s / total for name, s in sorted(timer.seconds.items(), key=lambda item: -item[1])},
    }


def step(players: Players, recipe: Recipe, real: torch.Tensor, timer: Timer, number: int) -> None:
    """One update of the generator after those of the critic, part by part; the losses are the recipe's objective's."""
    t, objective = recipe.training, OBJECTIVES[recipe.training.objective]
    generator, critic = players.generator, players.critic
    rng, draws = torch.Generator().manual_seed(number), np.random.default_rng([0, number])

    def fake() -> torch.Tensor:
        return generator(stack([generator.draw(draws) for _ in real], real.device))

    for _ in range(t.critic_steps):
        with timer("generator forward, for the critic"), torch.no_grad():
            made = fake()
        with timer("critic forward"):
            distance = critic(made, rng).mean() - critic(real, rng).mean()
        with timer("gradient penalty, forward and gradient"):
            mix = torch.rand(len(real), 1, 1, generator=rng).to(real.device)
            between = (mix * real + (1 - mix) * made).requires_grad_(True)
            (slope,) = torch.autograd.grad(critic(between, rng).sum(), between, create_graph=True)
            penalty = (slope.flatten(1).square().sum(dim=1).add(1e-12).sqrt() - 1).square().mean()
        players.optimizers[1].zero_grad()
        with timer("critic backward, through scores"):
            distance.backward()
        with timer("critic backward, through the penalty"):
            (t.penalty * penalty).backward()
        with timer("critic Adam"):
            players.optimizers[1].step()
    critic.requires_grad_(False)
    with timer("generator update: forward"):
        loss = objective.generator_loss(critic, Pair(real, fake()), rng, t)
    players.optimizers[0].zero_grad()
    with timer("generator update: backward"):
        loss.backward()
    with timer("generator update: Adam"):
        players.optimizers[0].step()
    critic.requires_grad_(True)


def count(player: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in player.parameters())


if __name__ == "__main__":
    main()
