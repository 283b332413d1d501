"""Ctrl-C and SIGTERM: the first asks a run to finish what it is doing, the second ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that is no longer empty once the run was asked to stop: Ctrl-C or SIGTERM.

    Whoever works looks at it between two pieces of work; a second signal raises
    KeyboardInterrupt wherever the run is. For the main thread only.
    """
    seen: list[int] = []

    def note(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
