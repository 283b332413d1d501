"""A worker process: how it starts, gets items, answers and ends.

Workers are processes and not threads, since a crashing decoder or a lack of memory ends a whole
process. It is then one worker that ends, and not the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

from deconvnet_cli.errors import CrashError, DeconvnetError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Result]
PATIENCE = 5.0  # seconds for an idle worker to end by itself
READY, DONE, ERROR, BROKEN, DIED = range(5)  # kinds of answers of a worker
NO_MEMORY = "ran out of memory"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Workers are forked from a server that has already imported torch. So they start at once, and no
# thread of this process is forked in the middle of its work.
METHOD = "spawn" if sys.platform in ("win32", "darwin") else "forkserver"
CONTEXT: Any = multiprocessing.get_context(METHOD)


def prepare_workers(module: str) -> None:
    """Start to import ``module`` once for all later workers, without waiting for it.

    Raises:
        CrashError: No process can be started.
    """
    if METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    CONTEXT.set_forkserver_preload([module])
    try:
        with signals_held():
            forkserver.ensure_running()
    except OSError as error:
        remedy = "; set TMPDIR to a folder with a shorter path" if "too long" in str(error) else ""
        raise CrashError(f"no worker process can be started ({error}){remedy}") from error


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM, also from the processes that are started meanwhile.

    A terminal sends Ctrl-C to all processes, and a cluster SIGTERM. Only the parent may decide
    when workers end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # this unblocks signals when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Task(Generic[Item]):
    """An item, and the number of workers that died while they had it."""

    item: Item
    deaths: int = 0


class Worker(Generic[Item, Result]):
    """A process that works on one item at a time.

    Raises:
        OSError, EOFError: The process cannot be started.
    """

    def __init__(self, begin: Callable[[], Work[Item, Result]]) -> None:
        self.task: Task[Item] | None = None
        self.ready = False
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=serve, args=(theirs, begin), daemon=True)
        try:
            with signals_held():
                self.process.start()
                # However this process ends, its exit must not wait for a busy worker.
                Finalize(self, kill, (self.process,), exitpriority=1)
        finally:
            theirs.close()  # so that the pipe closes when the process ends

    def give(self, task: Task[Item]) -> bool:
        """Send a task; return whether the worker was alive to take it."""
        try:
            self.pipe.send(task.item)
        except OSError:
            return False
        self.task = task
        return True

    def answer(self) -> tuple[int, Any]:
        """Return the kind and value of the next answer; ``DIED`` and the cause if it is dead."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(PATIENCE)
            return DIED, how_it_ended(self.process.exitcode)
        if kind in (DONE, ERROR):
            self.task = None
        self.ready = self.ready or kind == READY
        return kind, value

    def dismiss(self) -> None:
        """End the worker: by itself if it is idle, otherwise at once."""
        self.pipe.close()
        if self.task is not None:
            kill(self.process)


def end_all(workers: Iterable[Worker[Any, Any]]) -> None:
    """End workers: idle ones by themselves, busy ones at once, and after a while by force."""
    team = list(workers)
    for worker in team:
        worker.dismiss()
    for worker in team:
        worker.process.join(PATIENCE)
        kill(worker.process)


def how_it_ended(code: int | None) -> str:
    """Return the exit code of a process in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    name = names.get(-code, f"signal {-code}")
    return f"was killed by {name}" + (" (too little memory?)" if name == "SIGKILL" else "")


def kill(process: Any) -> None:
    """Kill a process if it still runs."""
    if process.is_alive():
        process.kill()
        process.join()


def serve(pipe: Connection, begin: Callable[[], Work[Any, Any]]) -> None:
    """Work on one item after another until the pipe is closed; this runs in the worker."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # see signals_held
    end_with_parent()
    for answer in answers(pipe, begin):
        try:
            pipe.send(answer)
        except ConnectionError:  # the parent is gone
            return


def answers(pipe: Connection, begin: Callable[[], Work[Any, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield the kind and value of each answer of a worker."""
    try:
        work = begin()
    except DeconvnetError as error:
        yield BROKEN, error
        return
    except MemoryError:
        yield DIED, NO_MEMORY
        return
    yield READY, None
    while True:
        try:
            item = pipe.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer = DONE, work(item)
        except DeconvnetError as error:
            answer = ERROR, error
        except MemoryError:  # this process may be the cause, so another one retries
            yield DIED, NO_MEMORY
            return
        yield answer


def end_with_parent() -> None:
    """Let this process end as soon as its parent does, even if the parent is killed."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
