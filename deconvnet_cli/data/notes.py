"""One line on standard error about a photo that is read otherwise than its owner may expect."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

from deconvnet_cli.errors import printable

LOGGER = logging.getLogger("deconvnet")
_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


class _StandardError(logging.Handler):
    """A handler that writes to the standard error of the moment, which tests and bars replace.

    In a program that logs, such as the server, the handlers of its root logger write instead.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None and not logging.root.handlers:
            print(f"deconvnet: {record.getMessage()}", file=sys.stderr)


LOGGER.addHandler(_StandardError())


def note(message: str) -> None:
    """Write a message as one line, or give it to the block that collects notes."""
    notes = _collected.get()
    if notes is None:
        write_once(message)
    else:
        notes.append(message)


@lru_cache(maxsize=4096)
def write_once(message: str) -> None:
    """Write a message as one line, once in a process: training reads a photo many times."""
    LOGGER.warning("%s", printable(message))


@contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the notes of the block in this list instead of writing them."""
    notes: list[str] = []
    token = _collected.set(notes)
    try:
        yield notes
    finally:
        _collected.reset(token)
