"""The annotated objects of a VOC tree, and the proposals that overlap them."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.crops import Box
from deconvnet_cli.decoding import LABEL_FORMATS, MAX_BYTES, Undecodable, identify, load
from deconvnet_cli.errors import DatasetError, ImageError
from deconvnet_cli.files import read_whole, write_whole
from deconvnet_cli.npz import array_of
from deconvnet_cli.proposals import edge_boxes
from deconvnet_cli.voc import IGNORE, VocTree, read_mask

SMALLEST_OBJECT = 0.005  # share of the photo; smaller components are specks of a mask
ENOUGH_OVERLAP = 0.5  # IoU of a proposal with an object (paper section 5.1)
MAX_BOXES_BYTES = 1 << 20  # of a file of proposals: 2000 of them take 32 kB
# Instances of one class lie side by side in SegmentationObject; 0 and 255 are no object.
NO_INSTANCE = (0, IGNORE)


@dataclass(frozen=True)
class ObjectBox:
    """One object of the photo ``name``: its class and its box, pixels, half open."""

    name: str
    label: int
    box: Box


def list_names(tree: VocTree, lists: tuple[str, ...]) -> list[str]:
    """The names of several lists, each name once, in order of first appearance."""
    return list(dict.fromkeys(name for split in lists for name in tree.names(split)))


def read_photo_and_mask(tree: VocTree, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
    """A photo (RGB) and its mask.

    Raises:
        ImageError: the photo cannot be read.
        DatasetError: the mask cannot be read, or has another size.
    """
    with opened_photo(tree.image(name)) as file:
        load(file)
        image = file.convert("RGB")
    return image, checked_mask(tree, name, image.size)


@contextmanager
def opened_photo(path: Path) -> Iterator[Image.Image]:
    """A photo whose pixels are still to be loaded.

    Raises:
        ImageError: it cannot be read, here or when it is loaded.
    """
    try:
        with identify(read_whole(path, MAX_BYTES)) as image:
            yield image
    except OSError as error:
        raise ImageError(f"{path}: not a readable photo ({error.strerror})") from error
    except Undecodable as error:
        raise ImageError(f"{path}: not a readable photo ({error})") from error


def checked_mask(tree: VocTree, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask of a photo of this size (width, height).

    Raises:
        DatasetError: it cannot be read, or has another size.
    """
    mask = read_mask(tree.mask(name))
    if size != mask.shape[::-1]:
        raise DatasetError(
            f"{tree.mask(name)}: {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"but the photo has {size[0]}x{size[1]}"
        )
    return mask


def find_objects(
    tree: VocTree, names: list[str], on_photo: Callable[[], None] = lambda: None
) -> list[ObjectBox]:
    """The objects of each photo: its instances where the tree has them, else the connected
    components of each class. Every photo and mask is looked at, so bad data is found here.

    Args:
        on_photo: called after each photo.

    Raises:
        ImageError, DatasetError: a photo or mask is missing or wrong; or no mask has any object.
    """
    objects: list[ObjectBox] = []
    for name in names:
        with opened_photo(tree.image(name)) as photo:
            size = photo.size
        mask = checked_mask(tree, name, size)
        instances = tree.root / "SegmentationObject" / f"{name}.png"
        found = of_instances(mask, instances) if instances.is_file() else of_components(mask)
        least = SMALLEST_OBJECT * mask.size
        objects += [ObjectBox(name, label, box) for label, box, area in found if area >= least]
        on_photo()
    if not objects:
        raise DatasetError(f"{tree.root}: no object in the masks of these {len(names)} photos")
    return objects


def of_components(mask: NDArray[np.uint8]) -> Iterable[tuple[int, Box, int]]:
    """Class, box and area of each connected component of one class."""
    for label in np.unique(mask[(mask != 0) & (mask != IGNORE)]):
        _, _, stats, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
        for x, y, width, height, area in stats[1:].tolist():
            yield int(label), (x, y, x + width, y + height), area


def of_instances(mask: NDArray[np.uint8], path: Path) -> Iterable[tuple[int, Box, int]]:
    """Class, box and area of each instance; its class is the commonest label on its pixels.

    Raises:
        DatasetError: the instances cannot be read or have another size.
    """
    try:
        with identify(read_whole(path, MAX_BYTES), LABEL_FORMATS) as image:
            load(image)
            instances = np.array(image)
    except (OSError, Undecodable) as error:
        raise DatasetError(f"{path}: not a readable PNG ({error})") from error
    if instances.shape != mask.shape:
        raise DatasetError(f"{path}: must be a palette or grey PNG of its photo's size")
    for instance in np.setdiff1d(np.unique(instances), NO_INSTANCE):
        rows, columns = np.nonzero(instances == instance)
        labels = mask[rows, columns]
        labels = labels[(labels != 0) & (labels != IGNORE)]
        if labels.size:
            left, top = int(columns.min()), int(rows.min())
            box = left, top, int(columns.max()) + 1, int(rows.max()) + 1
            yield int(np.bincount(labels).argmax()), box, rows.size


def overlap(boxes: NDArray[np.int32], box: Box) -> NDArray[np.float64]:
    """IoU of N x 4 boxes with one, N values 0 to 1."""
    inner = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = np.prod(np.maximum(inner, 0), axis=1, dtype=np.float64)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float64)
    union = areas + (box[2] - box[0]) * (box[3] - box[1]) - common
    iou: NDArray[np.float64] = common / union
    return iou


def cached_boxes(folder: Path, tree: VocTree, name: str) -> NDArray[np.int32]:
    """The 2000 proposals of a photo, N x 4, from ``folder/NAME.npy``; made there if missing.

    Raises:
        DatasetError: the file is damaged.
        OutputError: it cannot be written.
    """
    path = folder / f"{name}.npy"
    if not path.is_file():
        photo, _ = read_photo_and_mask(tree, name)
        made = edge_boxes(np.asarray(photo))[0]
        buffer = io.BytesIO()
        np.save(buffer, made)
        write_whole(path, buffer.getvalue())
        return made
    try:
        boxes: NDArray[np.int32] = array_of(read_whole(path, MAX_BOXES_BYTES))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: damaged proposals ({error}); delete the file") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype != np.int32:
        raise DatasetError(f"{path}: no proposals of this tool; delete the file")
    return boxes


def overlapping_proposals(
    folder: Path,
    tree: VocTree,
    objects: list[ObjectBox],
    on_photo: Callable[[], None] = lambda: None,
) -> list[ObjectBox]:
    """Every proposal with an IoU of 0.5 or more with an object, as an object of its class.

    The samples of stage 2. An object that no proposal overlaps enough is left out, as it is at
    prediction time.

    Raises:
        DatasetError: no proposal overlaps any object.
    """
    by_name: dict[str, list[ObjectBox]] = {}
    for item in objects:
        by_name.setdefault(item.name, []).append(item)
    found = []
    for name, items in by_name.items():
        boxes = cached_boxes(folder, tree, name)
        for item in items:
            near = boxes[overlap(boxes, item.box) >= ENOUGH_OVERLAP]
            for x0, y0, x1, y1 in near.tolist():
                found.append(ObjectBox(name, item.label, (x0, y0, x1, y1)))
        on_photo()
    if not found:
        raise DatasetError(f"{tree.root}: no proposal overlaps an object by {ENOUGH_OVERLAP}")
    return found
