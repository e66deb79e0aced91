"""Work on many things at once, on all cores, with results in order and no more in memory than there are cores."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Done = TypeVar("Done")

_lock = threading.Lock()
_at_work = 0  # iterators that are open
_before: Any = None  # threads of torch and limits of BLAS, as the first of them found them


def side_by_side(work: Callable[[Item], Done], items: Iterable[Item]) -> Iterator[Done]:
    """What `work` makes of each item, in order.

    `work` is called in threads of their own, as many as there are cores. Each has one thread of torch and of BLAS, as
    threads within these threads would be in each other's way. Until the last of them has ended, or the iterator is
    closed, so have all other threads one of BLAS, and those that begin meanwhile one of torch.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with _one_thread_each(), ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[Done]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > cores:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The last to leave puts back what the first to come found: several iterators may be open at a time."""
    global _at_work, _before
    with _lock:
        if not _at_work:
            _before = torch.get_num_threads(), threadpool_limits(1, user_api="blas")
        _at_work += 1
    try:
        yield
    finally:
        with _lock:
            _at_work -= 1
            if not _at_work:
                threads, limits = _before
                limits.restore_original_limits()
                torch.set_num_threads(threads)
