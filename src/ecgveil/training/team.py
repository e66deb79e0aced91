"""Several processes that train one pair of players, each on its share of every batch.

The process that was asked to train writes, looks and decides; its helpers only take steps beside it, of the same
players and windows, until they are told to stop. They meet on this machine alone, and what they share is gradients.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import distributed, multiprocessing

from ecgveil.errors import ConfigError, RunError
from ecgveil.training.looks import Windows
from ecgveil.training.players import Players
from ecgveil.training.run import RunFolder
from ecgveil.training.step import Step

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells of every precision it is given
_PRECISION: dict[str, Any] = {"float32": "32-true", "bfloat16": "bf16-mixed"}  # as Fabric calls them
_PATIENCE = 30  # seconds for helpers to leave by themselves
_LONGEST = timedelta(minutes=30)  # that helpers wait, while candidates are judged, say


def require_processors(processes: int) -> None:
    """Raise ConfigError if each of several processes is to have a graphics processor, and there are fewer."""
    devices = torch.cuda.device_count()
    if processes > 1 and 0 < devices < processes:
        raise ConfigError(
            f"training.processes is {processes}, and graphics processors are {devices}; set {devices} or 1"
        )


@contextmanager
def together(folder: RunFolder, data: Windows, people: Sequence[str], start: int) -> Iterator[Fabric]:
    """A Fabric of as many processes as the recipe's `training.processes` says.

    The caller broadcasts before each step whether it is taken, and takes it with a `Step`; helpers follow.

    Parameters
    ----------
    folder : the run, its state saved as of step `start`
    data, people, start : as for `loop.train`

    Raises
    ------
    RunError
        A helper was killed or has failed, or there is too little memory to share.
    """
    t = folder.recipe.training
    if t.processes == 1:
        yield Fabric(devices=1, precision=_PRECISION[t.precision])
        return
    threads = torch.get_num_threads()
    each = max(1, threads // t.processes)
    spawn = multiprocessing.get_context("spawn")
    ready = [spawn.Event() for _ in range(1, t.processes)]
    with tempfile.TemporaryDirectory(prefix="ecgveil-") as private:
        meeting = Path(private) / "meeting"
        asked = folder.path, meeting, each, _shared(data.tensor), data.conditions, people, start
        helpers = [
            spawn.Process(target=_help, args=(rank, event, *asked), daemon=True) for rank, event in enumerate(ready, 1)
        ]
        try:
            with _by_themselves():
                for helper in helpers:
                    helper.start()
            for helper, event in zip(helpers, ready, strict=True):
                while not event.wait(0.2):
                    if helper.exitcode is not None:
                        raise RuntimeError
            torch.set_num_threads(each)
            yield _joined(0, t.processes, t.precision, meeting)
            for helper in helpers:
                helper.join(_PATIENCE)
        except RuntimeError as error:
            for helper in helpers:
                helper.join(1)
            codes = [helper.exitcode for helper in helpers if helper.exitcode]
            if not codes:
                raise
            why = "was killed, perhaps for want of memory" if min(codes) < 0 else "has failed"
            raise RunError(
                f"{folder.path}: a process that helped to train {why}; the same command with --resume goes on from the "
                "last checkpoint; fewer training.processes need another folder"
            ) from error
        finally:
            for helper in helpers:
                if helper.pid is not None:
                    helper.kill()
                    helper.join()
            if distributed.is_initialized():
                distributed.destroy_process_group()
            torch.set_num_threads(threads)


@contextmanager
def _by_themselves() -> Iterator[None]:
    """Processes begun here run nothing of the caller's program, and are deaf to who asks that to stop."""
    asked_to_stop = {signal.SIGINT, signal.SIGTERM}
    before, main = signal.pthread_sigmask(signal.SIG_BLOCK, asked_to_stop), sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # of which spawn finds no file to run again
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shared(windows: torch.Tensor) -> torch.Tensor:
    """The same, in memory that several processes read."""
    try:
        return windows.share_memory_()
    except RuntimeError as error:
        megabytes = windows.nbytes >> 20
        raise RunError(
            f"processes cannot share {megabytes} MB of windows in memory: give the machine more of it, /dev/shm, "
            "or set training.processes to 1"
        ) from error


def _help(
    rank: int,
    ready: Any,
    path: Path,
    meeting: Path,
    threads: int,
    windows: torch.Tensor,
    conditions: Any,
    people: Sequence[str],
    start: int,
) -> None:
    """What a helper does all its life."""
    threading.Thread(target=_leave_with_who_asked, daemon=True).start()
    torch.set_num_threads(threads)
    folder, data = RunFolder(path), Windows(windows, conditions)
    seed, t = folder.provenance["seed"], folder.recipe.training
    players = Players.saved(folder, seed)
    ready.set()
    fabric = _joined(rank, t.processes, t.precision, meeting)
    advance, step = Step(players, data, people, folder.recipe, seed, fabric), start
    while fabric.broadcast(False):
        advance(step)
        step += 1
    distributed.destroy_process_group()


def _leave_with_who_asked() -> None:
    """End this process, whatever it waits for, as soon as its parent has ended."""
    asker = multiprocessing.parent_process()
    if asker is not None:
        connection.wait([asker.sentinel])
        os._exit(1)


def _joined(rank: int, size: int, precision: str, meeting: Path) -> Fabric:
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    store = distributed.FileStore(str(meeting), size)
    with _this_machine_only():
        backend = "nccl" if accelerator == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_LONGEST)
    fabric = Fabric(
        accelerator=accelerator,
        strategy=DDPStrategy(cluster_environment=_Place(rank, size)),
        devices=size,
        precision=_PRECISION[precision],
    )
    fabric.launch()
    return fabric


@contextmanager
def _this_machine_only() -> Iterator[None]:
    """Processes that meet do so through the machine itself, unless the environment says otherwise."""
    name = "GLOO_SOCKET_IFNAME"
    known = name in os.environ
    os.environ.setdefault(name, "lo0" if sys.platform == "darwin" else "lo")
    try:
        yield
    finally:
        if not known:
            del os.environ[name]


class _Place(ClusterEnvironment):
    """Which of the processes of one machine this is; they are started and have met already."""

    def __init__(self, rank: int, size: int):
        super().__init__()
        self._rank, self._size = rank, size

    creates_processes_externally = True
    main_address, main_port = "127.0.0.1", 0  # nobody is met there

    @staticmethod
    def detect() -> bool:
        return False

    def world_size(self) -> int:
        return self._size

    def set_world_size(self, size: int) -> None:
        pass

    def global_rank(self) -> int:
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        pass

    def local_rank(self) -> int:
        return self._rank

    def node_rank(self) -> int:
        return 0
