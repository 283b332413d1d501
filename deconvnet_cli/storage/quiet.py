"""Ignore Python's warnings for a while, in several threads at once."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Quiet:
    """The filters of the process as they were before the first thread ignored warnings.

    ``warnings.catch_warnings`` is for one thread: of two that overlap, the last one to leave
    restores what the first one had set, and the filters stay switched off.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.saved: Any = None

    def enter(self) -> None:
        """Ignore all warnings, and save the filters for the first one who does so."""
        with self.lock:
            if not self.inside:
                self.saved = warnings.catch_warnings()
                self.saved.__enter__()
                warnings.simplefilter("ignore")
            self.inside += 1

    def leave(self) -> None:
        """Restore the filters with the last one who leaves."""
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.saved.__exit__(None, None, None)


_QUIET = _Quiet()


def _begin_anew() -> None:
    """Forget the threads of the parent in a process that was forked while one was inside."""
    if _QUIET.inside:
        _QUIET.saved.__exit__(None, None, None)
    _QUIET.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Ignore the warnings of the block, of whatever kind, and those of other threads meanwhile."""
    _QUIET.enter()
    try:
        yield
    finally:
        _QUIET.leave()
