"""Lists of names in text files."""

from __future__ import annotations

from pathlib import Path

from deconvnet_cli.errors import UsageError, why
from deconvnet_cli.storage.files import read_whole

MAX_LIST_BYTES = 1 << 28


def read_list(path: Path) -> list[str]:
    """Return the lines of a list, one name a line, without empty ones.

    A list is UTF-8, with or without a byte order mark, whatever the locale. Lines end at line feeds
    alone, before which a carriage return is dropped: names may hold all other characters.

    Raises:
        OSError: The file cannot be read or is too large.
        UnicodeDecodeError: It is not UTF-8.
    """
    lines = read_whole(path, MAX_LIST_BYTES).decode("utf-8-sig").split("\n")
    return [line for line in (line.removesuffix("\r") for line in lines) if line.strip()]


def given_list(path: Path) -> list[str]:
    """Return the lines of a list that the user names, as :func:`read_list` does.

    Raises:
        UsageError: The list cannot be read.
    """
    try:
        return read_list(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: the list cannot be read ({why(error)})") from error
