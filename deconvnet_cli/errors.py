"""The errors that this package raises on purpose.

    DeconvnetError                 exit 1
    ├── UsageError                 exit 2   options that do not fit together
    ├── ImageError                 exit 1   a photo or label PNG that cannot be read
    ├── OutputError                exit 1   a file that cannot be written
    │   └── DiskFullError          exit 1   the disk is full
    ├── BusyError                  exit 1   another run is writing to the same folder
    ├── CrashError                 exit 1   a worker process that died
    │   └── NetsError              exit 1   nets that cannot run, whatever the photo
    ├── DatasetError               exit 1   a dataset with something missing or wrong
    ├── WeightsError               exit 1   a weights file that cannot be used
    │   └── ChecksumError          exit 1   a weights file with an unexpected SHA-256
    ├── DownloadError              exit 1   a file that cannot be had from the web
    ├── DependencyError            exit 1   a package that is missing or wrongly installed
    ├── DeviceError                exit 1   a device that this machine does not have
    └── DivergenceError            exit 1   a training run whose loss is not finite

A message is one line that says what is wrong, with which file, and how to fix it. It stays one
line even if a file name or a quoted error has line breaks. Only ``cli.py`` turns errors into text
and exit codes.
"""

from __future__ import annotations

import errno

LONGEST = 10_000  # characters that are kept of a message: over twice the longest path
SHOWN_END = 500  # characters kept at the end of a longer message, where the remedy stands


def printable(text: str) -> str:
    """Return the text as one line that is safe to print on a terminal.

    Line breaks, control characters, marks that change the direction of writing and bytes of names
    that are not UTF-8 become Python escapes: ``\\n``, ``\\x1b``, ``\\u202e``, ``\\udcff``.
    """
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - SHOWN_END]} ... {text[-SHOWN_END:]}"
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def why(error: Exception) -> str:
    """Return an error in the system's words, without its number; say what to do for a long name."""
    too_long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
    return f"{getattr(error, 'strerror', None) or error}{'; shorten the name' if too_long else ''}"


def install(extra: str) -> str:
    """Return the command that installs an optional extra of this package.

    No package index has this package, so its name alone would find nothing. All shells take double
    quotes; Windows' cmd takes no others.
    """
    return f'pip install ".[{extra}]" in the checkout, or "FILE.whl[{extra}]"'


class DeconvnetError(Exception):
    """The base class of all errors of this package."""

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
    """A disk that is full, so that no further file can be written."""


class BusyError(DeconvnetError):
    """An output folder that another run is writing to."""


class CrashError(DeconvnetError):
    """A worker process that died: killed, out of memory, or crashed."""


class NetsError(CrashError):
    """Nets that cannot run, for which no photo is to blame."""


class DatasetError(DeconvnetError):
    """A dataset with a missing or malformed file."""


class WeightsError(DeconvnetError):
    """A weights file that is missing, damaged or made for another net."""


class ChecksumError(WeightsError):
    """A weights file whose SHA-256 differs from the published one."""


class DownloadError(DeconvnetError):
    """A file that cannot be had from the web."""


class DependencyError(DeconvnetError):
    """A package that is missing or shadowed by another one."""


class DeviceError(DeconvnetError):
    """A device or precision that this machine does not offer."""


class DivergenceError(DeconvnetError):
    """A training run whose loss is no longer finite."""
