"""Work side by side: in order, few at a time, and nothing left changed."""

import threading
import time

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from ecgveil.threads import side_by_side


def blas():
    return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threadpool_limits(2, user_api="blas"):
        yield
        assert torch.get_num_threads() == 2
        assert blas() == {2}
    torch.set_num_threads(before)


def test_results_come_in_order_whichever_is_done_first():
    def work(k):
        time.sleep(0.02 * (k % 3))
        return k, threading.current_thread() is threading.main_thread(), torch.get_num_threads(), blas()

    assert list(side_by_side(work, range(12))) == [(k, False, 1, {1}) for k in range(12)]


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


def test_an_error_ends_it():
    def work(k):
        if k == 3:
            raise ValueError("the fourth")
        return k

    with pytest.raises(ValueError, match="the fourth"):
        list(side_by_side(work, range(100)))


def test_several_may_be_open_and_end_in_any_order():
    one, two = (side_by_side(lambda k: blas(), range(50)) for _ in range(2))
    assert next(one) == next(two) == {1}
    one.close()
    assert blas() == {1}  # the other is at work still
    assert list(two) == [{1}] * 49
