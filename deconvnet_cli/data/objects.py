"""The annotated objects of a VOC tree, and its photos with their masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.annotations import read_annotation
from deconvnet_cli.data.boxes import Box
from deconvnet_cli.data.classes import listed, quoted
from deconvnet_cli.data.decoding import MAX_BYTES, Undecodable, lies_on_its_side
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_colours import instances_of
from deconvnet_cli.data.label_png import read_png, tree_mask
from deconvnet_cli.data.mask_check import Faults
from deconvnet_cli.data.photo_files import identify_photo
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.data.voc_lists import INSTANCES
from deconvnet_cli.errors import DatasetError, ImageError, why
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.storage.files import read_whole

SMALLEST_OBJECT = 0.005  # share of the photo; smaller components are specks in a mask
# Pixels of SegmentationObject that belong to no instance.
NO_INSTANCE = (0, IGNORE)


@dataclass(frozen=True)
class ObjectBox:
    """An object of the photo ``name``: its label and its half-open box in pixels."""

    name: str
    label: int
    box: Box


def list_names(tree: VocTree, lists: tuple[str, ...]) -> list[str]:
    """Return the names of several lists, each name once, in order of first appearance."""
    return list(dict.fromkeys(name for split in lists for name in tree.names(split)))


def read_photo_and_mask(tree: VocTree, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Return a photo, as ``segment`` sees it (mode RGB, upright), and its mask (uint8 H x W).

    Raises:
        ImageError: The photo cannot be read.
        DatasetError: The mask cannot be read or has another size.
    """
    image = read_photo(tree.image(name))
    return image, tree_mask(tree, name, image.size)


def upright_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a photo as a viewer shows it, without decoding its pixels.

    Raises:
        ImageError: The photo cannot be read.
    """
    try:
        with identify_photo(read_whole(path, MAX_BYTES)) as image:
            width, height = image.size
            return (height, width) if lies_on_its_side(image) else (width, height)
    except OSError as error:
        raise ImageError(f"{path}: not a readable photo ({why(error)})") from error
    except Undecodable as error:
        raise ImageError(f"{path}: not a readable photo ({error})") from error


def find_objects(
    tree: VocTree, names: list[str], on_photo: Callable[[], None] = lambda: None
) -> list[ObjectBox]:
    """Return the objects of each photo.

    They are its instances if the tree has ``SegmentationObject``, else the boxes of its
    ``Annotations`` if it has these, else the connected components of each class. This opens every
    photo and mask, so it finds bad data.

    Raises:
        ImageError: A photo is missing or cannot be read, and nothing else is wrong.
        DatasetError: Masks are missing or wrong, or no mask has any object.
    """
    objects: list[ObjectBox] = []
    faults = Faults(tree.root)
    for name in names:
        with faults.noted():
            mask = tree_mask(tree, name, upright_size(tree.image(name)))
            faults.look_at(tree.mask(name), mask)
            found = photo_objects(tree, name, mask)
            least = SMALLEST_OBJECT * mask.size
            objects += [ObjectBox(name, label, box) for label, box, area in found if area >= least]
        on_photo()
    faults.require_none()
    if not objects:
        raise DatasetError(f"{tree.root}: no object in the masks of these {len(names)} photos")
    return objects


def photo_objects(
    tree: VocTree, name: str, mask: NDArray[np.uint8]
) -> Iterable[tuple[int, Box, int]]:
    """Return label, box and area (pixels) of each object of a photo, from the best source.

    The area of an annotated box is that of its pixels of the object's class. Its parts beyond the
    edges of the photo are cut off.

    Raises:
        DatasetError: Instances or annotations are damaged, or an annotated box lies outside of the
            photo.
    """
    instances = tree.root / INSTANCES / f"{name}.png"
    if instances.is_file():
        return instance_objects(mask, instances)
    annotation = tree.root / "Annotations" / f"{name}.xml"
    if annotation.is_file():
        return [
            (label, (x0, y0, x1, y1), int((mask[y0:y1, x0:x1] == label).sum()))
            for label, box in read_annotation(annotation, tree.classes)
            for x0, y0, x1, y1 in (_within(box, mask, annotation),)
        ]
    return components(mask)


def _within(box: Box, mask: NDArray[np.uint8], path: Path) -> Box:
    """Return the part of an annotated box that lies in its photo."""
    height, width = mask.shape
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    if x0 >= x1 or y0 >= y1:
        corners = " ".join(
            f"{side:g}" for side in (box[0] + 1, box[1] + 1, *box[2:])
        )  # as the file has them
        raise DatasetError(
            f"{path}: an object's box ({corners}) lies outside of the photo of {width}x{height} "
            "pixels; correct it or remove the object"
        )
    return x0, y0, x1, y1


def photos_of_classes(objects: Iterable[ObjectBox], classes: Sequence[str]) -> str:
    """Return how many photos have an object of each class, as a line of text."""
    photos = {
        label: len({item.name for item in objects if item.label == label})
        for label in range(1, len(classes))
    }
    found = [f"{quoted(classes[label])} {count}" for label, count in photos.items() if count]
    noun = " photo" if found and found[0].endswith(" 1") else " photos"
    none = [classes[label] for label, count in photos.items() if not count]
    first, *rest = found or ["none"]
    line = ", ".join(["classes: " + first + (noun if found else ""), *rest])
    return line + (f"; in no photo: {listed(none)}" if none else "")


def components(mask: NDArray[np.uint8]) -> Iterable[tuple[int, Box, int]]:
    """Yield label, box and area (pixels) of each one-class connected component of a mask H x W."""
    for label in np.unique(mask[(mask != 0) & (mask != IGNORE)]):
        _, _, stats, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
        for x, y, width, height, area in stats[1:].tolist():
            yield int(label), (x, y, x + width, y + height), area


def instance_objects(mask: NDArray[np.uint8], path: Path) -> Iterable[tuple[int, Box, int]]:
    """Yield label, box and area (pixels) of each instance.

    The label of an instance is the most common one on its pixels.

    Args:
        mask: The labels, H x W.
        path: The PNG of instances, of the same size.

    Raises:
        DatasetError: The instances cannot be read, or have another size or mode.
    """
    instances = instances_of(read_png(path, (mask.shape[1], mask.shape[0])))
    if instances.ndim != 2:
        raise DatasetError(f"{path}: must be a palette or grey PNG")
    for instance in np.setdiff1d(np.unique(instances), NO_INSTANCE):
        rows, columns = np.nonzero(instances == instance)
        labels = mask[rows, columns]
        labels = labels[(labels != 0) & (labels != IGNORE)]
        if labels.size:
            left, top = int(columns.min()), int(rows.min())
            box = left, top, int(columns.max()) + 1, int(rows.max()) + 1
            yield int(np.bincount(labels).argmax()), box, rows.size
