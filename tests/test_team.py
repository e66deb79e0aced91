"""Several processes that train together."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from multiprocessing import active_children
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import shaped, tiny
from ecgveil.errors import ConfigError, RunError
from ecgveil.training import step as stepping
from ecgveil.training.fit import fit
from ecgveil.training.looks import Windows
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.step import Step
from ecgveil.training.tensors import load_tensors

TWO = {"training.processes": 2, "training.batch": 8, "training.marginals_batch": 16, "training.pictures": 0}


@pytest.fixture(scope="module")
def asked(clinic):
    recipe = tiny("veil", **{key.replace(".", "__"): value for key, value in TWO.items()})
    return shaped(clinic, recipe), recipe


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """Of which each process has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def together(asked, tmp_path_factory):
    """A whole run of two processes."""
    return fit(*asked, tmp_path_factory.mktemp("team") / "run", seed=3)


def state(folder):
    return load_tensors(folder.path / "state.safetensors")[0]


def test_two_processes_stopped_go_on_as_if_never_stopped(asked, together, tmp_path):
    def stop(row):
        for each in (*active_children(), SimpleNamespace(pid=os.getpid())):  # as a terminal does
            os.kill(each.pid, signal.SIGINT)

    half = fit(*asked, tmp_path / "run", seed=3, on_log=stop)
    assert torch.get_num_threads() == 2  # again
    assert 0 < half.metrics()[-1]["step"] < asked[1].training.steps
    assert active_children() == []
    whole = fit(*asked, tmp_path / "run", seed=3, resume=True)
    one, other = state(whole), state(together)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_helpers_do_not_hear_who_asks_to_stop_even_as_they_begin(asked, together, tmp_path):
    def ask():
        while not active_children():
            time.sleep(0.01)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(active_children()[0].pid, number)

    asking = threading.Thread(target=ask)
    asking.start()
    run = fit(*asked, tmp_path / "run", seed=3)
    asking.join()
    assert all(torch.equal(state(run)[name], value) for name, value in state(together).items())


SCRIPT = """
import sys
from ecgveil.recipe import load_recipe
from ecgveil.simulate import simulate
from ecgveil.training.fit import fit

settings = {"training.steps": 2, "training.processes": 2, "training.pictures": 0, "model.width": 8}
recipe = load_recipe("veil", settings)
ecgs, _ = simulate(8, seed=1)
print("begun", flush=True)
fit(ecgs.pick(recipe.data.leads), recipe, sys.argv[1], use_all=True)
"""


def test_a_plain_script_is_not_run_again_by_helpers_nor_do_they_outlive_it(tmp_path):
    folder = tmp_path / "a b"  # where they meet
    folder.mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    command, env = [sys.executable, str(tmp_path / "script.py")], {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run([*command, str(tmp_path / "run")], env=env, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "begun\n"), done.stderr
    assert RunFolder(tmp_path / "run").metrics()[-1]["step"] == 2
    assert list(folder.iterdir()) == []
    asker = subprocess.Popen([*command, str(tmp_path / "other")], env=env, stdout=subprocess.DEVNULL)
    children = Path(f"/proc/{asker.pid}/task/{asker.pid}/children")
    if not children.parent.is_dir():
        asker.kill()
        pytest.skip("no /proc to find helpers in")
    while not (begun := helping(children)):
        time.sleep(0.05)
    asker.kill()
    asker.wait()
    until = time.monotonic() + 120
    while any(Path(f"/proc/{each}/cmdline").is_file() for each in begun):
        assert time.monotonic() < until
        time.sleep(0.1)


def helping(children):
    """Process numbers of helpers."""
    found = children.read_text().split()
    return [each for each in found if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def test_whoever_helps_and_dies_is_told_of(asked, tmp_path):
    def kill(row):
        for helper in active_children():
            helper.kill()

    with pytest.raises(RunError, match="was killed.*--resume"):
        fit(*asked, tmp_path / "run", seed=3, on_log=kill)
    assert RunFolder(tmp_path / "run").load_weights()
    assert active_children() == []


@pytest.mark.parametrize("number", [3, 16])
def test_a_batch_is_shared_equally_or_not_at_all(number):
    with pytest.raises(ConfigError, match=f"processes is {number} and batch 8; each needs an equal share"):
        tiny("veil", training__processes=number, training__batch=8)


def test_what_a_recipe_does_not_use_need_not_be_shared():
    assert tiny("quick", training__processes=3, training__batch=6).training.marginals_batch % 3


def test_more_processes_than_graphics_processors_are_refused(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="processes is 2, and graphics processors are 1; set"):
        fit(*asked, tmp_path / "run", seed=3)


class Paired:
    """Of two threads one, in place of a process of Fabric: means are over both."""

    device, world_size = torch.device("cpu"), 2
    _both, _given = threading.Barrier(2), [None, None]

    def __init__(self, rank):
        self.global_rank, self.strategy = rank, SimpleNamespace(all_reduce=self._mean)

    def autocast(self):
        return nullcontext()

    def backward(self, loss):
        loss.backward()

    def _mean(self, x, reduce_op):
        assert reduce_op == "mean"
        self._given[self.global_rank] = x.clone()
        self._both.wait(60)
        mean = (self._given[0] + self._given[1]) / 2
        self._both.wait(60)
        return mean


def test_each_takes_its_share_with_noise_of_its_own_and_all_weights_stay_the_same(asked, together):
    recipe, rng = asked[1], np.random.default_rng(0)
    windows = rng.normal(0, 0.3, (20, *together.context.shape)).astype(np.float32)
    pairs = [Players(recipe, together.context, 3) for _ in range(2)]
    before = Players(recipe, together.context, 3).state()
    made = [[], []]
    losses = [None, None]

    def work(rank):
        data = Windows(torch.from_numpy(windows), None)
        step = Step(pairs[rank], data, [str(k) for k in range(20)], recipe, 3, Paired(rank))
        fake = step._fake

        def seen(rows, draws):
            x = fake(rows, draws)
            made[rank].append((rows, x.detach()))
            return x

        step._fake = seen
        losses[rank] = [step(number) for number in range(3)]

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, other = (pair.state() for pair in pairs)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(not torch.equal(one[name], before[name]) for name in before)
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3
    batch = stepping._batch_rows(3, 0, 8, 20)
    (mine, x), (theirs, y) = made[0][0], made[1][0]
    assert sorted([*mine, *theirs]) == sorted(batch)
    assert not set(mine) & set(theirs)
    assert not any(torch.equal(a, b) for a in x for b in y)
    sizes = [len(rows) for rows, _ in made[0]]
    assert sizes == [4, 4, 8, 4, 4, 4, 4, 8]  # critic, generator, and every other step marginals
