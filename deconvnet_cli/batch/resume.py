"""What of a batch is still to be done: what manifest and files do not both say is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.batch.manifest import FAILED, Entry
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import state
from deconvnet_cli.batch.spec import Fingerprint
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.storage.hashing import file_sha256_or_none
from deconvnet_cli.storage.remote import RemotePath

NEW = "new"
FAILED_BEFORE = "failed before"
NOT_TRIED = "could not be read or written before"
REMOTE_READERS = 32  # requests at a time: one by one they take most of their time on the way


def reason(
    job: Job,
    entry: Entry | None,
    fingerprint: Fingerprint,
    folder: Path,
    wanted: Iterable[Path] = (),
) -> str | None:
    """Why a photo is to be done, in a few words; None if manifest and files say that it is.

    Files beside the label PNG count as far as they are ``wanted``.

    A photo of the same path, size and time of change is taken to be the same without reading it;
    of everything else the SHA-256 counts. One that failed although nothing is wrong with what is
    in it has no SHA-256, and is done again.
    """
    if entry is None:
        return NEW
    if entry.weights != fingerprint.weights:
        return "other weights"
    if entry.settings != fingerprint.settings:
        return "other settings"
    if entry.status == FAILED and entry.sha256 is None:
        return NOT_TRIED
    if changed(job.photo, entry):
        return "the photo changed"
    if entry.status == FAILED:
        return FAILED_BEFORE
    known = entry.files()
    for path in (job.target, *wanted):
        found = file_sha256_or_none(path)
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
    return now.size != entry.size or file_sha256_or_none(photo) != entry.sha256


def damaged(entries: Iterable[Entry], folder: Path) -> Iterator[tuple[Entry, str]]:
    """The entries whose files are not as they were written, each with what is wrong."""
    for entry in entries:
        for name, sha256 in entry.files().items():
            found = file_sha256_or_none(folder / name)
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
    fingerprint: Fingerprint,
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
        return reason(job, known(job), fingerprint, folder, wanted(job))

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
