"""The boxes of training stage 2: proposals that overlap annotated objects."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import overlap
from deconvnet_cli.data.objects import ObjectBox, read_photo_and_mask
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.segmentation.proposals import edge_boxes
from deconvnet_cli.storage.files import read_whole, write_whole
from deconvnet_cli.storage.npz import array_of

LEAST_OVERLAP = 0.5  # IoU of a proposal with an object (paper section 5.1)
MAX_BOXES_BYTES = 1 << 20  # of a file of proposals; 2000 of them take 32 kB


def cached_boxes(folder: Path, tree: VocTree, name: str) -> NDArray[np.int32]:
    """Return a photo's 2000 proposals, int32 N x 4, from ``folder/NAME.npy``.

    If the file is missing, the proposals are computed and written to it.

    Raises:
        DatasetError: The file is damaged.
        OutputError: The file cannot be written.
    """
    path = folder / f"{name}.npy"
    if not path.is_file():
        photo, _ = read_photo_and_mask(tree, name)
        proposals = edge_boxes(np.asarray(photo))[0]
        buffer = io.BytesIO()
        np.save(buffer, proposals)
        write_whole(path, buffer.getvalue())
        return proposals
    try:
        boxes: NDArray[np.int32] = array_of(read_whole(path, MAX_BOXES_BYTES))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: damaged proposals ({error}); delete the file") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype != np.int32:
        raise DatasetError(f"{path}: not proposals of this tool; delete the file")
    return boxes


def overlapping_proposals(
    folder: Path,
    tree: VocTree,
    objects: list[ObjectBox],
    on_photo: Callable[[], None] = lambda: None,
) -> list[ObjectBox]:
    """Return each proposal whose IoU with an object is 0.5 or more, as an object of its class.

    Stage 2 draws its samples from them. An object that no proposal overlaps enough is left out,
    as it is at prediction time.

    Args:
        folder: The cache of proposals, see :func:`cached_boxes`.
        tree: The VOC tree of the photos.
        objects: The annotated objects.
        on_photo: Called after each photo.

    Raises:
        DatasetError: No proposal overlaps any object.
    """
    by_name: dict[str, list[ObjectBox]] = {}
    for item in objects:
        by_name.setdefault(item.name, []).append(item)
    found = []
    for name, items in by_name.items():
        boxes = cached_boxes(folder, tree, name)
        for item in items:
            near = boxes[overlap(boxes, item.box) >= LEAST_OVERLAP]
            for x0, y0, x1, y1 in near.tolist():
                found.append(ObjectBox(name, item.label, (x0, y0, x1, y1)))
        on_photo()
    if not found:
        raise DatasetError(f"{tree.root}: no proposal overlaps an object by {LEAST_OVERLAP}")
    return found
