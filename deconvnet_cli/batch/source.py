"""A photo's file, read once, with what tells whether it has changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.batch.job import Job
from deconvnet_cli.errors import ImageError, why
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.hashing import bytes_sha256
from deconvnet_cli.storage.remote import RemotePath


@dataclass(frozen=True)
class Source:
    """The photo of a job as it was read: its bytes, size in bytes, time of change and SHA-256."""

    job: Job
    data: bytes
    size: int
    mtime_ns: int | None
    sha256: str


def read_source(job: Job) -> Source:
    """Read the photo of a job once, so that the bytes that are hashed are those that are segmented.

    Raises:
        ImageError: The file is missing, is not a file, cannot be read, or changed meanwhile.
    """
    photo = job.photo
    is_remote = isinstance(photo, RemotePath)
    try:
        before = remote.found(photo)
        if before and not is_remote and not photo.is_file():
            raise ImageError(f"{photo}: not a file; give photos, or folders of photos")
        data = remote.read(photo)
        after = before if is_remote else remote.found(photo)  # saves a request
    except FileNotFoundError:
        raise ImageError(f"{photo}: no such file; check the path") from None
    except OSError as error:
        raise ImageError(f"{photo}: cannot be read ({why(error)})") from error
    if before is None or before != after or (is_remote and before.size != len(data)):
        raise ImageError(f"{photo}: changed while it was being read; run the batch again later")
    return Source(job, data, len(data), before.mtime_ns, bytes_sha256(data))


def file_state(photo: Path) -> remote.Found | None:
    """Return the size and time of change of a file; None if it is missing or unreachable."""
    try:
        return remote.found(photo)
    except (OSError, ImageError):
        return None
