"""Find the photos of folders, globs, lists and URLs, and count the files that are left out."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import filter as fnfilter
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from deconvnet_cli.batch.manifest import MANIFESTS, written_in
from deconvnet_cli.batch.source import file_state
from deconvnet_cli.data.label_png import DRAWN_PICTURE, HEAD, LABEL_PNG, made_kind, png_head
from deconvnet_cli.data.photo_files import HEIF_REMEDY
from deconvnet_cli.data.suffixes import HEIF_SUFFIXES, suffixes
from deconvnet_cli.data.video_files import VIDEO_HINT, VIDEO_SUFFIXES, is_clip
from deconvnet_cli.errors import DatasetError, DeconvnetError, ImageError, UsageError
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.lists import given_list
from deconvnet_cli.storage.remote import RemotePath, below_anchor, place

LINKED = "in links to folders that are read anyway or hold this one"
WRITTEN = "written by an earlier batch"
FOLDER, HIDDEN_FOLDER = "folder", "hidden folder"
NOUNS = (LABEL_PNG, DRAWN_PICTURE, FOLDER, HIDDEN_FOLDER)
UNMARKED = (".overlay.png", ".cutout.png", ".mask.png")  # drawn pictures of earlier versions
AnyPath = TypeVar("AnyPath", bound=Path)


def raised(error: DeconvnetError) -> None:
    """Raise the error: the default of callbacks."""
    raise error


@dataclass(frozen=True)
class Look:
    """A look for photos.

    Attributes:
        output: A folder that is passed over: the labels of earlier runs.
        unreadable: Called with an error for each folder that cannot be read.
        left_out: Counts the files that are no photos, by suffix, and what else is left out.
        written: The files that earlier batches wrote to the folders that have been read.
    """

    output: Path | None = None
    unreadable: Callable[[ImageError], None] = raised
    left_out: Counter[str] = field(default_factory=Counter)
    written: set[Path] = field(default_factory=set)

    def kept(self, paths: Iterable[AnyPath], why: Callable[[AnyPath], str]) -> list[AnyPath]:
        """Return the paths for which ``why`` returns ""; count the others by what it returns."""
        kept = []
        for path in paths:
            if reason := why(path):
                self.left_out[reason] += 1
            else:
                kept.append(path)
        return kept

    def made(self, path: Path) -> str:
        """Return as what a file is left out that is no photo but made of one, or ""."""
        if path in self.written:
            return WRITTEN
        return made_png(path, lambda png: _kind_now(png, file_state(png)))


def made_png(path: Path, kind_of: Callable[[Path], str]) -> str:
    """Return as what a PNG is left out by its kind, or as a picture beside a label PNG, or ""."""
    if path.suffix.lower() != ".png":
        return ""
    kind = kind_of(path)
    if kind or not path.name.endswith(UNMARKED):
        return kind
    labels = path.with_suffix("").with_suffix(".png")
    return DRAWN_PICTURE if kind_of(labels) == LABEL_PNG else ""


@lru_cache(maxsize=1 << 16)  # 43 MB when full
def _kind_now(path: Path, state: remote.Found | None) -> str:
    """Return the kind of a PNG, which is read again only when its state has changed."""
    return made_kind(png_head(path))


def photos_in(folder: Path, look: Look) -> list[Path]:
    """Return all photos under a folder, by suffix, sorted by path; without what is hidden.

    Linked folders are read too, but not those that are or hold a folder that is read anyway. Label
    PNGs, pictures of this package, and what else earlier batches wrote, are left out.
    """

    def why(path: Path) -> str:
        return look.made(path) or no_photo(path) or ("" if path.is_file() else "that are no files")

    below = _folders_below(str(folder), look)
    return sorted(look.kept((Path(parent, name) for parent, names in below for name in names), why))


def no_photo(path: Path) -> str:
    """Return as what a file is left out by its name, or "" for a photo's name."""
    if path.name.startswith("."):
        return "hidden"
    suffix = path.suffix.lower()
    return "" if suffix in suffixes() else suffix or "without suffix"


