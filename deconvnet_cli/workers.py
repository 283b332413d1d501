"""Worker processes: items side by side, and one that dies costs at most the item it had.

Processes and not threads, since a decoder that crashes or a machine that runs out of memory ends
a whole process: here one worker, which is started again while the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from deconvnet_cli.errors import CrashError, DeconvnetError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]
TRIES = 2  # workers that an item may kill before it has failed
FALSE_STARTS = 3  # workers that may die before they take an item
POLL = 0.2  # seconds between two looks at whether to stop
PATIENCE = 5.0  # seconds for an idle worker to end by itself
READY, DONE, ERROR, BROKEN, DIED = range(5)  # what is heard of a worker
# Forked from a server that has imported torch already, and nothing else: a worker starts at once,
# and no thread of this process is forked in the middle of something.
METHOD = "spawn" if sys.platform in ("win32", "darwin") else "forkserver"
CONTEXT: Any = multiprocessing.get_context(METHOD)


def prepare_workers(module: str) -> None:
    """Begin to import ``module``, once for all workers to come, while this process goes on."""
    if METHOD == "forkserver":
        from multiprocessing import forkserver

        CONTEXT.set_forkserver_preload([module])
        forkserver.ensure_running()


@dataclass
class _Task(Generic[Item]):
    item: Item
    deaths: int = 0  # of workers that had it


class _Source(Generic[Item]):
    """What is to be done: items, and before them those whose worker died."""

    def __init__(self, items: Iterable[Item | None]) -> None:
        self.items = iter(items)
        self.again: deque[_Task[Item]] = deque()
        self.more = True

    def take(self) -> _Task[Item] | None:
        """The next task; None if there is none, for now or (``empty``) for good."""
        if self.again:
            return self.again.popleft()
        for item in self.items:
            return None if item is None else _Task(item)
        self.more = False
        return None

    @property
    def empty(self) -> bool:
        return not (self.more or self.again)


class _Worker(Generic[Item, Result]):
    """A process that works on one item at a time."""

    def __init__(self, begin: Callable[[], Work[Item, Result]]) -> None:
        self.task: _Task[Item] | None = None
        self.ready = False
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs, begin), daemon=True)
        self.process.start()
        theirs.close()  # so that the pipe ends when the process does

    def give(self, task: _Task[Item]) -> bool:
        """Whether the worker was alive to take it."""
        try:
            self.pipe.send(task.item)
        except OSError:
            return False
        self.task = task
        return True

    def answer(self) -> tuple[int, Any]:
        """What it says; ``DIED`` and how, if it no longer does."""
        try:
            said, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            return DIED, how_it_ended(self.process.exitcode)
        if said in (DONE, ERROR):
            self.task = None
        self.ready = True
        return said, value

    def end(self) -> None:
        """End the process: by itself if it is idle, else at once."""
        self.pipe.close()
        if self.task is None:
            self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def side_by_side(
    items: Iterable[Item | None],
    begin: Callable[[], Work[Item, Result]],
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Item, Result | DeconvnetError]]:
    """Each item with its result, or with the error that it failed with, as they are done.

    An item is taken when a worker is free for it and no sooner. If its worker dies it is tried
    once more in another, and has then failed with a CrashError.

    Args:
        items: None among them says that there is nothing to do for now.
        begin: called once in each worker process; returns what works on an item there. It and
            the items are pickled.
        stop: asked all the while; once true no further item is begun, and those that are come out.

    Raises:
        DeconvnetError: of ``begin``; or workers die before they work at all.
    """
    source = _Source(items)
    team: list[_Worker[Item, Result]] = []
    false_starts = 0
    try:
        while True:
            busy = [worker for worker in team if worker.task]
            while len(busy) < workers and not stop() and (next_task := source.take()):
                idle = [worker for worker in team if not worker.task]
                worker = idle[0] if idle else _Worker(begin)
                if worker.give(next_task):
                    busy.append(worker)
                else:
                    source.again.append(next_task)
                    worker.end()
                team = [*busy, *(other for other in idle if other is not worker)]
            if not busy and (stop() or source.empty):
                return
            heard = wait([worker.pipe for worker in busy], POLL)
            for worker in [worker for worker in busy if worker.pipe in heard]:
                task, was_ready = worker.task, worker.ready
                said, value = worker.answer()
                if task is None or said == READY:
                    continue
                if said == BROKEN:
                    raise value
                if said != DIED:
                    yield task.item, value
                    continue
                team.remove(worker)
                worker.end()
                false_starts += not was_ready
                if false_starts == FALSE_STARTS:
                    raise CrashError(f"workers die as they start: the last one {value}")
                task.deaths += was_ready
                if task.deaths == TRIES:
                    yield task.item, CrashError(f"its worker process {value}, twice")
                else:
                    source.again.append(task)
    finally:
        for worker in team:
            worker.end()


def how_it_ended(code: int | None) -> str:
    """The exit code of a process in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + (" (too little memory?)" if name == "SIGKILL" else "")


def _serve(pipe: Connection, begin: Callable[[], Work[Any, Any]]) -> None:
    """What a worker process does: work on one item after another until the pipe is closed."""
    # A terminal sends Ctrl-C to all processes, a cluster SIGTERM: the parent says when to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work = begin()
    except DeconvnetError as error:
        pipe.send((BROKEN, error))
        return
    pipe.send((READY, None))
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = DONE, work(item)
        except DeconvnetError as error:
            answer = ERROR, error
        pipe.send(answer)


def _end_with_parent() -> None:
    """A worker whose parent was killed must not go on by itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
