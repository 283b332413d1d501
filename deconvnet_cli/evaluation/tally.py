"""What is counted over a list of images, and what it says: sums that shards add up to."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import (
    MAX_REPLICATES,
    add_image,
    empty_sums,
    interval,
    mean_ious,
)
from deconvnet_cli.evaluation.boundary import boundary_areas, boundary_ious
from deconvnet_cli.evaluation.metrics import Metrics, confusion, metrics_of


@dataclass(frozen=True)
class Result:
    """What a tally says.

    Attributes:
        images: how many were counted.
        metrics: IoU, accuracy.
        boundary_iou: Boundary IoU of each class, 0 to 1; None for a class without any boundary.
        mean_boundary_iou: their mean over the classes that have one.
        interval: 95 % bootstrap interval of the mean IoU over images, each 0 to 1.
        confusion: int64 C x C, rows the truth, columns the prediction.
    """

    images: int
    metrics: Metrics
    boundary_iou: tuple[float | None, ...]
    mean_boundary_iou: float
    interval: tuple[float, float]
    confusion: NDArray[np.int64]


@dataclass
class Tally:
    """Counts over a list of images. Its size does not depend on how many there are.

    Tallies of parts of a list add up, in any order, to the tally of the whole. As no names are
    kept, an image that is counted twice, here or in two tallies that are added, is not noticed:
    give each name once.

    Attributes:
        classes: number of labels, 1 to 255.
        replicates: of the bootstrap, 1 to ``MAX_REPLICATES``.
        seed: of the bootstrap. Runs that are to be compared need the same one.
        images: how many were counted.
        confusion: int64 C x C, rows the truth, columns the prediction.
        boundary: int64 2 x C, intersection and union of the boundary regions in pixels.
        sums: int64 replicates x 3 x C, see :mod:`deconvnet_cli.evaluation.bootstrap`.

    Raises:
        DatasetError: classes or replicates out of range.
    """

    classes: int = 21
    replicates: int = 1000
    seed: int = 0
    images: int = field(default=0, init=False)
    confusion: NDArray[np.int64] = field(init=False, repr=False)
    boundary: NDArray[np.int64] = field(init=False, repr=False)
    sums: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value, top in (
            ("classes", self.classes, IGNORE),
            ("replicates", self.replicates, MAX_REPLICATES),
        ):
            if not 1 <= value <= top:
                raise DatasetError(f"{value} {name}; a tally has 1 to {top}")
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.boundary = np.zeros((2, self.classes), np.int64)
        self.sums = empty_sums(self.replicates, self.classes)

    def add(
        self, name: str, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Count one image.

        Args:
            name: what the image is called in its list.
            truth: H x W labels below ``classes``, or 255 for void.
            prediction: H x W labels below ``classes``; any label where the truth is void.

        Returns:
            The image's own confusion matrix, C x C, as
            :func:`deconvnet_cli.evaluation.metrics.image_iou` takes it.

        Raises:
            DatasetError: sizes differ or a label is out of range; nothing is counted then.
        """
        counts = confusion(truth, prediction, self.classes)
        self.boundary += boundary_areas(truth, prediction, self.classes)
        self.confusion += counts
        add_image(self.sums, name, counts, self.seed)
        self.images += 1
        return counts

    def __add__(self, other: Tally) -> Tally:
        """A new tally of the images of both.

        Raises:
            DatasetError: they differ in classes, replicates or seed.
        """
        for name in ("classes", "replicates", "seed"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise DatasetError(
                    f"tallies with {name} {mine} and {theirs} do not add up; "
                    "count all parts with the same settings"
                )
        total = Tally(self.classes, self.replicates, self.seed)
        total.images = self.images + other.images
        total.confusion = self.confusion + other.confusion
        total.boundary = self.boundary + other.boundary
        total.sums = self.sums + other.sums
        return total

    def result(self) -> Result:
        """What the counts say.

        Raises:
            DatasetError: not one pixel was counted.
        """
        found = metrics_of(self.confusion)
        edges = boundary_ious(self.boundary)
        known = [value for value in edges if value is not None]
        return Result(
            images=self.images,
            metrics=found,
            boundary_iou=edges,
            # Never empty: a class with a pixel has a boundary.
            mean_boundary_iou=sum(known) / len(known),
            interval=interval(mean_ious(self.sums)),
            confusion=self.confusion.copy(),
        )


def summary(result: Result, classes: Sequence[str]) -> dict[str, object]:
    """A result as what ``json.dumps`` takes, under the names that are printed.

    Args:
        result: from :meth:`Tally.result`.
        classes: the name of each label, as many as the result has.
    """
    found = result.metrics
    return {
        "images": result.images,
        "mean_iou": found.mean_iou,
        "interval": list(result.interval),
        "averaged": found.averaged,
        "iou": dict(zip(classes, found.iou, strict=True)),
        "pixel_accuracy": found.pixel_accuracy,
        "mean_accuracy": found.mean_accuracy,
        "frequency_weighted_iou": found.frequency_weighted_iou,
        "boundary_iou": dict(zip(classes, result.boundary_iou, strict=True)),
        "mean_boundary_iou": result.mean_boundary_iou,
    }


def csv_rows(lines: Sequence[Mapping[str, Any]]) -> str:
    """A line a row: its means, then IoU by class; what is absent is empty."""
    table = []
    for line in lines:
        values = {name: value for name, value in line.items() if not isinstance(value, dict | list)}
        low, high = line["interval"]
        by_class = {f"iou_{name}": value for name, value in line["iou"].items()}
        table.append({**values, "interval_low": low, "interval_high": high, **by_class})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
