"""What every reader of another tool's export returns: classes, names, and a function that reads."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.classes import is_background, listed, twins
from deconvnet_cli.data.decoding import MAX_BYTES, Undecodable, load
from deconvnet_cli.data.faults import first_names
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.photo_files import identify_photo
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

SPLITS = ("train", "val", "test")  # as lists of a tree are called
OTHER_SPLITS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
MOST_OBJECTS = 254  # of one photo, as they are numbered in bytes


@dataclass(frozen=True, eq=False)
class Example:
    """One annotated photo.

    Attributes:
        photo: The photo, mode RGB, upright as its mask is.
        content: The bytes of its file if they are a JPEG of these very pixels, else None.
        mask: Labels uint8 H x W; 255 is ignored.
        objects: Numbers of the objects, uint8 H x W, 0 for none; None if they are not known.
    """

    photo: Image.Image
    content: bytes | None
    mask: NDArray[np.uint8]
    objects: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Export:
    """An export of another tool.

    Attributes:
        kind: What it is, for people: "COCO JSON".
        classes: The names of the labels, the background first.
        names: The names of the photos, each once; paths without suffix.
        read: Reads the example of a name; raises DatasetError or ImageError.
        splits: The names of each split where the export has splits.
        notes: What people should know of it, a sentence each.
        unmasked: Photos that have no mask, and so are left out.
    """

    kind: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    read: Callable[[str], Example]
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unmasked: tuple[Path, ...] = ()


def class_notes(
    found: Iterable[str], classes: Sequence[str], known: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return what people should know of the classes that are taken.

    Args:
        found: The classes that are annotated.
        classes: Those that are taken, the background first.
        known: Further ones that the export names.
    """
    left_out = sorted(name for name in {*found} - {*classes} if not is_background(name))
    missing = [name for name in classes[1:] if name not in {*found, *known}]
    notes = {"left out as background": left_out, "not in the export": missing}
    return (
        *(f"{what}: {listed(names)}" for what, names in notes.items() if names),
        *(f"two classes by their case alone: {names}" for names in twins(classes)),
    )


def split_name(name: str) -> str:
    """Return the name of a list of a tree for a split's own name, such as ``Validation``."""
    lower = name.lower()
    return OTHER_SPLITS.get(lower, lower)


def split_in(text: str) -> str | None:
    """Return the split that a word of a name tells, such as ``instances_val2017``, if one does."""
    words = map(split_name, re.findall(r"[^\W\d_]+", text))
    return next((word for word in words if word in SPLITS), None)


def split_by_folder(root: Path, path: Path) -> str | None:
    """Return the split whose name a folder around a file has, below the root, if one has it.

    COCO's have a year behind it: ``train2017``.
    """
    parts = path.relative_to(root).parent.parts
    folders = (split_name(part.rstrip("0123456789")) for part in parts)
    return next((folder for folder in folders if folder in SPLITS), None)


