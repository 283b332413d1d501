"""COCO JSON: polygons and run lengths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import with_background
from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.datasets.export import (
    MOST_OBJECTS,
    Example,
    Export,
    class_notes,
    find_photo,
    oriented_photo,
    splits_below,
    whole_number,
)
from deconvnet_cli.datasets.pairs import by_name
from deconvnet_cli.errors import DatasetError, DependencyError
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.storage.files import read_whole

MAX_BYTES = 2_000_000_000
Labelled = tuple[int, Mapping[str, Any]]  # an annotation and its label, 0 where it is not taken


@dataclass(frozen=True)
class _File:
    """The content of one file.

    Attributes:
        path: The file.
        images: The images by their ids.
        annotations: The annotations of each image, by its id.
        categories: The names of the classes by their ids.
    """

    path: Path
    images: dict[int, dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]

    def found(self) -> list[str]:
        """Return the classes that have annotations, by their ids."""
        used = {int(item["category_id"]) for items in self.annotations.values() for item in items}
        return [self.categories[number] for number in sorted(used)]


def open_coco(
    source: Path, paths: Sequence[Path], photos: Path | None, wanted: Sequence[str] | None
) -> Export:
    """Open files of COCO's instances, whose classes go by their names.

    Args:
        source: The file, or the folder of the files, in which they may lie in folders of splits.
        paths: The JSON files.
        photos: The folder of the photos; by default they are looked for beside the files.
        wanted: The classes, in the order of their labels; None takes those that have annotations,
            by their numbers.

    Raises:
        DatasetError: A file cannot be read or is not of COCO's form, or photos have one name.
        DependencyError: pycocotools is not installed.
    """
    _masks()
    files = [_open_file(path) for path in paths]
    homes = {
        file.path: "" if len(files) == 1 else f"{file.path.parent.relative_to(source)}/"
        for file in files
    }
    names = by_name(
        [(file, image) for file in files for image in file.images.values()],
        lambda item: _stem(item[1]["file_name"]),
        source,
        lambda item: homes[item[0].path] + item[1]["file_name"],
    )
    known = [file.categories[number] for file in files for number in sorted(file.categories)]
    used = set()
    for file in files:
        if (names_used := file.found()) and wanted is None:
            with_background(names_used, str(file.path))  # refuses two numbers of one name
        used.update(names_used)
    found = [name for name in dict.fromkeys(known) if name in used]
    classes = with_background(wanted if wanted is not None else found, str(source))

    def label(file: _File, item: Mapping[str, Any]) -> int:
        name = file.categories[int(item["category_id"])]
        return classes.index(name) if name in classes else 0

    def read(name: str) -> Example:
        file, image = names[name]
        path = file.path
        above = path.parent.parent
        folders = [path.parent, path.parent / "images", above, above / "images"]
        photo_file = find_photo([photos] if photos else folders, str(image["file_name"]), path)
        size = int(image["width"]), int(image["height"])
        photo, content = oriented_photo(photo_file, size, str(photo_file))
        annotations = [(label(file, item), item) for item in file.annotations[int(image["id"])]]
        mask, objects = _draw(annotations, size, f"{path}, {name}")
        return Example(photo, content, mask, objects)

    splits, split_notes = splits_below(source, {name: names[name][0].path for name in names})
    labelled = [
        [(label(file, item), item) for item in items]
        for file in files
        for items in file.annotations.values()
    ]
    notes = [*class_notes(found, classes, known), *_without_mask(labelled, source), *split_notes]
    empty = [name for name in dict.fromkeys(known) if name not in used]
    if empty and wanted is None:
        named = ", ".join(empty)
        notes.append(f"left out, as they have no annotation (--classes keeps them): {named}")
    return Export("COCO JSON", classes, tuple(sorted(names)), read, splits, tuple(notes))


def _open_file(path: Path) -> _File:
    content = _load(path)
    if isinstance(content, dict) and "shapes" in content:
        raise DatasetError(f"{path}: a LabelMe file; give the folder of these files")
    try:
        images = {int(image["id"]): image for image in content["images"]}
        if len(images) < len(content["images"]):
            raise ValueError("two images have one id")
        for image in images.values():
            whole_number(image, "width"), whole_number(image, "height"), _stem(image["file_name"])
        categories = {int(item["id"]): str(item["name"]).strip() for item in content["categories"]}
        annotations: dict[int, list[dict[str, Any]]] = {number: [] for number in images}
        for item in content["annotations"]:
            if int(item["image_id"]) not in annotations:
                raise ValueError(f"no image has the id {item['image_id']}")
            annotations[int(item["image_id"])].append(item)
            if int(item["category_id"]) not in categories:
                raise ValueError(f"no category has the id {item['category_id']}")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path}: not COCO's instances ({why}); export them again") from error
    return _File(path, images, annotations, categories)


def _without_mask(photos: Sequence[Sequence[Labelled]], source: Path) -> list[str]:
    """Return a line about the annotations that are boxes alone, if there are any.

    Raises:
        DatasetError: All of them are.
    """
    photos = [items for items in photos if items]
    if photos and not any(item.get("segmentation") for items in photos for _, item in items):
        raise DatasetError(f"{source}: has boxes but no masks; export segmentations")
    bare = [
        sum(label > 0 and not item.get("segmentation") for label, item in items) for items in photos
    ]
    if not sum(bare):
        return []
    where = counted(sum(count > 0 for count in bare), "photo")
    return [f"{counted(sum(bare), 'annotation')} without a mask in {where}: left as background"]


def _masks() -> Any:
    """Return pycocotools' masks."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DependencyError(
            "COCO's masks need pycocotools: pip install 'pycocotools>=2.0.8'"
        ) from error
    return mask


