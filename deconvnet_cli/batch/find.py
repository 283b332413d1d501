"""Find the photos of folders, globs, lists and URLs, and count the files that are left out."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import filter as fnfilter
from pathlib import Path

from deconvnet_cli.batch.manifest import MANIFESTS, written_in
from deconvnet_cli.data.label_png import has_label_palette
from deconvnet_cli.data.photo_files import HEIF_REMEDY
from deconvnet_cli.data.suffixes import HEIF_SUFFIXES, suffixes
from deconvnet_cli.data.video_files import VIDEO_HINT, VIDEO_SUFFIXES, is_clip
from deconvnet_cli.errors import DatasetError, DeconvnetError, ImageError, UsageError
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.lists import read_list
from deconvnet_cli.storage.remote import RemotePath, place

LINKED = "in links to folders that are read anyway or hold this one"
HIDDEN = "hidden"
HIDDEN_FOLDERS = "hidden folders"
IN_HIDDEN_FOLDERS = "in hidden folders"
WRITTEN = "written by an earlier batch"
LABELS = "label PNGs"


def raised(error: DeconvnetError) -> None:
    """Raise the error: the default of the callbacks below."""
    raise error


def photos_in(
    folder: Path,
    unreadable: Callable[[ImageError], None],
    left_out: Counter[str],
    output: Path | None = None,
) -> list[Path]:
    """Return all photos under a folder, by suffix, sorted by path; without what is hidden.

    Linked folders are read too, but not those that are or hold a folder that is read anyway. Label
    PNGs, and what else earlier batches wrote, are left out.

    Args:
        unreadable: Called with an error for each subfolder that cannot be read.
        left_out: Counts the files that are no photos, by suffix, and what else is left out.
        output: A folder that is passed over: the labels of earlier runs.
    """
    found = []
    written: set[Path] = set()
    below = _folders_below(str(folder), unreadable, left_out, output, written)
    for path in (Path(parent, name) for parent, names in below for name in names):
        if reason := made(path, written) or no_photo(path):
            left_out[reason] += 1
        elif path.is_file():
            found.append(path)
        else:
            left_out["that are no files"] += 1
    return sorted(found)


def made(path: Path, written: set[Path]) -> str:
    """Return as what a file is left out that is no photo but made of one, or ""."""
    if path in written:
        return WRITTEN
    is_png = path.suffix.lower() == ".png" and path.is_file()
    return LABELS if is_png and has_label_palette(path) else ""


def no_photo(path: Path) -> str:
    """Return as what a file is left out by its name, or "" for a photo's name."""
    if path.name.startswith("."):
        return HIDDEN
    suffix = path.suffix.lower()
    return "" if suffix in suffixes() else suffix or "without suffix"


