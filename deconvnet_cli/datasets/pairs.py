"""The files of an export by the names that they get in a tree, and masks with their photos."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from deconvnet_cli.data.suffixes import ALL_SUFFIXES
from deconvnet_cli.data.voc_lists import INSTANCES, grouped, note_twins
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.remote import as_compared

T = TypeVar("T")
SEPARATOR = re.compile(r"[._ -]")
NO_MEANING = (".", "__MACOSX")  # how the names of files and folders begin that no one made


@dataclass(frozen=True)
class Pairs:
    """Masks with their photos.

    Attributes:
        found: The photo and the mask of each name.
        unmasked: The photos that have no mask.
    """

    found: Mapping[str, tuple[Path, Path]]
    unmasked: tuple[Path, ...]


def files_below(folder: Path, suffixes: Collection[str], but: Collection[Path] = ()) -> list[Path]:
    """Return the files in a folder and the folders in it, linked ones too, sorted.

    Hidden files and folders are passed over, and what macOS puts beside files in a ZIP.

    Args:
        suffixes: The suffixes of the files, in lower case; those of files may be in any case.
        but: Folders that are not looked into, unless one is ``folder`` itself.

    Raises:
        DatasetError: A folder is missing or cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DatasetError(f"{error.filename}: cannot be read ({why(error)})") from error

    seen = {other.resolve() for other in but}
    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = Path(parent).resolve()
        if real in seen and parent != str(folder):
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(NO_MEANING)]
        paths = [Path(parent, name) for name in names if not name.startswith(NO_MEANING)]
        found += [path for path in paths if path.suffix.lower() in suffixes and path.is_file()]
    return sorted(found)


def by_name(
    files: Sequence[T], place: Callable[[T], PurePath], source: Path, words: Callable[[T], object]
) -> dict[str, T]:
    """Return files by their names in the tree, which has one folder for all.

    The name is that of the file, and where several have it, those of its folders stand before it:
    ``site 1_leaf``.

    Args:
        files: The files, or what stands for them.
        place: Returns where a file lies in the export, without its suffix.
        source: The export, for errors.
        words: Returns what errors call a file.

    Raises:
        DatasetError: Two files have one name still.
    """
    places = [place(file) for file in files]
    shared = Counter(as_compared(Path(path.name)) for path in places)
    named: dict[str, T] = {}
    taken: dict[Path, T] = {}
    for file, path in zip(files, places, strict=True):
        name = joined(path) if shared[as_compared(Path(path.name))] > 1 else path.name
        named[name] = file
        other = taken.setdefault(as_compared(Path(name)), file)
        if other is not file:
            raise DatasetError(
                f"{source}: {words(other)} and {words(file)} would both be called {name} in "
                "the tree; rename one, its photo and its annotation alike"
            )
    return named


def joined(path: PurePath) -> str:
    """Return a place in an export as one name, for files that share their own."""
    return "_".join(path.parts)


def files_by_name(files: Sequence[Path], folder: Path, end: str = "") -> dict[str, Path]:
    """Return the files of a folder and the folders in it by their names, without ``end``.

    Raises:
        DatasetError: Two files have one name.
    """
    return by_name(
        files,
        lambda path: path.relative_to(folder).with_name(path.stem.removesuffix(end) or path.stem),
        folder,
        lambda path: path.relative_to(folder),
    )


def pair(
    masks: Sequence[Path], root: Path, photos: Path, remedy: str, end: str | None = None
) -> Pairs:
    """Return masks with their photos: those at the same place, or the only ones of their names.

    Args:
        root: The folder of the masks.
        photos: The folder of the photos, which may be the same.
        remedy: What to do about a photo that is missing, for errors.
        end: How the stems of the masks end, and those of the photos do not; None looks for it.

    Raises:
        DatasetError: A folder cannot be read, or a mask has no photo, several, or another's.
    """
    if not photos.is_dir():
        raise DatasetError(f"{photos}: no such folder of photos; {remedy}")
    taken = {path.resolve() for path in masks}
    files = files_below(photos, ALL_SUFFIXES, (root, root.parent / INSTANCES))
    files = [path for path in files if path.resolve() not in taken]
    stems = grouped(files, lambda path: path.stem)
    end = _ending([path.stem for path in masks], stems) if end is None else end
    named = files_by_name(masks, root, end)
    chosen = {}
    owners: dict[Path, Path] = {}
    for name, mask in named.items():
        place = photos / mask.parent.relative_to(root)
        stem = mask.stem.removesuffix(end)
        paths = stems.get(stem, [])
        paths = [path for path in paths if path.parent == place] or paths
        if not paths:
            raise DatasetError(
                f"{mask}: {photos} has no photo called {stem}; name a mask as its photo (only an "
                f"ending that all masks have may differ), or {remedy}"
            )
        if len({path.parent for path in paths}) > 1:
            raise DatasetError(
                f"{mask}: its photo may be {paths[0]} or {paths[1]}; rename one, or remove it"
            )
        if (other := owners.setdefault(paths[0], mask)) is not mask:
            raise DatasetError(
                f"{mask}: its photo would be {paths[0]}, which is that of {other}; put the photo "
                "of each where its mask is in the folders, or remove one"
            )
        chosen[name] = paths
    note_twins(chosen.values())
    used = {path for paths in chosen.values() for path in paths}
    found = {name: (paths[0], named[name]) for name, paths in chosen.items()}
    return Pairs(found, tuple(path for path in files if path not in used))


def _ending(masks: Sequence[str], photos: Collection[str]) -> str:
    """Return the ending that all masks have and their photos lack, such as ``_mask``, if any.

    The shortest one: the mask ``leaf_1_mask`` is of ``leaf_1``, although there is a ``leaf``.
    """
    if any(stem in photos for stem in masks):
        return ""
    first = masks[0]
    for end in (first[found.start() :] for found in reversed([*SEPARATOR.finditer(first)])):
        bare = [stem.removesuffix(end) for stem in masks if stem.endswith(end)]
        if len(bare) == len(masks) and any(stem in photos for stem in bare):
            return end
    return ""
