"""Every error that this package raises on purpose.

    DeconvnetError                 exit 1
    ├── UsageError                 exit 2   options that do not fit together
    ├── ImageError                 exit 1   a photo or label PNG that cannot be read
    ├── OutputError                exit 1   a file that cannot be written
    │   └── DiskFullError          exit 1   there is no room for it, nor for the next one
    ├── BusyError                  exit 1   another run is writing to the same folder
    ├── CrashError                 exit 1   a worker process that died
    ├── DatasetError               exit 1   a VOC tree with something missing or wrong
    ├── WeightsError               exit 1   a weights file that cannot be used
    │   └── ChecksumError          exit 1   its SHA-256 is not the expected one
    ├── DependencyError            exit 1   an optional or wrongly installed package
    └── DeviceError                exit 1   a device that this machine does not have

A message is one line: what is wrong, with which file, and what to do about it. It stays one line
whatever the file is called, and whatever the library says that the message quotes.
Only ``cli.py`` turns these into text and exit codes.
"""

from __future__ import annotations

LONGEST = 10_000  # characters of a message: over twice the longest path
SHOWN_END = 500  # of a longer message, where the remedy stands


def printable(text: str) -> str:
    """The text as one line that a terminal can show and that cannot change how it shows others.

    Line breaks, control characters, marks that turn the direction of writing and bytes of names
    that are not UTF-8 become escapes of Python: ``\\n``, ``\\x1b``, ``\\u202e``, ``\\udcff``.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - SHOWN_END]} ... {text[-SHOWN_END:]}"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class DeconvnetError(Exception):
    """Base of all errors of this package."""

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(DeconvnetError):
    """Options or arguments that do not fit together."""

    exit_code = 2


class ImageError(DeconvnetError):
    """A photo or label PNG that cannot be read."""


class OutputError(DeconvnetError):
    """A file or folder that cannot be written."""


class DiskFullError(OutputError):
    """No room is left, so that no further file can be written either."""


class BusyError(DeconvnetError):
    """Another run is writing to the same output folder."""


class CrashError(DeconvnetError):
    """A worker process that died: killed, out of memory, or crashed."""


class DatasetError(DeconvnetError):
    """A VOC tree with a missing or malformed file."""


class WeightsError(DeconvnetError):
    """A weights file that is missing, damaged or of another net."""


class ChecksumError(WeightsError):
    """A weights file whose SHA-256 is not the one it was published with."""


class DependencyError(DeconvnetError):
    """A package that is missing, or shadowed by another one."""


class DeviceError(DeconvnetError):
    """A device or precision that this machine does not offer."""
