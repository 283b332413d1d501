"""Boundary IoU of label maps: intersection over union of the pixels near the edges.

Cheng, Girshick, Dollar, Berg, Kirillov: "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021. A poor outline hardly lowers the IoU of a large object, as most
of its pixels are far inside. Boundary IoU counts only the outline.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.evaluation.metrics import check_sizes
from deconvnet_cli.runtime.opencv import cv2


def boundary_areas(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int = 21,
    ratio: float = 0.02,
) -> NDArray[np.int64]:
    """Return the areas of the two boundary regions of each class and of their intersection.

    The boundary region of a class is the part of its mask at most ``d`` pixels (in rows and in
    columns) from a pixel outside the mask. Everything beyond the photo is outside, so a mask cut by
    the photo border has an edge there. ``d`` is ``ratio`` of the photo diagonal, at least 1.

    Args:
        truth: The true labels, H x W, below ``classes``, or 255 for void.
        prediction: The predicted labels, H x W. Labels from ``classes`` on are not counted here;
            :func:`deconvnet_cli.evaluation.metrics.confusion` refuses them.
        ratio: The width of the region as a share of the photo diagonal, above 0.

    Returns:
        The areas in pixels, 3 x classes: those of the intersection, of the region in the truth
        and of the region in the prediction. The areas of several photos add up.

    Raises:
        DatasetError: The sizes differ.
    """
    check_sizes(truth, prediction)
    # Void cuts the masks of the truth, so it must cut those of the prediction too. Otherwise these
    # would lack an edge where the truth has one, and a perfect prediction would not be perfect.
    prediction = np.where(truth == IGNORE, np.uint8(IGNORE), prediction)
    distance = max(1, round(ratio * math.hypot(*truth.shape)))
    in_truth, in_prediction = (
        np.bincount(labels.ravel(), minlength=classes) for labels in (truth, prediction)
    )
    areas = np.zeros((3, classes), np.int64)
    for label in range(classes):
        if not in_truth[label] + in_prediction[label]:
            continue
        first, size = _boundary(truth, label, distance)
        second, other_size = _boundary(prediction, label, distance)
        shared = cv2.countNonZero(cv2.bitwise_and(first, second))
        areas[:, label] = shared, size, other_size
    return areas


def _boundary(
    labels: NDArray[np.uint8], label: int, distance: int
) -> tuple[NDArray[np.uint8], int]:
    """Return the boundary region of one class as 0 and 1, H x W, and its number of pixels."""
    mask = (labels == label).view(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    if width == 0:
        return mask, 0
    # Everything beyond the bounding box is outside the mask, so zeros there are exact.
    # One erosion by a square of 2 d + 1 equals d erosions by a square of 3.
    part = mask[y : y + height, x : x + width]
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    inside = cv2.erode(
        np.ascontiguousarray(part), square, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    part -= inside.astype(np.uint8, copy=False)
    return mask, cv2.countNonZero(mask)