def _folders_below(folder: str, look: Look) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder and the names of its files; read no folder twice, and no hidden one."""

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder removed meanwhile is no error
            look.unreadable(ImageError(f"{error.filename}: cannot be read ({error.strerror})"))

    read = [os.path.realpath(folder)]  # and the linked folders, none of which holds another
    passed_over = None if look.output is None else os.path.realpath(look.output)
    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        kept = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            target = os.path.realpath(path)
            if target == passed_over:
                continue
            if name.startswith("."):
                look.left_out[HIDDEN_FOLDER] += 1
                continue
            if os.path.islink(path):
                if any(_holds(target, one) or _holds(one, target) for one in read):
                    look.left_out[LINKED] += 1
                    continue
                read.append(target)
            kept.append(name)
        folders[:] = kept
        if fnfilter(names, MANIFESTS):
            try:
                look.written.update(written_in(Path(parent)))
            except DatasetError as error:
                look.unreadable(ImageError(str(error)))
        yield parent, names


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def summary(left_out: Counter[str]) -> str:
    """Return a line such as ``5 left out: 2 .heic (pip install pillow-heif), 3 .txt``."""
    remedies = dict.fromkeys(HEIF_SUFFIXES, f" ({HEIF_REMEDY})")
    remedies |= dict.fromkeys(VIDEO_SUFFIXES, " (`deconvnet segment` labels videos)")
    kinds = []
    for kind, count in left_out.most_common():
        words = counted(count, kind) if kind in NOUNS else f"{count} {kind}"
        kinds.append(f"{words}{remedies.get(kind, '')}")
    return f"{left_out.total()} left out: {', '.join(kinds)}" if kinds else ""


def find_photos(source: str, look: Look) -> list[tuple[Path, Path]]:
    """Return the photos of one source, each with its path relative to the output folder.

    Args:
        source: A folder (its tree is kept), a glob, a file, the URL of one of these, or
            ``@list.txt`` (one path or URL a line).

    Raises:
        ImageError: The source has no photos.
        UsageError: A list file cannot be read.
    """
    if source.startswith("@"):
        return listed_photos(Path(source[1:]))
    path, here = place(source), replace(look, left_out=Counter())
    none = "no such file or folder, and no photo matches it"
    if isinstance(path, RemotePath):
        found = find_remote(path, here)
        none = "no photo matches it, or no such folder"
    elif path.is_dir():
        found = [(photo, photo.relative_to(path)) for photo in photos_in(path, here)]
        none = "no photos in this folder"
    elif path.exists():
        if is_clip(path):
            raise ImageError(f"{path}: {VIDEO_HINT}")
        found = [(path, Path(path.name))]
    else:
        matches = here.kept(glob_matches(source, here), clip_or_folder)
        found = [(photo, Path(photo.name)) for photo in matches]
    look.left_out.update(here.left_out)
    if not found:
        raise ImageError(f"{source}: {none}{'; ' if here.left_out else ''}{summary(here.left_out)}")
    return found


def listed_photos(path: Path) -> list[tuple[Path, Path]]:
    """Return the photos of a list, as :func:`find_photos` does."""
    lines = given_list(path)
    if any("\0" in line for line in lines):
        raise UsageError(f"{path}: has zero bytes; write one path a line")
    found = [(photo, below_anchor(photo)) for photo in map(place, lines)]
    for line, (_, below) in zip(lines, found, strict=True):
        if not below.name:  # as of "." or "/"
            raise UsageError(f"{path}: {line!r} names no file; write one path a line")
    return found


def clip_or_folder(match: Path) -> str:
    """Return as what the match of a glob is left out, or ""."""
    if not match.is_file():
        return FOLDER
    return match.suffix.lower() if match.suffix.lower() in VIDEO_SUFFIXES else ""


def glob_matches(pattern: str, look: Look) -> list[Path]:
    """Return what matches a glob. Brackets are text where a folder or file is called so."""

    def expand(parts: tuple[str, ...], here: Look) -> Iterator[Path]:
        # Python's own ** follows links that lead back, for ever.
        start = str(Path(*parts[: parts.index("**")] if "**" in parts else parts))
        for match in glob.iglob(start):
            if "**" not in parts:
                yield Path(match)
                continue
            rest = parts[parts.index("**") + 1 :] or ("*",)
            for folder, _ in _folders_below(match, here):
                yield from expand((*Path(glob.escape(folder)).parts, *rest), here)

    known, rest = Path(), list(Path(pattern).parts)
    while rest and (known / rest[0]).exists():
        known /= rest.pop(0)
    literal = Path(glob.escape(str(known)))
    escaped = [part.replace("[", "[[]") for part in rest]
    for one in (Path(pattern), literal.joinpath(*rest), literal.joinpath(*escaped)):
        here = replace(look, left_out=Counter(), written=set())
        if matches := sorted(set(expand(one.parts, here))):
            if "**" not in one.parts:
                return matches  # those are asked for
            kept = here.kept(matches, here.made)
            del here.left_out[HIDDEN_FOLDER]  # a glob is not expected to look there
            look.left_out.update(here.left_out)
            return kept
    return []


def find_remote(path: RemotePath, look: Look) -> list[tuple[Path, Path]]:
    """Return the photos at a URL of a file, a glob or a folder, as :func:`find_photos` does.

    Raises:
        ImageError: The URL cannot be listed.
    """
    if remote.found(path) is not None:
        return [(path, Path(path.name))]
    if any(mark in str(path) for mark in "*?") or "[" in path.name:
        matches = remote.matches(path)
        if "**" in path.parts:  # else those are asked for
            matches = without_made(matches, look)
        return [(photo, Path(photo.name)) for photo in matches]

    def below(photo: Path) -> Path:
        return Path(*photo.relative_to(path).parts)

    def why(photo: Path) -> str:
        hidden = any(part.startswith(".") for part in below(photo).parent.parts)
        return "in hidden folders" if hidden else no_photo(photo)

    photos = without_made(look.kept(remote.files_below(path, look.unreadable), why), look)
    return [(photo, below(photo)) for photo in photos]


def without_made(photos: list[RemotePath], look: Look) -> list[RemotePath]:
    """Return remote photos without the PNGs that are made of one; only their heads are read."""
    pngs = [photo for photo in photos if photo.suffix.lower() == ".png"]
    kinds: dict[Path, str] = dict(zip(pngs, map(made_kind, remote.heads(pngs, HEAD)), strict=True))
    return look.kept(photos, lambda photo: made_png(photo, lambda png: kinds.get(png, "")))
