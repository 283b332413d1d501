"""A pool of threads with results in order and few items in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # items for each worker whose results were not taken yet


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], workers: int
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Yield each item, in order, with a function that returns its result or raises its error.

    Threads are enough, as torch, OpenCV and Pillow release Python's lock while they compute, and
    threads share the weights. At most ``AHEAD`` times ``workers`` results wait to be taken, so a
    slow item does not make the others pile up behind it.

    An error in drawing an item is raised after the results of the items before it.

    With one worker, ``work`` is called in the caller's thread, when the result is asked for.
    """
    if workers == 1:
        for item in items:
            yield item, lambda item=item: work(item)  # type: ignore[misc]
        return
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="photo")
    drawn = iter(items)
    try:
        while True:
            try:
                item = next(drawn)
            except Exception as error:  # StopIteration, if all goes well
                end = error
                break
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result
        if not isinstance(end, StopIteration):
            raise end
    finally:
        # A caller that stops early (an error, Ctrl-C) waits for the running items only.
        pool.shutdown(cancel_futures=True)
