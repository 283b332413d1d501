"""Plan where the labels of the photos of a batch go, so that no photo takes another's files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from deconvnet_cli.batch.find import Look, find_photos, raised
from deconvnet_cli.batch.job import Job
from deconvnet_cli.errors import ImageError, UsageError
from deconvnet_cli.outputs.files import CVAT, MASKS, Outputs
from deconvnet_cli.storage.remote import RemotePath, as_compared, place, real


def plan(
    sources: Iterable[str],
    output: Path,
    left_out: Counter[str] | None = None,
    *,
    refused: Callable[[UsageError], None] = raised,
    unreadable: Callable[[ImageError], None] = raised,
    missing_ok: bool = False,
    full_names: bool = False,
    outputs: Outputs = Outputs(),
) -> list[Job]:
    """Plan where the labels of all photos go, before the first is made; see also :func:`apart`.

    Args:
        refused: Called with the error for each photo that has to be left out. The default
            raises it.
        unreadable: Called with an error for each folder that cannot be read.
        missing_ok: Whether to pass over sources that have no photos.
        left_out: Counts what is left out, see :class:`deconvnet_cli.batch.find.Look`.
        full_names: Whether the labels of a.jpg are called a.jpg.png instead of a.png.
        outputs: The files that are written for each photo.

    Raises:
        UsageError: A path leads out of the output folder.
        ImageError: See :func:`find_photos`.
    """
    where = resolver()
    look = Look(output, unreadable, Counter() if left_out is None else left_out)
    jobs: dict[tuple[Path, Path], Job] = {}
    labels = output / MASKS if outputs.format == CVAT else output
    for source in sources:
        try:
            found = find_photos(source, look)
        except ImageError:
            if missing_ok:
                continue
            raise
        holds_output = _inside(output, place(source))
        for photo, relative in found:
            if ".." in relative.parts:
                refused(UsageError(f"{photo}: leads out of {output}; list paths without '..'"))
                continue
            if holds_output and _inside(photo, output):
                continue  # the output folder lies in the source: these are labels of an earlier run
            stem = relative.name if full_names else relative.stem
            target = labels / relative.with_name(f"{stem}{outputs.label_suffix}")
            jobs.setdefault((target, where(photo)), Job(photo, target))
    return list(jobs.values())


def apart(
    jobs: Iterable[Job],
    files: Callable[[Job], Iterable[Path]],
    refused: Callable[[UsageError], None] = raised,
) -> list[Job]:
    """Return the jobs without those that would replace a photo, or a file of an earlier job.

    Args:
        files: Returns all files that are written for a job.
        refused: Called with the error for each job that is left out. The default raises it.
    """
    where = resolver()
    jobs = list(jobs)
    photos = {where(job.photo) for job in jobs}
    taken: dict[Path, Job] = {}
    kept = []
    for job in jobs:
        wanted = {as_compared(path): path for path in files(job)}
        if twice := next((name for name in wanted if name in taken), None):
            refused(UsageError(clash(taken[twice], job, wanted[twice])))
        elif lost := next((path for path in wanted.values() if where(path) in photos), None):
            refused(UsageError(f"{lost}: is one of the photos; give another -o folder"))
        else:
            taken.update(dict.fromkeys(wanted, job))
            kept.append(job)
    return kept


def clash(one: Job, other: Job, path: Path) -> str:
    """Return what to say and to do if two photos would be written to the same file."""
    far = one.photo.parent != other.photo.parent
    common = "give their common folder, whose subfolders are kept, " if far else ""
    full_names = other.target.name.startswith(f"{other.photo.name}.")
    helps = not full_names and one.photo.name != other.photo.name
    return (
        f"{one.photo} and {other.photo} would both be written to {path}; "
        f"{'give --names full, ' if helps else ''}rename one, {common}or give them separate -o "
        "folders"
    )


def resolver() -> Callable[[Path], Path]:
    """Return a function that resolves links, and looks up each folder once: files share them."""
    folder = cache(real)

    def where(path: Path) -> Path:
        if isinstance(path, RemotePath) or os.path.islink(path):
            return real(path)
        return folder(path.parent) / path.name

    return where


def _inside(path: Path, folder: Path) -> bool:
    return real(folder) in real(path).parents
