"""The lists of a VOC tree, in the forms in which VOC, DeepLab and others write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TypeVar

from deconvnet_cli.data.notes import note
from deconvnet_cli.data.suffixes import ALL_SUFFIXES
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.lists import read_list

Key = TypeVar("Key", str, PurePath)
PHOTOS, MASKS, INSTANCES = "JPEGImages", "SegmentationClass", "SegmentationObject"
ABSENT = "-1"  # VOC's class lists: -1 the class is absent, 0 it is there but difficult, 1 there
CLASS_LINE = re.compile(r"(.*\S)\s+(-1|0|1)\s*")
GAP = re.compile(r"\s+")


def listed_names(path: Path, is_photo: Callable[[str], bool]) -> list[str]:
    """Return the names of photos in a list.

    A line is a name, which may hold spaces, a file such as ``NAME.jpg``, the photo and the mask in
    two columns as DeepLab writes them, or a name and -1, 0 or 1 as in VOC's lists of a class, of
    which -1 (the class is absent) is passed over.

    Args:
        is_photo: Returns whether the tree has a photo of this name.

    Raises:
        DatasetError: The list cannot be read, is empty, or names masks of another folder.
    """
    try:
        lines = read_list(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a readable list of names ({why(error)})") from error
    if not lines:
        raise DatasetError(f"{path}: the list is empty")
    names = [name for line in lines if (name := _name(line, path, is_photo)) is not None]
    if not names:
        raise DatasetError(f"{path}: each of its photos is marked {ABSENT}, so none is left")
    return names


def _name(line: str, path: Path, is_photo: Callable[[str], bool]) -> str | None:
    """Return the name in a line; None if its class is absent."""
    line = line if is_photo(line) else line.strip()
    if is_photo(line):
        return line
    if (found := CLASS_LINE.fullmatch(line)) and not is_photo(_stem(line, PHOTOS)):
        return None if found[2] == ABSENT else _stem(found[1], PHOTOS)
    for gap in GAP.finditer(line):
        photo, mask = _stem(line[: gap.start()], PHOTOS), line[gap.end() :]
        if mask.lower().endswith(".png") and is_photo(photo):
            if _stem(mask, MASKS) != photo:
                raise DatasetError(
                    f"{path}: the mask of {photo} is {mask}; only masks called "
                    f"{MASKS}/{photo}.png are read, so move or link them there"
                )
            return photo
    return _stem(line, PHOTOS)


def _stem(name: str, folder: str) -> str:
    """Return a name without the tree's folder at its start and without the suffix of a photo."""
    inside = name.removeprefix("/").removeprefix(f"{folder}/")
    name = inside if name != inside and f"{folder}/" in name else name
    known = PurePosixPath(name).suffix.lower() in ALL_SUFFIXES
    return name[: name.rindex(".")] if known else name


def leads_out(name: str) -> bool:
    """Return whether a name in a list is the path of a file outside the tree's folders."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def photos_by_name(folder: Path) -> dict[str, list[Path]]:
    """Return the photos of a folder by their names, whatever their suffixes are, in any case.

    Of several photos of one name the first is taken: ``NAME.jpg``, or that of the first suffix.
    """
    paths = (path for path in folder.iterdir() if path.suffix.lower() in ALL_SUFFIXES)
    return grouped(filter(Path.is_file, paths), lambda path: path.stem)


def grouped(photos: Iterable[Path], key: Callable[[Path], Key]) -> dict[Key, list[Path]]:
    """Return photos by their names, or another key; of several, the first is the one to take."""
    found: dict[Key, list[Path]] = {}
    for path in photos:
        found.setdefault(key(path), []).append(path)
    for paths in found.values():
        paths.sort(key=lambda path: (path.suffix != ".jpg", path.suffix.lower(), path.suffix))
    return found


def note_twins(photos: Iterable[Sequence[Path]]) -> None:
    """Say which photo is taken where several have one name, as in :func:`photos_by_name`."""
    twins = [paths for paths in photos if len(paths) > 1]
    if twins:
        first, other = twins[0][:2]
        more = f" ({len(twins)} names have several photos)" if len(twins) > 1 else ""
        note(f"{first}: is taken, and not {other.name} of the same name{more}; remove one")


def paired_names(root: Path) -> tuple[list[str], list[Path]]:
    """Return the names that have a photo and a mask, sorted, and the files without the other."""
    photos = {name: paths[0] for name, paths in photos_by_name(root / PHOTOS).items()}
    masks = {path.stem: path for path in (root / MASKS).glob("*.png")}
    alone = [(photos | masks)[name] for name in sorted(photos.keys() ^ masks.keys())]
    return sorted(photos.keys() & masks.keys()), alone