def _load(path: Path) -> Any:
    try:
        return json.loads(read_whole(path, MAX_BYTES))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not readable as JSON ({error})") from error


def _stem(file_name: str) -> str:
    """Return a photo's name: the last part of its path, without suffix."""
    return Path(file_name.replace("\\", "/")).stem


def _draw(
    annotations: Sequence[Labelled], size: tuple[int, int], source: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the mask and the numbered objects of a photo, uint8 H x W each.

    Small objects are drawn over large ones; a crowd is ignored where no object is.
    """
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    objects = np.zeros((height, width), np.uint8)
    drawn = []
    for label, item in annotations:
        if not label or not item.get("segmentation"):
            continue
        try:
            inside = _inside(item["segmentation"], width, height)
        except Exception as error:  # pycocotools raises many kinds, the plain one among them
            why = str(error) if isinstance(error, ValueError) else repr(error)
            raise DatasetError(
                f"{source}: the segmentation of annotation {item.get('id')} is wrong ({why}); "
                "correct or remove it"
            ) from error
        drawn.append((not item.get("iscrowd"), -int(inside.sum()), label, inside))
    drawn.sort(key=lambda found: found[:2])
    single = [found for found in drawn if found[0]]
    if len(single) > MOST_OBJECTS:
        raise DatasetError(f"{source}: {len(single)} objects; at most {MOST_OBJECTS} are numbered")
    number = 0
    for is_single, _, label, inside in drawn:
        mask[inside] = label if is_single else IGNORE
        number += is_single
        objects[inside] = number if is_single else 0
    return mask, objects


def _inside(segmentation: Any, width: int, height: int) -> NDArray[np.bool_]:
    """Return where an object is, bool H x W, from its polygons or run lengths."""
    masks = _masks()
    if isinstance(segmentation, list):
        # Slivers have no area, and pycocotools takes a first polygon of four numbers for a box.
        areas = [polygon for polygon in segmentation if len(polygon) >= 6]
        for polygon in areas or segmentation:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon) / 2:g} points is no area")
        runs = masks.merge(masks.frPyObjects(areas, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = masks.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    if list(runs["size"]) != [height, width]:
        raise ValueError(f"run lengths of {runs['size']} pixels")
    found: NDArray[np.bool_] = masks.decode(runs).astype(bool)
    return found