def _folders_below(
    folder: str,
    unreadable: Callable[[ImageError], None],
    left_out: Counter[str],
    output: Path | None,
    written: set[Path],
) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder and the names of its files; read no folder twice, and no hidden one.

    The files that earlier batches wrote are added to ``written``.
    """

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder removed meanwhile is no error
            unreadable(ImageError(f"{error.filename}: cannot be read ({error.strerror})"))

    read = [os.path.realpath(folder)]  # and the linked folders, none of which holds another
    passed_over = None if output is None else os.path.realpath(output)
    for parent, folders, names in os.walk(folder, onerror=note, followlinks=True):
        kept = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            target = os.path.realpath(path)
            if target == passed_over:
                continue
            if name.startswith("."):
                left_out[HIDDEN_FOLDERS] += 1
                continue
            if os.path.islink(path):
                if any(_holds(target, one) or _holds(one, target) for one in read):
                    left_out[LINKED] += 1
                    continue
                read.append(target)
            kept.append(name)
        folders[:] = kept
        if fnfilter(names, MANIFESTS):
            try:
                written |= written_in(Path(parent))
            except DatasetError as error:
                unreadable(ImageError(str(error)))
        yield parent, names


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def summary(left_out: Counter[str]) -> str:
    """Return a line such as ``5 left out: 2 .heic (pip install pillow-heif), 3 .txt``."""
    remedies = dict.fromkeys(HEIF_SUFFIXES, f" ({HEIF_REMEDY})")
    remedies |= dict.fromkeys(VIDEO_SUFFIXES, " (`deconvnet segment` labels videos)")
    kinds = [f"{count} {kind}{remedies.get(kind, '')}" for kind, count in left_out.most_common()]
    return f"{left_out.total()} left out: {', '.join(kinds)}" if kinds else ""


def find_photos(
    source: str,
    unreadable: Callable[[ImageError], None] = raised,
    left_out: Counter[str] | None = None,
    output: Path | None = None,
) -> list[tuple[Path, Path]]:
    """Return the photos of one source, each with its path relative to the output folder.

    Args:
        source: A folder (its tree is kept), a glob, a file, the URL of one of these, or
            ``@list.txt`` (one path or URL a line).
        unreadable: Called with an error for each folder that cannot be read.
        left_out: See :func:`photos_in`.
        output: See :func:`photos_in`.

    Raises:
        ImageError: The source has no photos.
        UsageError: A list file cannot be read.
    """
    left_out = Counter() if left_out is None else left_out
    if source.startswith("@"):
        try:
            lines = read_list(Path(source[1:]))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source[1:]}: the list cannot be read ({error})") from error
        if any("\0" in line for line in lines):
            raise UsageError(f"{source[1:]}: has zero bytes; write one path a line")
        found = [(path, below_anchor(path)) for path in map(place, lines)]
        for line, (_, below) in zip(lines, found, strict=True):
            if not below.name:  # as of "." or "/"
                raise UsageError(f"{source[1:]}: {line!r} names no file; write one path a line")
        return found
    path = place(source)
    here: Counter[str] = Counter()
    if isinstance(path, RemotePath):
        found = find_remote(path, unreadable, here)
        none = "no photo matches it, or no such folder"
    elif path.is_dir():
        photos = photos_in(path, unreadable, here, output)
        found = [(photo, photo.relative_to(path)) for photo in photos]
        none = "no photos in this folder"
    elif path.exists():
        if is_clip(path):
            raise ImageError(f"{path}: {VIDEO_HINT}")
        return [(path, Path(path.name))]
    else:
        matches = glob_matches(source, unreadable, here, output)
        files = [match for match in matches if match.is_file()]
        here.update(["folders"] * (len(matches) - len(files)))
        clips = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
        here.update(clip.suffix.lower() for clip in clips)
        photos = [file for file in files if file.suffix.lower() not in VIDEO_SUFFIXES]
        found = [(photo, Path(photo.name)) for photo in photos]
        none = "no such file or folder, and no photo matches it"
        if clips and not found:
            left_out.update(here)
            raise ImageError(f"{clips[0]}: {VIDEO_HINT}")
    left_out.update(here)
    if not found:
        raise ImageError(f"{source}: {none}{'; ' if here else ''}{summary(here)}")
    return found


def glob_matches(
    pattern: str,
    unreadable: Callable[[ImageError], None],
    left_out: Counter[str],
    output: Path | None,
) -> list[Path]:
    """Return what matches a glob. Brackets are text where a folder or file is called so.

    The arguments are those of :func:`photos_in`, as ``**`` reads folders as it does.
    """

    def expand(parts: tuple[str, ...], here: Counter[str]) -> Iterator[Path]:
        # Python's own ** follows links that lead back, for ever.
        start = str(Path(*parts[: parts.index("**")] if "**" in parts else parts))
        for match in glob.iglob(start):
            if "**" not in parts:
                yield Path(match)
                continue
            rest = parts[parts.index("**") + 1 :] or ("*",)
            for folder, _ in _folders_below(match, unreadable, here, output, written):
                yield from expand((*Path(glob.escape(folder)).parts, *rest), here)

    known, rest = Path(), list(Path(pattern).parts)
    while rest and (known / rest[0]).exists():
        known /= rest.pop(0)
    literal = Path(glob.escape(str(known)))
    escaped = [part.replace("[", "[[]") for part in rest]
    for one in (Path(pattern), literal.joinpath(*rest), literal.joinpath(*escaped)):
        here: Counter[str] = Counter()
        written: set[Path] = set()
        if matches := sorted(set(expand(one.parts, here))):
            if "**" not in one.parts:
                return matches  # those are asked for
            reasons = [made(match, written) for match in matches]
            here.update(filter(None, reasons))
            kept = [match for match, why in zip(matches, reasons, strict=True) if not why]
            del here[HIDDEN_FOLDERS]  # a glob is not expected to look there
            left_out.update(+here)
            return kept
    return []


def find_remote(
    path: RemotePath, unreadable: Callable[[ImageError], None], left_out: Counter[str]
) -> list[tuple[Path, Path]]:
    """Return the photos at a URL of a file, a glob or a folder, as :func:`find_photos` does.

    Raises:
        ImageError: The URL cannot be listed.
    """
    if remote.found(path) is not None:
        return [(path, Path(path.name))]
    if any(mark in str(path) for mark in "*?") or "[" in path.name:
        return [(photo, Path(photo.name)) for photo in remote.matches(path)]
    kept: list[tuple[Path, Path]] = []
    for photo in remote.files_below(path, unreadable):
        relative = Path(*photo.relative_to(path).parts)
        if any(part.startswith(".") for part in relative.parent.parts):
            left_out[IN_HIDDEN_FOLDERS] += 1
        elif reason := no_photo(photo):
            left_out[reason] += 1
        else:
            kept.append((photo, relative))
    return kept


def below_anchor(path: Path) -> Path:
    """Return a path without its root or scheme."""
    if isinstance(path, RemotePath):
        return Path(*path.parts[1:])
    return path.relative_to(path.anchor)
