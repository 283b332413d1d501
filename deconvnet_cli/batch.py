"""Many photos: which there are, where their labels go, and doing them."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deconvnet_cli.errors import DeconvnetError, ImageError, UsageError
from deconvnet_cli.files import make_folder
from deconvnet_cli.pipeline import in_order

Line = TypeVar("Line")

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"))


@dataclass(frozen=True)
class Job:
    """One photo and the label PNG that is made of it."""

    photo: Path
    target: Path

    @property
    def scores(self) -> Path:
        """Where the photo's scores are kept, if they are: beside its labels."""
        return self.target.with_suffix(".npz")


def photos_in(folder: Path) -> list[Path]:
    """All photos under a folder, by suffix, sorted by path; hidden files are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def find_photos(source: str) -> list[tuple[Path, Path]]:
    """The photos of one source, each with its path relative to the output folder.

    Args:
        source: a folder (its tree is kept), ``@list.txt`` (a path a line), a glob, or a file.

    Raises:
        ImageError: nothing is there.
        UsageError: a list file that cannot be read.
    """
    if source.startswith("@"):
        try:
            lines = Path(source[1:]).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source[1:]}: the list cannot be read ({error})") from error
        return [(Path(line), Path(line).relative_to(Path(line).anchor)) for line in lines if line]
    path = Path(source)
    if path.is_dir():
        found = photos_in(path)
        if not found:
            raise ImageError(f"{path}: no photos in this folder")
        return [(photo, photo.relative_to(path)) for photo in found]
    if path.exists():
        return [(path, Path(path.name))]
    matches = sorted(Path(match) for match in glob.glob(source, recursive=True))
    files = [match for match in matches if match.is_file()]
    if not files:
        raise ImageError(f"{source}: no such file or folder, and no photo matches it")
    return [(match, Path(match.name)) for match in files]


def plan(sources: Iterable[str], output: Path) -> list[Job]:
    """Where the labels of all photos go, before the first is made.

    Raises:
        UsageError: two photos would get the same label PNG, a label PNG would take the place of
            a photo, or a path leads out of the output folder.
        ImageError: see :func:`find_photos`.
    """
    jobs: dict[Path, Job] = {}
    photos = set()
    for source in sources:
        for photo, relative in find_photos(source):
            if ".." in relative.parts:
                raise UsageError(f"{photo}: leads out of {output}; list paths without '..'")
            if _inside(output, Path(source)) and _inside(photo, output):
                continue  # the output lies in the source folder: labels of an earlier run
            job = Job(photo, output / relative.with_suffix(".png"))
            other = jobs.setdefault(job.target, job)
            if other.photo.resolve() != photo.resolve():
                raise UsageError(
                    f"{other.photo} and {photo} would both be written to {job.target}; "
                    "rename one or give them separate -o folders"
                )
            photos.add(photo.resolve())
    for job in jobs.values():
        if job.target.resolve() in photos:
            raise UsageError(f"{job.target}: is one of the photos; give another -o folder")
    return list(jobs.values())


def run(
    jobs: list[Job],
    make: Callable[[Job], Line],
    made: Callable[[Line], None],
    failed: Callable[[Job, DeconvnetError], None],
    workers: int = 1,
) -> int:
    """Do the jobs; one that fails is told to ``failed`` and the others go on.

    Args:
        make: does a job, in one of ``workers`` threads.
        made: is told what ``make`` returned, in this thread and in the order of the jobs.

    Returns:
        How many failed.
    """

    def begin(job: Job) -> Line:
        make_folder(job.target.parent)
        return make(job)

    count = 0
    for job, result in in_order(jobs, begin, workers):
        try:
            made(result())
        except DeconvnetError as error:
            count += 1
            failed(job, error)
        except Exception as error:  # of torch, OpenCV or memory: one photo must not stop the rest
            count += 1
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            failed(job, DeconvnetError(f"{job.photo}: cannot be segmented ({what})"))
    return count


def _inside(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents
