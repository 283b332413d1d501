"""Plan where the labels of the photos of a batch go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deconvnet_cli.batch.find import find_photos, raised
from deconvnet_cli.errors import ImageError, UsageError
from deconvnet_cli.storage.remote import RemotePath, place, real


@dataclass(frozen=True)
class Job:
    """One photo and the files to make of it.

    Attributes:
        photo: The photo.
        target: Its label PNG.
        kept: Where to keep its scores; None for beside the label PNG.
    """

    photo: Path
    target: Path
    kept: Path | None = None

    @property
    def scores(self) -> Path:
        """Return where the photo's scores go, if they are kept."""
        return self.kept or self.target.with_suffix(".npz")


def plan(
    sources: Iterable[str],
    output: Path,
    refused: Callable[[UsageError], None] = raised,
    unreadable: Callable[[ImageError], None] = raised,
    missing_ok: bool = False,
    *,
    left_out: Counter[str] | None = None,
    full_names: bool = False,
) -> list[Job]:
    """Plan where the labels of all photos go, before the first is made.

    Args:
        refused: Called with the error for each photo that has to be left out. The default
            raises it.
        unreadable: Called with an error for each folder that cannot be read.
        missing_ok: Whether to pass over sources that have no photos.
        left_out: Counts what is left out, see :func:`deconvnet_cli.batch.find.photos_in`.
        full_names: Whether the labels of a.jpg are called a.jpg.png instead of a.png.

    Raises:
        UsageError: Two photos would get the same label PNG, a label PNG would replace a photo,
            or a path leads out of the output folder.
        ImageError: See :func:`find_photos`.
    """

    def refuse(message: str) -> None:
        refused(UsageError(message))

    folder = cache(real)  # which looks at each name of a path, and photos share folders

    def where(path: Path) -> Path:
        if isinstance(path, RemotePath) or os.path.islink(path):
            return real(path)
        return folder(path.parent) / path.name

    jobs: dict[Path, Job] = {}
    photos = set()
    for source in sources:
        try:
            found = find_photos(source, unreadable, left_out, output)
        except ImageError:
            if missing_ok:
                continue
            raise
        holds_output = _inside(output, place(source))
        for photo, relative in found:
            if ".." in relative.parts:
                refuse(f"{photo}: leads out of {output}; list paths without '..'")
                continue
            if holds_output and _inside(photo, output):
                continue  # the output folder lies in the source: these are labels of an earlier run
            name = f"{relative.name}.png" if full_names else relative.with_suffix(".png").name
            job = Job(photo, output / relative.with_name(name))
            other = jobs.setdefault(job.target, job)
            if other is not job and where(other.photo) != where(photo):
                apart = photo.parent != other.photo.parent
                common = "give their common folder, whose subfolders are kept, " if apart else ""
                helps = not full_names and photo.name != other.photo.name
                refuse(
                    f"{other.photo} and {photo} would both be written to {job.target}; "
                    f"{'give --names full, ' if helps else ''}rename one, {common}or give them "
                    "separate -o folders"
                )
            photos.add(where(photo))
    for job in list(jobs.values()):
        if where(job.target) in photos:
            refuse(f"{job.target}: is one of the photos; give another -o folder")
            del jobs[job.target]
    return list(jobs.values())


def collisions(
    jobs: Iterable[Job], extras: Callable[[Job], Iterable[Path]]
) -> Iterator[tuple[Job, str]]:
    """Yield each job of which a file would also be written by an earlier one, and what to say.

    Args:
        jobs: The jobs.
        extras: Returns the files that are written beside the labels of a job.
    """
    taken: dict[Path, Path] = {}
    for job in jobs:
        for path in (job.target, *extras(job)):
            other = taken.setdefault(path, job.photo)
            if other != job.photo:
                yield job, f"{other} and {job.photo} would both be written to {path}; rename one"
                break


def _inside(path: Path, folder: Path) -> bool:
    return real(folder) in real(path).parents
