"""Several processes that train together."""

import os
import signal
import threading
from contextlib import nullcontext
from multiprocessing import active_children
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


@pytest.fixture(scope="module")
def together(asked, tmp_path_factory):
    """A whole run of two processes."""
    return fit(*asked, tmp_path_factory.mktemp("team") / "run", seed=3)


def state(folder):
    return load_tensors(folder.path / "state.safetensors")[0]


def test_two_processes_stopped_go_on_as_if_never_stopped(asked, together, tmp_path):
    def stop(row):
        os.kill(os.getpid(), signal.SIGINT)

    half = fit(*asked, tmp_path / "run", seed=3, on_log=stop)
    assert 0 < half.metrics()[-1]["step"] < asked[1].training.steps
    assert active_children() == []
    whole = fit(*asked, tmp_path / "run", seed=3, resume=True)
    one, other = state(whole), state(together)
    assert all(torch.equal(one[name], other[name]) for name in other)
    threads = torch.get_num_threads()
    assert threads == whole.provenance["threads"]


def test_whoever_helps_and_dies_is_told_of(asked, tmp_path):
    def kill(row):
        for helper in active_children():
            helper.kill()

    with pytest.raises(RunError, match="has died.*--resume"):
        fit(*asked, tmp_path / "run", seed=3, on_log=kill)
    assert RunFolder(tmp_path / "run").load_weights()
    assert active_children() == []


@pytest.mark.parametrize("number", [3, 16])
def test_a_batch_is_shared_equally_or_not_at_all(number):
    with pytest.raises(ConfigError, match=f"processes is {number} and batch 8; each needs an equal share"):
        tiny("veil", training__processes=number, training__batch=8)


def test_more_processes_than_graphics_processors_are_refused(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="processes is 2, and graphics processors are 1; set 1"):
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


def test_each_takes_its_share_and_all_weights_stay_the_same(asked, together, monkeypatch):
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
        step._fake = lambda rows, draws: made[rank].append(rows) or fake(rows, draws)
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
    assert sorted([*made[0][0], *made[1][0]]) == sorted(batch)
    assert not set(made[0][0]) & set(made[1][0])
