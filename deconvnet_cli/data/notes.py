"""One line on standard error about a photo that is read otherwise than its owner may expect."""

from __future__ import annotations

import logging
import sys
from functools import lru_cache

from deconvnet_cli.errors import printable

LOGGER = logging.getLogger("deconvnet")


class _StandardError(logging.Handler):
    """A handler that writes to the standard error of the moment, which tests and bars replace."""

    def emit(self, record: logging.LogRecord) -> None:
        if sys.stderr is not None:
            print(f"deconvnet: {record.getMessage()}", file=sys.stderr)


LOGGER.addHandler(_StandardError())
LOGGER.propagate = False


@lru_cache(maxsize=4096)
def note(message: str) -> None:
    """Write a message as one line, once in a process: training reads a photo many times."""
    LOGGER.warning("%s", printable(message))