def splits_below(
    root: Path,
    files: Mapping[str, Path],
    split_of: Callable[[Path, Path], str | None] = split_by_folder,
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the names of each split by their files, and what people should know.

    One split alone is none.

    Args:
        root: The folder of the export; its own name tells nothing.
        files: The annotation file of each name.
        split_of: Returns the split of a file below the root, None if it is in none.
    """
    splits: dict[str, list[str]] = {}
    for name, path in sorted(files.items()):
        if split := split_of(root, path):
            splits.setdefault(split, []).append(name)
    if len(splits) < 2:
        return {}, ()
    return splits, unlisted_notes(files, splits)


def unlisted_notes(names: Iterable[str], splits: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return what people should know of names that are in no split of an export."""
    unlisted = sorted({*names} - {name for listed in splits.values() for name in listed})
    return (f"in no list of the export: {first_names(unlisted)}",) if unlisted else ()


def absent_notes(
    lists: Mapping[str, Iterable[str]],
    labels: Mapping[str, Collection[int]],
    classes: Sequence[str],
) -> list[str]:
    """Return which classes lists lack that other photos have, a line for each such list.

    Args:
        lists: The names of the photos in each list.
        labels: The labels in the mask of each photo.
        classes: The names of the labels, the background first.
    """
    notes = []
    known = {label for found in labels.values() for label in found} & {*range(1, len(classes))}
    for split, names in lists.items():
        if absent := known.difference(*(labels.get(name, ()) for name in names)):
            which = listed(classes[label] for label in sorted(absent))
            notes.append(f"{split}.txt: no photo has {which}")
    return notes


def whole_number(content: Mapping[str, Any], field: str) -> int:
    """Return a field of an annotation.

    Raises:
        KeyError: It is not there.
        ValueError: It is no whole number.
    """
    try:
        return int(content[field])
    except (TypeError, ValueError, OverflowError) as error:
        shown = json.dumps(content[field])
        raise ValueError(f"{field} is {shown:.60}, not a whole number") from error


def form_fault(error: Exception) -> str:
    """Return why an annotation file is not of its form, from the error of reading it."""
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(error) if isinstance(error, ValueError) else "it is of another form"


def oriented_photo(
    source: Path | bytes, size: tuple[int, int] | None, name: str
) -> tuple[Image.Image, bytes | None]:
    """Return a photo in the orientation that its annotation has, and the bytes of its file.

    Annotation tools differ in whether they turn a photo as its EXIF data say; the size of the
    annotation tells.

    Args:
        size: Width and height of the annotation; None if it has none, and means the upright photo.
        name: What errors call the photo.

    Returns:
        The photo, mode RGB, and the bytes of a JPEG that needed no turning, else None.

    Raises:
        ImageError: The photo cannot be read.
        DatasetError: It has another size than its annotation, however it is turned.
    """
    try:
        content = source if isinstance(source, bytes) else read_whole(source, MAX_BYTES)
        upright = read_photo(content, name)
        with identify_photo(content) as image:
            load(image)
            stored = image.convert("RGB")
            as_it_is = image.format == "JPEG" and image.mode == "RGB"
    except OSError as error:
        raise DatasetError(f"{name}: the photo cannot be read ({why(error)})") from error
    except Undecodable as error:
        raise DatasetError(f"{name}: {error}") from error
    turned = upright.size != stored.size or upright.tobytes() != stored.tobytes()
    if size is None or upright.size == size:
        return upright, content if as_it_is and not turned else None
    if stored.size == size:
        return stored, None  # the annotation knows nothing of the EXIF data, which are left out
    raise DatasetError(
        f"{name}: the photo has {upright.width}x{upright.height} pixels, "
        f"its annotation {size[0]}x{size[1]}; export both again"
    )


def jpeg_bytes(photo: Image.Image) -> bytes:
    """Return a photo as the bytes of a JPEG of high quality."""
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=95, subsampling=0, comment=b"")  # a GIF's may be too long
    return buffer.getvalue()


def photo_place(path: str) -> PurePath:
    """Return the path, without suffix, of a photo that an annotation names by its path.

    A drive, the root and ways up are left out: the result lies below any folder.
    """
    *folders, name = PurePosixPath("/", path.replace("\\", "/")).parts
    inside = [part for part in folders if part not in ("/", "..") and not part.endswith(":")]
    return PurePosixPath(*inside, PurePosixPath(name).stem)


def find_photo(folders: list[Path], name: str, source: Path, owners: dict[Path, str]) -> Path:
    """Return the file of a photo that an annotation names.

    Args:
        folders: Where it is looked for, in this order: by its whole path, then by its last parts.
        source: The file that names it, for errors.
        owners: The annotations, by source and name, of the photos that were found; this one is
            added.

    Raises:
        DatasetError: No folder has it, or it is the photo of another annotation.
    """
    # macOS writes an umlaut in the name of a file as two characters, and in JSON it may be one.
    spelt = dict.fromkeys((name, normalize("NFC", name), normalize("NFD", name)))
    paths = [Path(each.replace("\\", "/")).parts for each in spelt]
    for candidate in (Path(*parts[start:]) for parts in paths for start in range(len(parts))):
        if candidate.is_absolute() or ".." in candidate.parts:
            continue
        for folder in folders:
            if not (folder / candidate).is_file():
                continue
            this = f"{source}: {name}"
            if (owner := owners.setdefault(folder / candidate, this)) != this:
                raise DatasetError(
                    f"{this} would be {folder / candidate}, which {owner} is already; keep the "
                    "photos in folders as they are named"
                )
            return folder / candidate
    raise DatasetError(
        f"{source}: names {name}, which is not in {folders[0]}; give its folder with --photos DIR"
    )
