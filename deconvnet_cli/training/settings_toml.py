"""The settings of a run as TOML: files, single values, and what a run keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deconvnet_cli.errors import UsageError, why
from deconvnet_cli.storage.files import read_whole

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

MAX_BYTES = 1 << 20  # the largest settings file that is read


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """Parse TOML and return its values, for :func:`changed`.

    Raises:
        UsageError: The text is not TOML.
    """
    try:
        values: dict[str, Any] = loads(text)
        return values
    except (TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source}: not readable as TOML ({error})") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read a TOML file and return its values.

    Raises:
        UsageError: The file cannot be read or is not TOML.
    """
    try:
        return parse_settings(read_whole(path, MAX_BYTES).decode("utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({why(error)})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def as_toml(values: Mapping[str, Any]) -> str:
    """Return values as TOML, one line each."""
    # JSON's strings, numbers and lists are valid TOML as well, if they hold no escaped surrogates.
    return "".join(
        f"{name if name.isidentifier() else json.dumps(name)} = "
        f"{json.dumps(value, ensure_ascii=False)}\n"
        for name, value in values.items()
    )
