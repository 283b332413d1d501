"""A team of worker processes; one that dies costs at most its current item."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, Generic

from deconvnet_cli.errors import CrashError, DeconvnetError
from deconvnet_cli.runtime.worker_process import (
    BROKEN,
    DIED,
    READY,
    Item,
    Result,
    Task,
    Work,
    Worker,
    end_all,
)

TRIES = 2  # workers that an item may kill before it counts as failed
FALSE_STARTS = 3  # workers in a row that may die before they are ready
POLL = 0.2  # seconds between two checks whether to stop


class _Source(Generic[Item]):
    """The open tasks: first those whose worker died, then the next items."""

    def __init__(self, items: Iterable[Item | None]) -> None:
        self.items = iter(items)
        self.again: deque[Task[Item]] = deque()
        self.more = True

    def take(self) -> Task[Item] | None:
        """Return the next task, or None if there is no task now or (if ``empty``) ever."""
        if self.again:
            return self.again.popleft()
        for item in self.items:
            return None if item is None else Task(item)
        self.more = False
        return None

    @property
    def empty(self) -> bool:
        return not (self.more or self.again)


class _Team(Generic[Item, Result]):
    """A team of workers that are started when they are needed."""

    def __init__(self, begin: Callable[[], Work[Item, Result]]) -> None:
        self.begin = begin
        self.workers: list[Worker[Item, Result]] = []
        self.false_starts = 0

    @property
    def busy(self) -> list[Worker[Item, Result]]:
        return [worker for worker in self.workers if worker.task]

    def give(self, task: Task[Item]) -> bool:
        """Give a task to a worker; return False if that one was dead and another must take it.

        Raises:
            CrashError: Several workers in a row died before they were ready.
        """
        worker = next((worker for worker in self.workers if not worker.task), None)
        if worker is None:
            try:
                worker = Worker(self.begin)
            except (OSError, EOFError) as error:
                self._false_start(f"could not be made ({error or 'no answer'})")
                return False
            self.workers.append(worker)
        if not worker.give(task):
            self._lose(worker, "did not take its task")
            return False
        return True

    def answers(self) -> Iterator[tuple[Task[Item], int, Any]]:
        """Yield each task that is answered within ``POLL`` seconds, with the kind and value.

        Raises:
            DeconvnetError: A worker cannot begin, or several in a row died before they were ready.
        """
        pipes = {worker.pipe: worker for worker in self.busy}
        if not pipes:
            time.sleep(POLL)
            return
        for pipe in wait(list(pipes), POLL):
            worker = pipes[pipe]
            task = worker.task
            kind, value = worker.answer()
            if kind == READY or task is None:
                self.false_starts = 0
                continue
            if kind == BROKEN:
                raise value
            if kind == DIED:
                self._lose(worker, value)
                task.deaths += worker.ready
            yield task, kind, value

    def _lose(self, worker: Worker[Item, Result], how: str) -> None:
        self.workers.remove(worker)
        worker.dismiss()
        if not worker.ready:
            self._false_start(how)

    def _false_start(self, how: str) -> None:
        self.false_starts += 1
        if self.false_starts == FALSE_STARTS:
            raise CrashError(f"worker processes die as they start: the last one {how}")


def side_by_side(
    items: Iterable[Item | None],
    begin: Callable[[], Work[Item, Result]],
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[Item, Result | DeconvnetError], None, None]:
    """Yield each item with its result or its error, in the order in which they finish.

    An item is taken only when a worker is free. If the worker dies or runs out of memory
    (MemoryError), another worker tries the item once more, which then fails with a CrashError.

    Args:
        items: The items; None means that there is nothing to do for now.
        begin: The function that is called once in each worker process and returns the function
            for items. It and the items are pickled.
        stop: The function that is asked repeatedly whether to stop. Once it returns True, no
            further item is started; the running ones are still yielded.

    Raises:
        DeconvnetError: The error that ``begin`` raised.
        CrashError: Workers die before they are ready.
    """
    source = _Source(items)
    team: _Team[Item, Result] = _Team(begin)
    try:
        while True:
            while len(team.busy) < workers and not stop() and (next_task := source.take()):
                if not team.give(next_task):
                    source.again.append(next_task)
            if not team.busy and (stop() or source.empty):
                return
            for task, kind, value in team.answers():
                if kind != DIED:
                    yield task.item, value
                elif task.deaths < TRIES:
                    source.again.append(task)
                else:
                    yield task.item, CrashError(f"its worker process {value}, twice")
    finally:
        end_all(team.workers)
