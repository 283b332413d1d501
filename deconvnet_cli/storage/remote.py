"""Files in object stores such as ``s3://bucket/photos``, in every scheme that fsspec supports.

A URL becomes a :class:`RemotePath`, which is used like a path. The few functions that read, write
or list files call this module for it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import DependencyError, ImageError, OutputError, UsageError, install

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LOCAL = "file://"
# The names that file systems use for a file's modification time, most reliable first.
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")
AT_A_TIME = 1000  # heads in memory

if TYPE_CHECKING:
    from pathlib import Path as Names
else:
    Names = PurePosixPath


class RemotePath(Names):
    """A URL ``scheme://a/b`` with pathlib's methods for names; ``str`` returns the URL.

    Only type checkers see a ``Path``. It has no methods that touch files, so code that takes it
    for a local path by mistake fails.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


@dataclass(frozen=True)
class Found:
    """The metadata of a file: its size in bytes, and its modification time if known."""

    size: int
    mtime_ns: int | None


def is_url(text: str) -> bool:
    """Return whether a text is a URL, including ``file://``."""
    return URL.match(text) is not None


def place(text: str) -> Path:
    """Return the path for a text: a local one, also for ``file://``, or a remote one."""
    if text.startswith(LOCAL):
        return Path(text.removeprefix(LOCAL))
    return RemotePath(text) if is_url(text) else Path(text)


def real(path: Path) -> Path:
    """Return a path with symbolic links resolved, so that equal paths mean the same file."""
    return path if isinstance(path, RemotePath) else path.resolve()


def below_anchor(path: Path) -> Path:
    """Return a path without its root or scheme."""
    if isinstance(path, RemotePath):
        return Path(*path.parts[1:])
    return path.relative_to(path.anchor)


def as_compared(path: Path) -> Path:
    """Return a path as its file system compares it: on a Mac, a.png and A.png are the same file.

    Paths of Windows compare so by themselves.
    """
    if sys.platform != "darwin" or isinstance(path, RemotePath):
        return path
    return Path(str(path).casefold())


def system(path: RemotePath) -> Any:
    """Return the fsspec file system of a path.

    Raises:
        DependencyError: The package for this scheme is missing.
        UsageError: The scheme is unknown.
    """
    scheme = path.parts[0].removesuffix(":")
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise DependencyError(
            f"{scheme}:// needs a package ({error}); for s3, {install('ray')}"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path}: unknown kind of URL ({error})") from error


def files_below(
    folder: RemotePath, unreadable: Callable[[ImageError], None]
) -> Iterator[RemotePath]:
    """Yield all files below a folder, in order; yield nothing if the folder is missing.

    ``unreadable`` is called with an error for each file whose name has an empty part or a part '.',
    because its path would be another name.

    Raises:
        ImageError: The folder cannot be listed.
    """
    files = system(folder)
    try:
        with _failing(folder, ImageError, "listed"):
            names = sorted(files.find(str(folder)))
    except FileNotFoundError:
        return
    for name in names:
        if name.endswith("/"):
            continue  # an empty object that consoles of object stores make for a folder
        path = _path(files, name)
        if files._strip_protocol(str(path)) != name:
            name = files.unstrip_protocol(name)
            unreadable(ImageError(f"{name}: a name with an empty part or '.'; rename it"))
        else:
            yield path


def matches(pattern: RemotePath) -> list[RemotePath]:
    """Return the files that match a glob, in order.

    Raises:
        ImageError: The files cannot be listed.
    """
    files = system(pattern)
    with _failing(pattern, ImageError, "listed"):
        found = files.glob(str(pattern), detail=True)
    return sorted(_path(files, name) for name, info in found.items() if info["type"] == "file")


def listed(folder: RemotePath) -> list[RemotePath]:
    """Return the direct contents of a folder; return nothing if the folder is missing.

    Raises:
        ImageError: The folder cannot be listed.
    """
    files = system(folder)
    try:
        with _failing(folder, ImageError, "listed"):
            return [_path(files, name) for name in files.ls(str(folder), detail=False)]
    except FileNotFoundError:
        return []


def found(path: Path) -> Found | None:
    """Return the metadata of a file, remote or local, or None if the file is missing.

    Raises:
        ImageError: The metadata of the remote file cannot be read.
        OSError: The metadata of the local file cannot be read.
    """
    if not isinstance(path, RemotePath):
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Found(status.st_size, status.st_mtime_ns)
    files = system(path)
    try:
        with _failing(path, ImageError, "read"):
            info = files.info(str(path))
    except FileNotFoundError:
        return None
    return None if info["type"] != "file" else Found(int(info["size"] or 0), _time(info))


def read(path: Path) -> bytes:
    """Return the bytes of a file, remote or local.

    Raises:
        FileNotFoundError: The file is missing.
        ImageError: The remote file cannot be read.
        OSError: The local file cannot be read.
    """
    if not isinstance(path, RemotePath):
        return path.read_bytes()
    files = system(path)
    with _failing(path, ImageError, "read"):
        data: bytes = files.cat_file(str(path))
    return data


def heads(paths: Sequence[RemotePath], size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of each file; none for a file that cannot be read."""
    for start in range(0, len(paths), AT_A_TIME):
        some = list(map(str, paths[start : start + AT_A_TIME]))
        for head in system(paths[start]).cat_ranges(some, 0, size, on_error="return"):
            yield head[:size] if isinstance(head, bytes) else b""


def write(path: RemotePath, data: bytes) -> None:
    """Write a file in one request, so that object stores show the whole file or nothing.

    Raises:
        OutputError: The file cannot be written.
    """
    files = system(path)
    with _failing(path, OutputError, "written"):
        files.pipe_file(str(path), data)


def remove(path: RemotePath) -> None:
    """Remove a file.

    Raises:
        OutputError: The file cannot be removed.
    """
    files = system(path)
    with _failing(path, OutputError, "removed"):
        files.rm_file(str(path))


@contextmanager
def _failing(path: RemotePath, kind: type[Exception], what: str) -> Iterator[None]:
    """Turn the errors of any file system into ``kind``; let FileNotFoundError pass for reads."""
    try:
        yield
    except FileNotFoundError:
        if kind is OutputError:
            raise OutputError(f"{path}: cannot be {what} (no such bucket or folder)") from None
        raise
    except Exception as error:  # each file system has its own: of botocore, aiohttp, credentials
        text = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{path}: cannot be {what} ({text})") from error


def _path(files: Any, name: str) -> RemotePath:
    return RemotePath(files.unstrip_protocol(name))


def _time(info: dict[str, Any]) -> int | None:
    """Return the modification time in ns since 1970 from a file system's metadata, or None."""
    for name in TIMES:
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return round(value * 1e9)
    return None
