"""Boxes in a photo, and how much they overlap.

A box is (x0, y0, x1, y1), half open, in pixels of the photo; it may reach beyond the photo's edge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def rescaled(
    boxes: NDArray[np.int32], size: tuple[int, int], other: tuple[int, int]
) -> NDArray[np.int32]:
    """Return N x 4 boxes in pixels of the same photo in another size, rounded.

    Args:
        boxes: The boxes, int32 N x 4.
        size: Width and height of the photo that they are in.
        other: Width and height of the photo that they are wanted in.
    """
    factors = np.tile(np.divide(other, size), 2)
    found: NDArray[np.int32] = np.rint(boxes * factors).astype(np.int32)
    return found


def overlap(boxes: NDArray[np.int32], box: Box) -> NDArray[np.float64]:
    """Return the IoU of each of N x 4 boxes with one box, N values from 0 to 1."""
    inner = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    common = np.prod(np.maximum(inner, 0), axis=1, dtype=np.float64)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float64)
    union = areas + (box[2] - box[0]) * (box[3] - box[1]) - common
    iou: NDArray[np.float64] = common / union
    return iou
