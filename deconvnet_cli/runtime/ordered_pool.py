"""Work on many items side by side, results in order, never many at a time in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # items a worker, begun or done, whose results were not taken yet


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], workers: int
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Each item, in order, with a function that gives its result or raises its error.

    Threads are enough, as torch, OpenCV and Pillow release Python's lock while they compute, and
    they share the weights. An item is begun only while fewer than ``AHEAD`` times ``workers`` are
    waiting to be taken: however slow one of them is, the others do not pile up behind it.

    Args:
        work: called in a thread; with one worker in this one, when the result is asked for.
        workers: how many items are worked on at a time.
    """
    if workers == 1:
        for item in items:
            yield item, lambda item=item: work(item)  # type: ignore[misc]
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result
    finally:
        # Whoever stops early (an error, Ctrl-C) waits for what is being worked on, no more.
        pool.shutdown(cancel_futures=True)
