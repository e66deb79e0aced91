"""Work side by side: in order, few at a time, and nothing left changed."""

import threading
import time

import pytest
import torch

from ecgveil.threads import side_by_side


def test_results_come_in_order_whichever_is_done_first():
    def work(k):
        time.sleep(0.02 * (k % 3))
        return k, threading.current_thread() is threading.main_thread(), torch.get_num_threads()

    assert list(side_by_side(work, range(12))) == [(k, False, 1) for k in range(12)]


def test_no_more_is_taken_than_is_at_work():
    taken = []

    def items():
        for k in range(1000):
            taken.append(k)
            yield k

    results = side_by_side(lambda k: k, items())
    assert next(results) == 0
    assert len(taken) < 200  # cores and one
    results.close()


def test_an_error_ends_it_and_torch_has_its_threads_again():
    before = torch.get_num_threads()

    def work(k):
        if k == 3:
            raise ValueError("the fourth")
        return k

    with pytest.raises(ValueError, match="the fourth"):
        list(side_by_side(work, range(100)))
    assert torch.get_num_threads() == before
