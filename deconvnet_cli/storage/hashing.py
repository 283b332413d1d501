"""SHA-256, the one file hash, for files on disk and in object stores."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deconvnet_cli.errors import ImageError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.remote import RemotePath

BLOCK = 1 << 20  # bytes read at a time


def bytes_sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes as a hex digest."""
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hex digest.

    Raises:
        OSError: The file is missing or cannot be read.
        ValueError: No file can have this name.
        ImageError: A file in an object store cannot be read.
    """
    if isinstance(path, RemotePath):
        return bytes_sha256(remote.read(path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_sha256_or_none(path: Path) -> str | None:
    """Return the SHA-256 of a file, or None if it is missing or cannot be read."""
    try:
        return file_sha256(path)
    except (OSError, ValueError, ImageError):
        return None
