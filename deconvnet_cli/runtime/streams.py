"""Prepare the standard streams, so that a result which cannot be written is one error.

Who writes to standard output need not look: this package, click with its help, and rich all write
through :class:`StandardOutput`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, TextIO

from deconvnet_cli.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardOutput(io.FileIO):
    """A file whose writing fails with an error of this package, once."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write bytes.

        Raises:
            OutputError: The file is closed or cannot be written, as on a full disk.
            BrokenPipeError: The reader has gone.
        """
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            # Python would fail again when it flushes the rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if error.errno == errno.EBADF:
                remedy = "is closed; send it to a file or to /dev/null"
            else:
                remedy = f"cannot be written ({error.strerror})"
            raise OutputError(f"standard output: {remedy}") from error


def prepare_streams() -> None:
    """Make standard output one that says if it cannot be written, and open closed streams.

    Closed streams (``>&-``) are opened on nothing, so that no other file gets their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # open takes the lowest free number; results need a file that refuses them
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None or not sys.stdout.isatty():  # a terminal is never full
        sys.stdout = output_to(1, sys.stdout)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def output_to(number: int, like: TextIO | None) -> io.TextIOWrapper:
    """Return a text file that writes to an open file through :class:`StandardOutput`.

    It has the encoding of ``like``, by default UTF-8.
    """
    return io.TextIOWrapper(
        io.BufferedWriter(StandardOutput(number, "wb", closefd=False)),
        encoding=like.encoding if like else "utf-8",
        errors=like.errors if like else "backslashreplace",
        line_buffering=bool(like and like.line_buffering),
    )
