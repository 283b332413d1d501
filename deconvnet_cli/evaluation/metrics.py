"""Mean intersection over union of label maps, as PASCAL VOC counts it.

A confusion matrix is kept for the whole set and divided once, at the end: the mean of the IoU of
single images is another figure. Pixels of the void label (255) of the truth count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError


@dataclass(frozen=True)
class Metrics:
    """What a confusion matrix says.

    Attributes:
        mean_iou: mean of ``iou`` over the classes that have one, 0 to 1.
        iou: intersection over union of each class, 0 to 1; None for a class that is neither in
            the truth nor in the prediction.
        pixel_accuracy: share of the counted pixels that have the right label, 0 to 1.
        averaged: the number of classes that ``mean_iou`` averages.
        mean_accuracy: mean over the classes in the truth of the share of their pixels that have
            the right label, 0 to 1.
        frequency_weighted_iou: mean of ``iou`` weighted by the pixels of each class in the
            truth, 0 to 1.
    """

    mean_iou: float
    iou: tuple[float | None, ...]
    pixel_accuracy: float
    averaged: int
    mean_accuracy: float
    frequency_weighted_iou: float


def confusion(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    classes: int = 21,
    ignore: int = 255,
) -> NDArray[np.int64]:
    """Count how often each true label got each predicted label.

    Args:
        truth: H x W labels below ``classes``, or ``ignore``.
        prediction: H x W labels below ``classes``. Where the truth is ``ignore`` any label is
            fine; elsewhere ``ignore`` is not a prediction.
        classes: number of labels.
        ignore: the label of the truth that is not counted (VOC: void, 255).

    Returns:
        classes x classes, rows the truth, columns the prediction. The matrices of several
        images add up.

    Raises:
        DatasetError: the sizes differ, or a label is out of range.
    """
    check_sizes(truth, prediction)
    counted = truth != ignore
    # int64 before the multiplication: uint8 would wrap around.
    rows = truth[counted].astype(np.int64)
    columns = prediction[counted].astype(np.int64)
    for name, labels in (("truth", rows), ("prediction", columns)):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise DatasetError(
                f"label {wrong[0]} in the {name}: labels go from 0 to {classes - 1}"
                + (f", and {ignore} for void" if name == "truth" else "")
            )
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def metrics_of(confusion: NDArray[np.int64]) -> Metrics:
    """IoU of each class, their mean, and pixel accuracy.

    A class absent from both truth and prediction is left out of the mean. A class that is
    predicted somewhere but is nowhere in the truth counts with an IoU of 0.

    Args:
        confusion: C x C, from :func:`confusion`, summed over all images.

    Raises:
        DatasetError: not one pixel was counted.
    """
    total = int(confusion.sum())
    if total == 0:
        raise DatasetError("no pixel to score: the truth is empty or void (255) everywhere")
    right = np.diag(confusion)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - right
    iou = tuple(float(hit / area) if area else None for hit, area in zip(right, union, strict=True))
    known = [value for value in iou if value is not None]
    there = confusion.sum(axis=1)
    recalls = right[there > 0] / there[there > 0]
    weighted = sum(
        float(area) * value for area, value in zip(there, iou, strict=True) if value is not None
    )
    return Metrics(
        mean_iou=sum(known) / len(known),
        iou=iou,
        pixel_accuracy=float(right.sum() / total),
        averaged=len(known),
        mean_accuracy=float(recalls.mean()),
        frequency_weighted_iou=weighted / total,
    )


def image_iou(confusion: NDArray[np.int64]) -> float:
    """Mean IoU of one image, 0 to 1, over the classes in its truth or prediction.

    It tells good images from bad ones; its mean over images is not the mean IoU of the set.

    Args:
        confusion: C x C, from :func:`confusion`, of this image alone.

    Raises:
        DatasetError: not one pixel was counted, as the truth is void everywhere.
    """
    return metrics_of(confusion).mean_iou


def check_sizes(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
    """Check that two label maps are H x W, and of one size.

    Raises:
        DatasetError: they are not.
    """
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise DatasetError(
            f"truth and prediction differ in size: {_size(truth)} and {_size(prediction)} pixels; "
            "a prediction must have the size of its photo"
        )


def _size(labels: NDArray[np.uint8]) -> str:
    """Width x height, as people say it (``labels`` is height x width)."""
    return "x".join(str(side) for side in reversed(labels.shape))
