"""Files appear whole or not at all, and outlive a crash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from deconvnet_cli.errors import OutputError


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror})") from error


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write bytes, or what a function writes to the file given it; all of it or nothing.

    Raises:
        OutputError: the folder is missing or cannot be written to.
    """
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            # A pipe or device (/dev/stdout, /dev/null) is written to; a file must not replace it.
            with open(path, "wb") as device:
                device.write(content) if isinstance(content, bytes) else content(device)
            return
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine could leave the name without data
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
