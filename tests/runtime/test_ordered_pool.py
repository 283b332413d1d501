"""Items side by side: order, bounds, errors and stopping early."""

from __future__ import annotations

import threading
import time

import pytest

from deconvnet_cli.runtime.ordered_pool import AHEAD, in_order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order(workers):
    def work(number: int) -> int:
        time.sleep(0.01 * (number % 3 == 0))  # the first is the slowest
        return number * number

    found = [(item, result()) for item, result in in_order(range(20), work, workers)]
    assert found == [(number, number * number) for number in range(20)]


def test_workers_work_at_the_same_time():
    both = threading.Barrier(2, timeout=10)  # passes only if two threads wait at once
    results = [result() for _, result in in_order(range(4), lambda _: both.wait() >= 0, 2)]
    assert results == [True] * 4


def test_a_slow_item_does_not_let_the_others_pile_up():
    begun = []
    gate = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            gate.wait(10)

    taken = in_order(range(100), work, 3)
    _, first = next(taken)
    time.sleep(0.2)
    assert len(begun) <= AHEAD * 3
    gate.set()
    first()
    assert sum(1 for _ in taken) == 99


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_is_its_items_alone(workers):
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    for item, result in in_order(range(5), work, workers):
        if item == 2:
            with pytest.raises(ValueError, match="two"):
                result()
        else:
            assert result() == item


def test_stopping_early_begins_nothing_more():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    taken = in_order(range(1000), work, 2)
    for item, result in taken:
        result()
        if item == 3:
            break
    taken.close()
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) == count < 20


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_in_drawing_an_item_comes_after_the_results_before_it(workers):
    def items():
        yield from range(4)
        raise KeyError("the caller's own")

    found = []
    with pytest.raises(KeyError, match="the caller's own"):
        for _, result in in_order(items(), abs, workers):
            found.append(result())
    assert found == [0, 1, 2, 3]
