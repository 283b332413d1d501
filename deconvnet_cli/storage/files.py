"""Files: bounded reading, writing that survives a crash, and locks of folders."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from deconvnet_cli.errors import (
    BusyError,
    DatasetError,
    DiskFullError,
    OutputError,
    UsageError,
    why,
)
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.remote import RemotePath

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

PART = ".part"  # suffix of files that are not complete yet
LOCK = ".deconvnet.lock"
NAME_BYTES = 200  # of a name that its part keeps: names have at most 255
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)  # to this person, or to all
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
PIECE = 1 << 20  # bytes read at a time


def read_whole(path: Path, most: int) -> bytes:
    """Return all bytes of a regular file of at most ``most`` bytes.

    Raises:
        OSError: The file cannot be read, is too large, or is a pipe or device, which might never
            end; ``strerror`` says which.
    """
    try:
        found = os.stat(path)
    except ValueError:  # a NUL or half a character
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"over {most / 1e6:.0f} MB", str(path))
    return path.read_bytes()


def read_json(path: Path, most: int) -> Any:
    """Return the content of a JSON file of at most ``most`` bytes.

    Raises:
        DatasetError: The file cannot be read, see :func:`read_whole`, or is not JSON.
    """
    try:
        return json.loads(read_whole(path, most))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error


def read_stream(stream: IO[bytes], most: int) -> bytes:
    """Return all bytes up to the end of a stream of at most ``most`` bytes.

    Raises:
        OSError: The stream cannot be read or is longer.
    """
    content = bytearray()
    while piece := stream.read(PIECE):
        content += piece
        if len(content) > most:
            raise OSError(errno.EFBIG, f"over {most / 1e6:.0f} MB")
    return bytes(content)


def refuse_overwriting(source: Path, target: Path, what: str = "the photo itself") -> None:
    """Raise UsageError if the output would replace the input, which the message calls ``what``."""
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target}: is {what}; give another output with -o")


def check_output_file(target: Path, photos: Iterable[Path]) -> None:
    """Raise UsageError if an output is a folder, or would replace one of these photos."""
    for photo in photos:
        refuse_overwriting(photo, target)
    if target.is_dir():
        raise UsageError(f"{target}: is a folder; give the name of a file")


def require_folder(target: Path, remedy: str = "another output") -> None:
    """Raise UsageError if the folder that a file is to be written in does not exist."""
    folder = target.absolute().parent
    if not isinstance(target, RemotePath) and not folder.is_dir():
        raise UsageError(f"{target.parent}: no such folder; make it, or give {remedy}")


@contextmanager
def writing(path: Path, what: str = "written") -> Iterator[None]:
    """Turn errors of the operating system into that of a file that cannot be ``what``.

    Raises:
        DiskFullError: The disk is full.
        OutputError: Another error occurred.
    """
    try:
        yield
    except OSError as error:
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else OutputError
        remedy = "; write to another folder" if error.errno in CLOSED else ""
        raise kind(f"{path}: cannot be {what} ({why(error)}){remedy}") from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents if they are missing; do nothing for a remote folder.

    Raises:
        OutputError: The folder cannot be made.
    """
    if isinstance(folder, RemotePath):
        return
    with writing(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write bytes to a file, or what a function writes to the file it is given; all or nothing.

    Raises:
        OutputError: The folder is missing or cannot be written to.
        DiskFullError: The disk is full.
    """

    def put(file: IO[bytes]) -> None:
        file.write(content) if isinstance(content, bytes) else content(file)

    if isinstance(path, RemotePath):
        buffer = io.BytesIO()
        put(buffer)
        remote.write(path, buffer.getvalue())
        return
    with writing(path):
        if path.exists() and not path.is_file():
            # Pipes and devices (/dev/stdout, /dev/null) are written to, not replaced by a file.
            with open(path, "wb") as device:
                put(device)
            return
    with part_file(path, PART) as part, open(part, "wb") as file:
        put(file)


@contextmanager
def part_file(path: Path, suffix: str | None = None) -> Iterator[Path]:
    """Yield the path of a part, for libraries that write to a name; put it in place at the end.

    If the block raises an error or removes the part, ``path`` is left as it is. The suffix of the
    part is ``suffix`` or, without it, ``PART`` and the suffix of ``path``.

    Raises:
        OutputError: The folder is missing or cannot be written to.
        DiskFullError: The disk is full.
    """
    part = path.with_name(f"{_part_name(path)}.{token_hex(4)}{suffix or PART + path.suffix}")
    with writing(path):
        part.touch(exist_ok=False)
        try:
            yield part
            if part.exists():
                with open(part, "rb+") as whole:
                    os.fsync(whole.fileno())  # or a crash of the machine could leave an empty file
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _part_name(path: Path) -> str:
    """Return the start of the name of a part of ``path``, in whole characters, as macOS wants."""
    name = path.name
    while len(os.fsencode(name)) > NAME_BYTES:
        name = name[:-1]
    return f".{name}"


def remove_parts(targets: Iterable[Path]) -> None:
    """Remove the incomplete parts of these files that a killed run has left."""
    parts = {
        (target.parent, _part_name(target), ending)
        for target in targets
        if not isinstance(target, RemotePath)  # written in one request, without parts
        for ending in (PART, PART + target.suffix)
    }
    for folder in {folder for folder, _, _ in parts}:
        for path in folder.glob(f".*{PART}*"):
            # The name of a part is .NAME.RANDOM.part, or such with the suffix of the file.
            before, part, suffix = path.name.rpartition(PART)
            if (folder, before.rpartition(".")[0], part + suffix) in parts:
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, name: str = LOCK, *, shared: bool = False) -> Iterator[bool]:
    """Lock a folder against other runs; yield whether it could be locked.

    The operating system frees the lock however the process ends. Nothing is locked without
    ``fcntl`` (on Windows), on a file system without locks, and in a remote folder. The lock is on
    the file ``name`` in it; with ``shared``, runs that say so too may have it at the same time.

    Raises:
        BusyError: Another run has the lock.
        OutputError: The folder cannot be written to.
    """
    if fcntl is None or isinstance(folder, RemotePath):
        yield False
        return
    path = folder / name
    with writing(path):
        file = open(path, "a+b")  # noqa: SIM115
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
        except BlockingIOError:
            raise BusyError(
                f"{folder}: another run is writing there; wait for it, stop it, or give another -o"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OutputError(f"{path}: cannot be locked ({why(error)})") from error
            yield False
            return
        yield True
