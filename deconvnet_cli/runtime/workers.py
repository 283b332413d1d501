"""Worker processes: items side by side, and one that dies costs at most the item it had."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, Generic

from deconvnet_cli.errors import CrashError, DeconvnetError
from deconvnet_cli.runtime.worker_process import (
    BROKEN,
    DIED,
    PATIENCE,
    READY,
    Item,
    Result,
    Task,
    Work,
    Worker,
    kill,
)

TRIES = 2  # workers that an item may kill before it has failed
FALSE_STARTS = 3  # workers in a row that may die before they are ready
POLL = 0.2  # seconds between two looks at whether to stop


class _Source(Generic[Item]):
    """What is to be done: items, and before them those whose worker died."""

    def __init__(self, items: Iterable[Item | None]) -> None:
        self.items = iter(items)
        self.again: deque[Task[Item]] = deque()
        self.more = True

    def take(self) -> Task[Item] | None:
        """The next task; None if there is none, for now or (``empty``) for good."""
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
    """Workers that are begun as they are needed."""

    def __init__(self, begin: Callable[[], Work[Item, Result]]) -> None:
        self.begin = begin
        self.workers: list[Worker[Item, Result]] = []
        self.false_starts = 0

    @property
    def busy(self) -> list[Worker[Item, Result]]:
        return [worker for worker in self.workers if worker.task]

    def give(self, task: Task[Item]) -> bool:
        """Whether a worker took the task. If not, it was dead; another one may take it.

        Raises:
            CrashError: several workers in a row were not even ready.
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
            self._lose(worker, "did not take what it was given")
            return False
        return True

    def answers(self) -> Iterator[tuple[Task[Item], int, Any]]:
        """Tasks of which something is heard within ``POLL`` seconds, and that.

        Raises:
            DeconvnetError: a worker cannot begin, or several in a row were not even ready.
        """
        pipes = {worker.pipe: worker for worker in self.busy}
        if not pipes:
            time.sleep(POLL)
            return
        for pipe in wait(list(pipes), POLL):
            worker = pipes[pipe]
            task = worker.task
            said, value = worker.answer()
            if said == READY or task is None:
                self.false_starts = 0
                continue
            if said == BROKEN:
                raise value
            if said == DIED:
                self._lose(worker, value)
                task.deaths += worker.ready
            yield task, said, value

    def end(self) -> None:
        """End all workers; what busy ones were working on is lost."""
        for worker in self.workers:
            worker.dismiss()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            kill(worker.process)

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
) -> Iterator[tuple[Item, Result | DeconvnetError]]:
    """Each item with its result, or with the error that it failed with, as they are done.

    An item is taken when a worker is free for it and no sooner. If its worker dies, or has run
    out of memory (MemoryError), it is tried once more in another, and has then failed with a
    CrashError.

    Args:
        items: None among them says that there is nothing to do for now.
        begin: called once in each worker process; returns what works on an item there. It and
            the items are pickled.
        stop: asked all the while; once true no further item is begun, and those that are come out.

    Raises:
        DeconvnetError: of ``begin``; a CrashError if workers die before they work at all.
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
            for task, said, value in team.answers():
                if said != DIED:
                    yield task.item, value
                elif task.deaths < TRIES:
                    source.again.append(task)
                else:
                    yield task.item, CrashError(f"its worker process {value}, twice")
    finally:
        team.end()
