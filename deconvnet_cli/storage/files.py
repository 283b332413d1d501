"""Files are read within limits; they appear whole or not at all, and outlive a crash."""

from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from deconvnet_cli.errors import BusyError, DiskFullError, OutputError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.remote import RemotePath

PART = ".part"  # how the names of files end that are not whole yet
LOCK = ".deconvnet.lock"
NAME_BYTES = 200  # of a name that are kept in that of its part: a name has at most 255
NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def full(error: OSError) -> type[OutputError]:
    """The class of what went wrong: whether there was no room."""
    return DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else OutputError


PIECE = 1 << 20  # bytes


def read_whole(path: Path, most: int) -> bytes:
    """All bytes of a regular file, if they are at most ``most``.

    Raises:
        OSError: it cannot be read, is too large, or is a pipe or device, which might never end;
            ``strerror`` says which.
    """
    try:
        found = os.stat(path)
    except ValueError:  # a NUL, or half of a character
        raise OSError(errno.EINVAL, "no file can have this name", str(path)) from None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe or device, not a file", str(path))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"over {most / 1e6:.0f} MB", str(path))
    return path.read_bytes()


def read_stream(stream: IO[bytes], most: int) -> bytes:
    """All bytes up to the end of a stream, if they are at most ``most``.

    Raises:
        OSError: it cannot be read, or there are more.
    """
    content = bytearray()
    while piece := stream.read(PIECE):
        content += piece
        if len(content) > most:
            raise OSError(errno.EFBIG, f"over {most / 1e6:.0f} MB")
    return bytes(content)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless it is there. A remote one needs no making.

    Raises:
        OutputError: it cannot be made.
    """
    if isinstance(folder, RemotePath):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise full(error)(f"{folder}: cannot be made ({error.strerror})") from error


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write bytes, or what a function writes to the file given it; all of it or nothing.

    Raises:
        OutputError: the folder is missing or cannot be written to.
        DiskFullError: there is no room for it.
    """
    if isinstance(path, RemotePath):
        remote.write(path, content if isinstance(content, bytes) else _written(content))
        return
    temporary: str | None = None
    try:
        if path.exists() and not path.is_file():
            # A pipe or device (/dev/stdout, /dev/null) is written to; a file must not replace it.
            with open(path, "wb") as device:
                device.write(content) if isinstance(content, bytes) else content(device)
            return
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f"{_begun(path)}.", suffix=PART, delete=False
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
        raise full(error)(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _written(write: Callable[[IO[bytes]], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _begun(path: Path) -> str:
    """How the name of a file begins that is to become ``path``; a letter may be cut in two."""
    return f".{os.fsdecode(os.fsencode(path.name)[:NAME_BYTES])}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def remove_parts(targets: Iterable[Path]) -> None:
    """Remove what a killed run has left of these files: begun, and never whole."""
    names: dict[Path, set[str]] = {}
    for target in targets:
        if isinstance(target, RemotePath):  # nothing is begun there
            continue
        names.setdefault(target.parent, set()).add(_begun(target))
    for folder, begun in names.items():
        if not folder.is_dir():
            continue
        for path in folder.iterdir():
            # .NAME.RANDOM.part
            if path.suffix == PART and path.name.rsplit(".", 2)[0] in begun:
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, name: str = LOCK, *, shared: bool = False) -> Iterator[bool]:
    """Keep other runs out of a folder, for as long as this process lives.

    The system frees the lock when the process ends, however it ends. Without ``fcntl``
    (Windows) nobody is kept out, nor on a file system without locks, nor in a remote folder: then
    False comes out.

    Args:
        shared: others may share it who say so too.

    Raises:
        BusyError: another run has it.
        OutputError: the folder cannot be written to.
    """
    if isinstance(folder, RemotePath):
        yield False
        return
    try:
        import fcntl
    except ImportError:
        yield False
        return
    path = folder / name
    try:
        file = open(path, "a+b")  # noqa: SIM115
    except OSError as error:
        raise full(error)(f"{path}: cannot be written ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
        except BlockingIOError:
            raise BusyError(
                f"{folder}: another run is writing there; wait for it, stop it, or give another -o"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OutputError(f"{path}: cannot be locked ({error.strerror})") from error
            yield False
            return
        yield True
