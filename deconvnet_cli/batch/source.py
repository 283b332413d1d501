"""A photo's file, read once, with what tells whether it has changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.errors import ImageError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.hashing import bytes_sha256
from deconvnet_cli.storage.remote import RemotePath


@dataclass(frozen=True)
class Source:
    """A photo's file as it was read: its bytes, and its size, time of change and SHA-256."""

    data: bytes
    size: int
    mtime_ns: int | None
    sha256: str


def read_source(photo: Path) -> Source:
    """Read a photo's file once, so that the bytes that are hashed are those that are segmented.

    Raises:
        ImageError: The file is missing, is not a file, cannot be read, or changed meanwhile.
    """
    if isinstance(photo, RemotePath):
        return read_remote(photo)
    try:
        if photo.exists() and not photo.is_file():
            raise ImageError(f"{photo}: not a file; give photos, or folders of photos")
        with open(photo, "rb") as file:
            before = os.fstat(file.fileno())
            data = file.read()
            after = os.fstat(file.fileno())
    except FileNotFoundError:
        raise ImageError(f"{photo}: no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"{photo}: cannot be read ({error.strerror})") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise changed_while_read(photo)
    return Source(data, len(data), before.st_mtime_ns, bytes_sha256(data))


def read_remote(photo: RemotePath) -> Source:
    """Read a photo's file from a URL, as :func:`read_source` does."""
    before = remote.found(photo)
    try:
        data = remote.read(photo)
    except FileNotFoundError:
        raise ImageError(f"{photo}: no such file; check the path") from None
    if before is None or before.size != len(data):
        raise changed_while_read(photo)
    return Source(data, len(data), before.mtime_ns, bytes_sha256(data))


def changed_while_read(photo: Path) -> ImageError:
    """Return the error for a file that changed while it was read."""
    return ImageError(f"{photo}: changed while it was being read; run the batch again later")


def file_state(photo: Path) -> remote.Found | None:
    """Return the size and time of change of a file; None if it is missing or unreachable."""
    try:
        if isinstance(photo, RemotePath):
            return remote.found(photo)
        now = photo.stat()
    except (OSError, ImageError):
        return None
    return remote.Found(now.st_size, now.st_mtime_ns)
