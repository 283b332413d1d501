"""A photo's file as it was read, and what tells it from another."""

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
    """A photo's file as it was read: its bytes and what tells it from another."""

    data: bytes
    size: int
    mtime_ns: int | None
    sha256: str


def read_source(photo: Path) -> Source:
    """Read a photo's file once, so that what is hashed is what is segmented.

    Raises:
        ImageError: it is missing, no file, cannot be read, or was written to meanwhile.
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
        raise ImageError(f"{photo}: was written to while it was read; do it again later")
    return Source(data, len(data), before.st_mtime_ns, bytes_sha256(data))


def read_remote(photo: RemotePath) -> Source:
    """The same of a URL."""
    before = remote.found(photo)
    try:
        data = remote.read(photo)
    except FileNotFoundError:
        raise ImageError(f"{photo}: no such file; check the path") from None
    if before is None or before.size != len(data):
        raise ImageError(f"{photo}: was written to while it was read; do it again later")
    return Source(data, len(data), before.mtime_ns, bytes_sha256(data))


def state(photo: Path) -> remote.Found | None:
    """Size and time of change of a file; None if it is not there or cannot be asked."""
    try:
        if isinstance(photo, RemotePath):
            return remote.found(photo)
        now = photo.stat()
    except (OSError, ImageError):
        return None
    return remote.Found(now.st_size, now.st_mtime_ns)
