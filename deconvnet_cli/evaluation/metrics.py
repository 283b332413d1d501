"""Mean intersection over union of label maps, as PASCAL VOC defines it.

One confusion matrix is summed over the whole set and evaluated at the end; the mean of the IoUs of
single photos is a different figure. Pixels that are void (255) in the truth are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import contribution

NO_PIXEL = "no pixel to evaluate: the truth is empty or void (255) everywhere"


@dataclass(frozen=True)
class Metrics:
    """The metrics of a confusion matrix.

    Attributes:
        mean_iou: The mean of ``iou`` over the classes that have one, 0 to 1.
        iou: The intersection over union of each class, 0 to 1; None for a class that is neither in
            the truth nor in the prediction.
        pixel_accuracy: The share of the counted pixels that have the right label, 0 to 1.
        averaged: The number of classes that ``mean_iou`` averages.
        mean_accuracy: The share of a class's pixels that have the right label, averaged over the
            classes in the truth, 0 to 1.
        frequency_weighted_iou: The mean of ``iou``, weighted by the pixels of each class in the
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
) -> NDArray[np.int64]:
    """Count how often each true label got each predicted label.

    Args:
        truth: The true labels, H x W, below ``classes``, or 255 for void.
        prediction: The predicted labels, H x W, below ``classes``. Any label is accepted where the
            truth is void.

    Returns:
        The counts, classes x classes, rows the truth, columns the prediction. The matrices of
        several photos add up.

    Raises:
        DatasetError: The sizes differ, or a label is out of range.
    """
    check_sizes(truth, prediction)
    counted = truth != IGNORE
    # Labels become int64 before the multiplication, as uint8 would wrap around.
    rows = truth[counted].astype(np.int64)
    columns = prediction[counted].astype(np.int64)
    for name, labels in (("truth", rows), ("prediction", columns)):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise DatasetError(
                f"label {wrong[0]} in the {name}: labels go from 0 to {classes - 1}"
                + (f", and {IGNORE} for void" if name == "truth" else "")
            )
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def ious(sums: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the IoU of each class, ... x C, and whether it is in the truth or the prediction.

    Args:
        sums: The right, true and predicted pixels, ... x 3 x C.
    """
    right, true, predicted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    union = true + predicted - right
    iou = np.divide(right, union, out=np.zeros(union.shape), where=union > 0)
    return iou, union > 0


def each_iou(sums: NDArray[np.int64]) -> tuple[float | None, ...]:
    """Return the IoU of each class, 0 to 1; None if neither truth nor prediction has it.

    Args:
        sums: The right, true and predicted pixels, 3 x C, or those of the boundary regions.
    """
    iou, present = ious(sums)
    return tuple(float(value) if there else None for value, there in zip(iou, present, strict=True))


def metrics_of(confusion: NDArray[np.int64]) -> Metrics:
    """Return the IoU of each class, their mean, and the accuracies.

    A class absent from both truth and prediction is left out of the mean. A class that is
    predicted somewhere but absent from the truth counts with an IoU of 0.

    Args:
        confusion: The matrix from :func:`confusion`, C x C, summed over all photos.

    Raises:
        DatasetError: No pixel was counted.
    """
    total = int(confusion.sum())
    if total == 0:
        raise DatasetError(NO_PIXEL)
    sums = contribution(confusion)
    right, true, _ = sums
    iou = each_iou(sums)
    present = [value for value in iou if value is not None]
    recalls = right[true > 0] / true[true > 0]
    weighted = sum(
        float(area) * value for area, value in zip(true, iou, strict=True) if value is not None
    )
    return Metrics(
        mean_iou=sum(present) / len(present),
        iou=iou,
        pixel_accuracy=float(right.sum() / total),
        averaged=len(present),
        mean_accuracy=float(recalls.mean()),
        frequency_weighted_iou=weighted / total,
    )


def check_sizes(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
    """Raise DatasetError unless two label maps are H x W and of the same size."""
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise DatasetError(
            f"truth and prediction differ in size: {_size(truth)} and {_size(prediction)} pixels; "
            "a prediction must have the size of its photo"
        )


def _size(labels: NDArray[np.uint8]) -> str:
    """Return the size as width x height; ``labels`` is height x width."""
    return "x".join(str(side) for side in reversed(labels.shape))
