"""One worker process: how it is begun, given items, heard and ended.

Processes and not threads, since a decoder that crashes or a machine that runs out of memory ends
a whole process: here one worker, and not the run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
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
READY, DONE, ERROR, BROKEN, DIED = range(5)  # what is heard of a worker
NO_MEMORY = "ran out of memory"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Forked from a server that has imported torch already, and nothing else: a worker starts at once,
# and no thread of this process is forked in the middle of something.
METHOD = "spawn" if sys.platform in ("win32", "darwin") else "forkserver"
CONTEXT: Any = multiprocessing.get_context(METHOD)


def prepare_workers(module: str) -> None:
    """Begin to import ``module``, once for all workers to come, while this process goes on.

    Raises:
        CrashError: no process can be started.
    """
    if METHOD != "forkserver":
        return
    from multiprocessing import forkserver

    CONTEXT.set_forkserver_preload([module])
    try:
        with signals_held():
            forkserver.ensure_running()
    except OSError as error:
        raise CrashError(f"no worker process can be started ({error})") from error


@contextmanager
def signals_held() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until the end, and never reach a process that is begun meanwhile.

    A terminal sends Ctrl-C to all processes, a cluster SIGTERM: it is for the parent alone to
    say when workers end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which lets signals in when it begins
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass
class Task(Generic[Item]):
    item: Item
    deaths: int = 0  # of workers that had it


class Worker(Generic[Item, Result]):
    """A process that works on one item at a time.

    Raises:
        OSError, EOFError: it cannot be started.
    """

    def __init__(self, begin: Callable[[], Work[Item, Result]]) -> None:
        self.task: Task[Item] | None = None
        self.ready = False
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=serve, args=(theirs, begin), daemon=True)
        try:
            with signals_held():
                self.process.start()
                # However this process ends, it must not wait at its exit for one that works on.
                Finalize(self, kill, (self.process,), exitpriority=1)
        finally:
            theirs.close()  # so that the pipe ends when the process does

    def give(self, task: Task[Item]) -> bool:
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
            self.process.join(PATIENCE)
            return DIED, how_it_ended(self.process.exitcode)
        if said in (DONE, ERROR):
            self.task = None
        self.ready = self.ready or said == READY
        return said, value

    def dismiss(self) -> None:
        """Let it end: by itself if it is idle, else at once."""
        self.pipe.close()
        if self.task is not None:
            kill(self.process)


def how_it_ended(code: int | None) -> str:
    """The exit code of a process in words."""
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"was killed by {name}" + (" (too little memory?)" if name == "SIGKILL" else "")


def kill(process: Any) -> None:
    """End a process at once, if it still runs."""
    if process.is_alive():
        process.kill()
        process.join()


def serve(pipe: Connection, begin: Callable[[], Work[Any, Any]]) -> None:
    """What a worker process does: work on one item after another until the pipe is closed."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # see signals_held
    threading.Thread(target=end_with_parent, daemon=True).start()
    for answer in answers(pipe, begin):
        try:
            pipe.send(answer)
        except ConnectionError:  # nobody listens any more
            return


def answers(pipe: Connection, begin: Callable[[], Work[Any, Any]]) -> Iterator[tuple[int, Any]]:
    """What it has to say."""
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
        except MemoryError:  # this process may be the reason: the next try is in another
            yield DIED, NO_MEMORY
            return
        yield answer


def end_with_parent() -> None:
    """A worker whose parent was killed must not go on by itself."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
