"""What of a batch is still to be done: what manifest and files do not both say is done."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli import places
from deconvnet_cli.batch import Job
from deconvnet_cli.errors import ImageError
from deconvnet_cli.manifest import FAILED, Entry
from deconvnet_cli.pipeline import in_order
from deconvnet_cli.places import RemotePath

NEW = "new"
FAILED_BEFORE = "failed before"
NOT_TRIED = "could not be read or written before"
BLOCK = 1 << 20  # bytes
REMOTE_READERS = 32  # requests at a time: one by one they take most of their time on the way


@dataclass(frozen=True)
class Recipe:
    """What labels depend on besides the photo, as the manifest has it.

    Attributes:
        weights: SHA-256 of the weights by net.
        settings: SHA-256 of all settings.
        versions: of the packages; they are noted, and nothing is done again because of them.
    """

    weights: Mapping[str, str]
    settings: str
    versions: Mapping[str, str]


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
    return Source(data, len(data), before.st_mtime_ns, hashlib.sha256(data).hexdigest())


def read_remote(photo: RemotePath) -> Source:
    """The same of a URL."""
    before = places.found(photo)
    try:
        data = places.read(photo)
    except FileNotFoundError:
        raise ImageError(f"{photo}: no such file; check the path") from None
    if before is None or before.size != len(data):
        raise ImageError(f"{photo}: was written to while it was read; do it again later")
    return Source(data, len(data), before.mtime_ns, hashlib.sha256(data).hexdigest())


def file_hash(path: Path) -> str | None:
    """SHA-256 of a file; None if it is not there or cannot be read."""
    if isinstance(path, RemotePath):
        return places.sha256(path)
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except (OSError, ValueError):  # ValueError: no name that a file can have
        return None
    return digest.hexdigest()


def reason(
    job: Job, entry: Entry | None, recipe: Recipe, folder: Path, wanted: Iterable[Path] = ()
) -> str | None:
    """Why a photo is to be done, in a few words; None if manifest and files say that it is.

    Files beside the label PNG count as far as they are ``wanted``.

    A photo of the same path, size and time of change is taken to be the same without reading it;
    of everything else the SHA-256 counts. One that failed although nothing is wrong with what is
    in it has no SHA-256, and is done again.
    """
    if entry is None:
        return NEW
    if entry.weights != recipe.weights:
        return "other weights"
    if entry.settings != recipe.settings:
        return "other settings"
    if entry.status == FAILED and entry.sha256 is None:
        return NOT_TRIED
    if changed(job.photo, entry):
        return "the photo changed"
    if entry.status == FAILED:
        return FAILED_BEFORE
    known = entry.files()
    for path in (job.target, *wanted):
        found = file_hash(path)
        if found is None:
            return f"{path.name} is missing"
        if found != known.get(path.relative_to(folder).as_posix()):
            return f"{path.name} changed"
    return None


def changed(photo: Path, entry: Entry) -> bool:
    """Whether a photo's file is not the one that an entry is about."""
    now = state(photo)
    if now is None:
        return True
    same = (str(photo), now.size, now.mtime_ns) == (entry.image, entry.size, entry.mtime_ns)
    if same and now.mtime_ns is not None:
        return False
    return now.size != entry.size or file_hash(photo) != entry.sha256


def state(photo: Path) -> places.Found | None:
    """Size and time of change of a file; None if it is not there or cannot be asked."""
    try:
        if isinstance(photo, RemotePath):
            return places.found(photo)
        now = photo.stat()
    except (OSError, ImageError):
        return None
    return places.Found(now.st_size, now.st_mtime_ns)


def damaged(entries: Iterable[Entry], folder: Path) -> Iterator[tuple[Entry, str]]:
    """The entries whose files are not as they were written, each with what is wrong."""
    for entry in entries:
        for name, sha256 in entry.files().items():
            found = file_hash(folder / name)
            if found != sha256:
                wrong = "missing" if found is None else "not as it was written"
                yield entry, f"{folder / name}: {wrong}"


@dataclass(frozen=True)
class Todo:
    """The photos of a batch sorted out.

    Attributes:
        jobs: to be done, each with the reason.
        done: entries of those that are done.
        failed: entries of those that have failed and have not changed since.
    """

    jobs: list[tuple[Job, str]]
    done: list[Entry]
    failed: list[Entry]


def sort_out(
    jobs: Iterable[Job],
    entries: Mapping[str, Entry],
    recipe: Recipe,
    folder: Path,
    wanted: Callable[[Job], Iterable[Path]] = lambda job: (),
    *,
    overwrite: bool = False,
    retry: bool = False,
) -> Todo:
    """What is to be done of ``jobs``, whose label PNGs lie in ``folder``.

    Args:
        entries: what the manifests say, by output.
        wanted: the files that are to lie beside a label PNG.
        overwrite: do all again.
        retry: do again what has failed.
    """

    def known(job: Job) -> Entry | None:
        return entries.get(job.target.relative_to(folder).as_posix())

    def why_of(job: Job) -> str | None:
        return reason(job, known(job), recipe, folder, wanted(job))

    todo = Todo([], [], [])
    remote = isinstance(folder, RemotePath)
    for job, found in in_order(jobs, why_of, REMOTE_READERS if remote else 1):
        entry, why = known(job), found()
        if overwrite and why is None:
            why = "--overwrite"
        if entry is None or why not in (None, FAILED_BEFORE):
            todo.jobs.append((job, why or NEW))
        elif why == FAILED_BEFORE and (retry or overwrite):
            todo.jobs.append((job, FAILED_BEFORE))
        else:
            (todo.done if why is None else todo.failed).append(entry)
    return todo
