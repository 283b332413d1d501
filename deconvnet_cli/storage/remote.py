"""Places that are no local files, such as ``s3://bucket/photos``: whatever fsspec knows.

A URL is a :class:`RemotePath`, which goes wherever a path goes; the few functions that read, write
or list files ask this module about one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import DependencyError, ImageError, OutputError, UsageError

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
LOCAL = "file://"
# What file systems call the time of change of a file, in the order in which to believe them.
TIMES = ("LastModified", "last_modified", "mtime", "updated", "created")

if TYPE_CHECKING:
    from pathlib import Path as Names
else:
    Names = PurePosixPath


class RemotePath(Names):
    """``scheme://a/b``: pathlib's ways with names, and the URL as its text.

    It is a ``Path`` to type checkers alone. It has none of the methods that touch files: what
    would look for it on this machine by mistake fails.
    """

    def __str__(self) -> str:
        return super().__str__().replace(":/", "://", 1)


@dataclass(frozen=True)
class Found:
    """What is known of a file without reading it: bytes, and time of change if there is one."""

    size: int
    mtime_ns: int | None


def is_url(text: str) -> bool:
    """Whether a text is meant as a URL, ``file://`` among them."""
    return URL.match(text) is not None


def place(text: str) -> Path:
    """The path that a text stands for: local, also if it is ``file://``, or remote."""
    if text.startswith(LOCAL):
        return Path(text.removeprefix(LOCAL))
    return RemotePath(text) if is_url(text) else Path(text)


def real(path: Path) -> Path:
    """What tells a file from another: without symbolic links."""
    return path if isinstance(path, RemotePath) else path.resolve()


def system(path: RemotePath) -> Any:
    """The fsspec file system of a path.

    Raises:
        DependencyError: the package for it is missing.
        UsageError: there is none.
    """
    scheme = path.parts[0].removesuffix(":")
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        raise DependencyError(
            f"{scheme}:// needs a package ({error}); pip install 'deconvnet[ray]' has that for s3"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path}: no such kind of place ({error})") from error


def files_below(
    folder: RemotePath, unreadable: Callable[[ImageError], None]
) -> Iterator[RemotePath]:
    """All files below a folder, in order; none if there is no such folder.

    Args:
        unreadable: is told of each file whose name has an empty part or one that is a dot: as a
            path it would be another name.

    Raises:
        ImageError: the folder cannot be listed.
    """
    files = system(folder)
    try:
        with _failing(folder, ImageError, "listed"):
            names = sorted(files.find(str(folder)))
    except FileNotFoundError:
        return
    for name in names:
        path = _path(files, name)
        if files._strip_protocol(str(path)) != name:
            name = files.unstrip_protocol(name)
            unreadable(ImageError(f"{name}: a name with an empty part or '.'; rename it"))
        else:
            yield path


def matches(pattern: RemotePath) -> list[RemotePath]:
    """The files that match a glob, in order; none if there is none.

    Raises:
        ImageError: they cannot be listed.
    """
    files = system(pattern)
    with _failing(pattern, ImageError, "listed"):
        found = files.glob(str(pattern), detail=True)
    return sorted(_path(files, name) for name, info in found.items() if info["type"] == "file")


def listed(folder: RemotePath) -> list[RemotePath]:
    """What lies in a folder itself; nothing if there is no such folder.

    Raises:
        ImageError: it cannot be listed.
    """
    files = system(folder)
    try:
        with _failing(folder, ImageError, "listed"):
            return [_path(files, name) for name in files.ls(str(folder), detail=False)]
    except FileNotFoundError:
        return []


def found(path: RemotePath) -> Found | None:
    """What is known of a file; None if it is not there.

    Raises:
        ImageError: it cannot be asked.
    """
    files = system(path)
    try:
        with _failing(path, ImageError, "read"):
            info = files.info(str(path))
    except FileNotFoundError:
        return None
    return None if info["type"] != "file" else Found(int(info["size"] or 0), _time(info))


def read(path: RemotePath) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: it is not there.
        ImageError: it cannot be read.
    """
    files = system(path)
    with _failing(path, ImageError, "read"):
        data: bytes = files.cat_file(str(path))
    return data


def write(path: RemotePath, data: bytes) -> None:
    """Write a file in one request: object stores, which have no folders, show all of it or nothing.

    Raises:
        OutputError: it cannot be written.
    """
    files = system(path)
    with _failing(path, OutputError, "written"):
        files.pipe_file(str(path), data)


def remove(path: RemotePath) -> None:
    """Remove a file.

    Raises:
        OutputError: it cannot be removed.
    """
    files = system(path)
    with _failing(path, OutputError, "removed"):
        files.rm_file(str(path))


@contextmanager
def _failing(path: RemotePath, kind: type[Exception], what: str) -> Iterator[None]:
    """Make what any file system raises an error of ours, but a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        if kind is OutputError:
            raise OutputError(f"{path}: cannot be {what} (no such bucket or folder)") from None
        raise
    except Exception as error:  # each has its own: of botocore, aiohttp, credentials
        text = " ".join(str(error).split()) or type(error).__name__
        raise kind(f"{path}: cannot be {what} ({text})") from error


def _path(files: Any, name: str) -> RemotePath:
    return RemotePath(files.unstrip_protocol(name))


def _time(info: dict[str, Any]) -> int | None:
    """The time of change in ns since 1970, from what a file system says of a file."""
    for name in TIMES:
        value = info.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return round(value * 1e9)
    return None
