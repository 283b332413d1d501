"""Find the photos of a batch, and plan where their labels go."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deconvnet_cli.errors import DeconvnetError, ImageError, UsageError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.remote import RemotePath, place, real

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"))


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


def photos_in(folder: Path, unreadable: Callable[[ImageError], None]) -> list[Path]:
    """Return all photos under a folder, by suffix, sorted by path; without hidden files.

    Args:
        unreadable: Called with an error for each subfolder that cannot be read.
    """

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder removed meanwhile is no error
            unreadable(ImageError(f"{error.filename}: cannot be read ({error.strerror})"))

    found = (
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=note)
        for name in names
        if not name.startswith(".")
    )
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and path.is_file())


def raised(error: DeconvnetError) -> None:
    """Raise the error: the default of the callbacks below."""
    raise error


def find_photos(
    source: str, unreadable: Callable[[ImageError], None] = raised
) -> list[tuple[Path, Path]]:
    """Return the photos of one source, each with its path relative to the output folder.

    Args:
        source: A folder (its tree is kept), a glob, a file, the URL of one of these, or
            ``@list.txt`` (one path or URL a line).
        unreadable: Called with an error for each folder that cannot be read.

    Raises:
        ImageError: The source has no photos.
        UsageError: A list file cannot be read.
    """
    if source.startswith("@"):
        try:
            lines = Path(source[1:]).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source[1:]}: the list cannot be read ({error})") from error
        return [(path, below_anchor(path)) for path in map(place, filter(None, lines))]
    path = place(source)
    if isinstance(path, RemotePath):
        return find_remote(path, unreadable)
    if path.is_dir():
        found = photos_in(path, unreadable)
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


def find_remote(
    path: RemotePath, unreadable: Callable[[ImageError], None]
) -> list[tuple[Path, Path]]:
    """Return the photos at a URL of a file, a glob or a folder, as :func:`find_photos` does.

    Raises:
        ImageError: The URL has no photos, or it cannot be listed.
    """
    if any(mark in path.name for mark in "*?["):
        files = remote.matches(path)
    elif remote.found(path) is not None:
        files = [path]
    else:
        below = ((photo, photo.relative_to(path)) for photo in remote.files_below(path, unreadable))
        kept: list[tuple[Path, Path]] = [
            (photo, Path(*relative.parts))
            for photo, relative in below
            if photo.suffix.lower() in SUFFIXES and not photo.name.startswith(".")
        ]
        if not kept:
            raise ImageError(f"{path}: no photos there, or no such folder")
        return kept
    if not files:
        raise ImageError(f"{path}: no photo matches it")
    return [(photo, Path(photo.name)) for photo in files]


def below_anchor(path: Path) -> Path:
    """Return a path without its root or scheme."""
    if isinstance(path, RemotePath):
        return Path(*path.parts[1:])
    return path.relative_to(path.anchor)


def plan(
    sources: Iterable[str],
    output: Path,
    refused: Callable[[UsageError], None] = raised,
    unreadable: Callable[[ImageError], None] = raised,
    missing_ok: bool = False,
) -> list[Job]:
    """Plan where the labels of all photos go, before the first is made.

    Args:
        refused: Called with the error for each photo that has to be left out. The default
            raises it.
        unreadable: Called with an error for each folder that cannot be read.
        missing_ok: Whether to pass over sources that have no photos.

    Raises:
        UsageError: Two photos would get the same label PNG, a label PNG would replace a photo,
            or a path leads out of the output folder.
        ImageError: See :func:`find_photos`.
    """

    def refuse(message: str) -> None:
        refused(UsageError(message))

    jobs: dict[Path, Job] = {}
    photos = set()
    for source in sources:
        try:
            found = find_photos(source, unreadable)
        except ImageError:
            if missing_ok:
                continue
            raise
        for photo, relative in found:
            if ".." in relative.parts:
                refuse(f"{photo}: leads out of {output}; list paths without '..'")
                continue
            if _inside(output, place(source)) and _inside(photo, output):
                continue  # the output folder lies in the source: these are labels of an earlier run
            job = Job(photo, output / relative.with_suffix(".png"))
            other = jobs.setdefault(job.target, job)
            if real(other.photo) != real(photo):
                refuse(
                    f"{other.photo} and {photo} would both be written to {job.target}; "
                    "rename one or give them separate -o folders"
                )
            photos.add(real(photo))
    for job in list(jobs.values()):
        if real(job.target) in photos:
            refuse(f"{job.target}: is one of the photos; give another -o folder")
            del jobs[job.target]
    return list(jobs.values())


def _inside(path: Path, folder: Path) -> bool:
    return real(folder) in real(path).parents
