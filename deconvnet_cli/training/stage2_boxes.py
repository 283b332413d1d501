"""The boxes of training stage 2: proposals that overlap objects, or those a prediction shows.

The paper takes proposals that overlap an annotated object (section 4.2). A prediction also shows
the net boxes that miss all objects or hold several, and merges what it says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import overlap
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.objects import ObjectBox, upright_size
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.runtime.cores import cores
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.runtime.ordered_pool import in_order

LEAST_OVERLAP = 0.5  # IoU of a proposal with an object (paper section 4.2)
LEAST_SHARE = 0.01  # of a box's pixels in the photo, from which a box shows a class


def overlapping_proposals(
    proposals: Mapping[str, NDArray[np.int32]], objects: list[ObjectBox]
) -> list[ObjectBox]:
    """Return each proposal whose IoU with an object is 0.5 or more, as an object of its class.

    An object that no proposal overlaps enough is left out, as it is at prediction time.

    Args:
        proposals: The boxes of EdgeBoxes by the name of the photo, int32 N x 4.

    Raises:
        DatasetError: No proposal overlaps any object.
    """
    found = []
    for item in objects:
        boxes = proposals[item.name]
        near = boxes[overlap(boxes, item.box) >= LEAST_OVERLAP]
        for x0, y0, x1, y1 in near.tolist():
            found.append(ObjectBox(item.name, item.label, (x0, y0, x1, y1)))
    if not found:
        raise DatasetError(f"no proposal overlaps an object by {LEAST_OVERLAP}")
    return found


def shown_boxes(
    tree: VocTree,
    proposals: Mapping[str, NDArray[np.int32]],
    on_photo: Callable[[], None] = lambda: None,
) -> list[ObjectBox]:
    """Return each box once for each class that it shows, and as background if it shows none.

    So classes, and boxes that miss all objects, can be drawn evenly.

    Args:
        proposals: The boxes that a prediction shows the net, by the name of the photo.

    Raises:
        ImageError: A photo cannot be read.
        DatasetError: A mask cannot be read or has another size.
    """

    def of_photo(name: str) -> list[ObjectBox]:
        mask = tree_mask(tree, name, upright_size(tree.image(name)))
        return [
            ObjectBox(name, label, (x0, y0, x1, y1))
            for (x0, y0, x1, y1), labels in zip(
                proposals[name].tolist(), labels_shown(mask, proposals[name]), strict=True
            )
            for label in labels or [0]
        ]

    found = []
    for _, result in in_order(list(proposals), of_photo, cores()):
        found += result()
        on_photo()
    return found


def labels_shown(mask: NDArray[np.uint8], boxes: NDArray[np.int32]) -> list[list[int]]:
    """Return the classes in each of N boxes that cover a hundredth of it or more.

    Args:
        mask: The labels of the photo, uint8 H x W.
        boxes: int32 N x 4; what lies beyond the photo's edge does not count.
    """
    height, width = mask.shape
    x0, y0, x1, y1 = np.clip(boxes, 0, (width, height, width, height)).T
    area = (x1 - x0) * (y1 - y0)
    labels: list[list[int]] = [[] for _ in boxes]
    for label in np.setdiff1d(mask, (0, IGNORE)).tolist():
        # One table of sums gives the number of pixels in any box.
        sums = cv2.integral((mask == label).astype(np.uint8))
        pixels = sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]
        for number in np.flatnonzero(pixels >= np.maximum(LEAST_SHARE * area, 1)):
            labels[number].append(label)
    return labels
