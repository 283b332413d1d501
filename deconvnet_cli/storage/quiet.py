"""Ignore Python's warnings for a while, in several threads at once."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


class _Quiet:
    """The number of threads that ignore warnings, and the filters from before the first of them.

    ``warnings.catch_warnings`` is for one thread: of two that overlap, the last one to leave
    restores what the first one had set, and the filters stay switched off.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.saved = ExitStack()


_quiet = _Quiet()


def _begin_anew() -> None:
    """Forget the threads of the parent in a process that was forked while one was inside."""
    global _quiet
    _quiet.saved.close()
    _quiet = _Quiet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def warnings_ignored() -> Iterator[None]:
    """Ignore the warnings of the block, of whatever kind, and those of other threads meanwhile."""
    quiet = _quiet
    with quiet.lock:
        if not quiet.inside:
            quiet.saved.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        quiet.inside += 1
    try:
        yield
    finally:
        if quiet is _quiet:  # or the process was forked in the block
            with quiet.lock:
                quiet.inside -= 1
                if not quiet.inside:
                    quiet.saved.close()
