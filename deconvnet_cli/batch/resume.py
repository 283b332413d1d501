"""Decide which photos of a batch still need work by comparing the manifest with the files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import FAILED, GONE, Entry
from deconvnet_cli.batch.source import file_state
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.outputs.encoding import place_of
from deconvnet_cli.outputs.files import POLYGON_SUFFIXES
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.runtime.shards import shard_by_name
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.hashing import file_sha256_or_none
from deconvnet_cli.storage.remote import RemotePath

NEW = "new"
FAILED_BEFORE = "failed before"
NOT_TRIED = "could not be read or written before"
REMOTE_READERS = 32  # concurrent requests: each one is mostly waiting for the network


@dataclass(frozen=True)
class Todo:
    """The photos of a batch, sorted by whether they need work.

    Attributes:
        jobs: The jobs to do, each with the reason.
        done: The entries of photos that are done.
        failed: The entries of photos that failed and have not changed since.
    """

    jobs: list[tuple[Job, str]]
    done: list[Entry]
    failed: list[Entry]


def sort_out(
    jobs: Iterable[Job],
    entries: Mapping[str, Entry],
    info: BatchInfo,
    *,
    overwrite: bool = False,
    retry: bool = False,
) -> Todo:
    """Sort jobs by whether they need work, given the manifests' entries by output.

    All are done again with ``overwrite``, and failed ones with ``retry``.
    """

    def judged(job: Job) -> tuple[Entry | None, str | None]:
        entry = entries.get(info.spec.name_of(job.target))
        return entry, reason(job, entry, info)

    todo = Todo([], [], [])
    readers = REMOTE_READERS if isinstance(info.spec.folder, RemotePath) else 1
    for job, result in in_order(jobs, judged, readers):
        entry, why = result()
        if entry is None or overwrite:
            todo.jobs.append((job, why or "--overwrite"))
        elif why is None:
            todo.done.append(entry)
        elif why == FAILED_BEFORE and not retry:
            todo.failed.append(entry)
        else:
            todo.jobs.append((job, why))
    return todo


def reason(job: Job, entry: Entry | None, info: BatchInfo) -> str | None:
    """Return why a job needs work, in a few words; None if manifest and files show it done.

    A photo with the same path, size and time of change counts as unchanged without being read;
    all other files are compared by SHA-256. An entry that failed for a reason outside the photo
    has no SHA-256, and its photo is tried again. Only the files that this batch writes matter.
    """
    if entry is None:
        return NEW
    if entry.weights != info.fingerprint.weights:
        return "other weights"
    if entry.settings != info.fingerprint.settings:
        return "other settings"
    if entry.status == FAILED and entry.sha256 is None:
        return NOT_TRIED
    if changed(job.photo, entry):
        return "the photo changed"
    if entry.status == FAILED:
        return FAILED_BEFORE
    written = entry.files()
    for path in info.spec.files(job):
        sha256 = file_sha256_or_none(path)
        if sha256 is None:
            return f"{path.name} is missing"
        if sha256 != written.get(info.spec.name_of(path)):
            return f"{path.name} changed"
        if str(job.photo) != entry.image and names_another(path, job):
            return "the photo moved"
    return None


def changed(photo: Path, entry: Entry) -> bool:
    """Return whether a photo's file differs from the one that an entry describes."""
    now = file_state(photo)
    if now is None:
        return True
    same = (str(photo), now.size, now.mtime_ns) == (entry.image, entry.size, entry.mtime_ns)
    if same and now.mtime_ns is not None:
        return False
    return now.size != entry.size or file_sha256_or_none(photo) != entry.sha256


def names_another(path: Path, job: Job) -> bool:
    """Return whether a file of LabelMe's, which has the path of its photo, has another one."""
    if path.suffix != POLYGON_SUFFIXES["labelme"] or path.name.endswith(POLYGON_SUFFIXES["coco"]):
        return False
    try:
        expected = place_of(job.photo, job.target) or job.photo.name
        return bool(json.loads(remote.read(path))["imagePath"] != expected)
    except (OSError, ValueError, LookupError, TypeError):
        return True  # it cannot be one


def gone(
    entries: Iterable[Entry], jobs: Iterable[Job], spec: BatchSpec, shard: tuple[int, int] | None
) -> Iterator[Entry]:
    """Yield a line for each photo that failed and was removed since.

    A photo that this run names, or whose folder is missing too, as on a disk that is not there,
    does not count as removed. Other shards than that of the run have their own failures.
    """
    wanted = {spec.name_of(job.target) for job in jobs}
    failed = [each for each in entries if each.status == FAILED and each.output not in wanted]
    for entry in shard_by_name(failed, lambda each: each.output, shard):
        if was_removed(remote.place(entry.image)):
            yield Entry(entry.image, entry.output, GONE)


def was_removed(photo: Path) -> bool:
    """Return whether there is no such photo, although its folder can be read."""
    try:
        if isinstance(photo, RemotePath):
            return remote.found(photo) is None
        return photo.parent.is_dir() and not os.path.lexists(photo)
    except (DeconvnetError, OSError, ValueError):  # unreachable, or a name that no file can have
        return False


def damaged(entries: Iterable[Entry], folder: Path) -> Iterator[tuple[Entry, str]]:
    """Yield each entry with a missing or changed file, and a line that says which."""
    for entry in entries:
        for name, sha256 in entry.files().items():
            found = file_sha256_or_none(folder / name)
            if found != sha256:
                wrong = "missing" if found is None else "changed since it was written"
                yield entry, f"{folder / name}: {wrong}"
