"""Count pixels over a list of photos and compute metrics; the counts of shards add up."""

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
from deconvnet_cli.evaluation.bootstrap import MAX_REPLICATES, contribution, image_weights
from deconvnet_cli.evaluation.boundary import boundary_areas
from deconvnet_cli.evaluation.intervals import Bootstrapped, interval
from deconvnet_cli.evaluation.metrics import Metrics, confusion, each_iou, metrics_of


@dataclass(frozen=True)
class Result:
    """The results of a tally.

    Attributes:
        images: The number of photos.
        metrics: The IoU and the accuracies.
        boundary_iou: The Boundary IoU of each class, 0 to 1; None for a class without boundary.
        mean_boundary_iou: The mean of ``boundary_iou`` over the classes that have one.
        interval: The 95 % interval of the mean IoU over photos, both ends 0 to 1; it contains the
            mean IoU.
        boundary_interval: That of the mean Boundary IoU; None if the counts lack it, as files of
            earlier versions do.
        confusion: The confusion matrix, int64 C x C, rows the truth, columns the prediction.
        photos: The number of photos whose truth has each class; None if the counts lack it, as
            files of earlier versions do.
    """

    images: int
    metrics: Metrics
    boundary_iou: tuple[float | None, ...]
    mean_boundary_iou: float
    interval: tuple[float, float]
    boundary_interval: tuple[float, float] | None
    confusion: NDArray[np.int64]
    photos: tuple[int, ...] | None = None


@dataclass
class Tally:
    """The counts over a list of photos. Their size does not depend on the number of photos.

    Tallies of parts of a list add up, in any order, to the tally of the whole. Names are not kept,
    so a photo that is counted twice, in one tally or in two that are added, goes unnoticed.

    Attributes:
        classes: The number of labels, 1 to 255.
        replicates: The number of replicates of the bootstrap, 1 to ``MAX_REPLICATES``.
        seed: The seed of the bootstrap. Runs that are to be compared need the same seed.
        images: The number of photos.
        confusion: The confusion matrix, int64 C x C, rows the truth, columns the prediction.
        boundary: The areas of the boundary regions, int64 3 x C, see
            :func:`deconvnet_cli.evaluation.boundary.boundary_areas`.
        sums: The sums of the bootstrap, int64 replicates x 3 x C, see
            :mod:`deconvnet_cli.evaluation.bootstrap`.
        boundary_sums: Those of the boundary regions; None if a part lacks them.
        photos: The number of photos whose truth has each class, int64 C; None if a part lacks it.

    Raises:
        DatasetError: The number of classes or replicates is out of range.
    """

    classes: int = 21
    replicates: int = 1000
    seed: int = 0
    images: int = field(default=0, init=False)
    confusion: NDArray[np.int64] = field(init=False, repr=False)
    boundary: NDArray[np.int64] = field(init=False, repr=False)
    sums: NDArray[np.int64] = field(init=False, repr=False)
    boundary_sums: NDArray[np.int64] | None = field(init=False, repr=False)
    photos: NDArray[np.int64] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value, top in (
            ("classes", self.classes, IGNORE),
            ("replicates", self.replicates, MAX_REPLICATES),
        ):
            if not 1 <= value <= top:
                raise DatasetError(f"{value} {name}; a tally has 1 to {top}")
        self.confusion = np.zeros((self.classes, self.classes), np.int64)
        self.boundary = np.zeros((3, self.classes), np.int64)
        self.sums = np.zeros((self.replicates, 3, self.classes), np.int64)
        self.boundary_sums = np.zeros_like(self.sums)
        self.photos = np.zeros(self.classes, np.int64)

    def add(
        self, name: str, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Count one photo.

        Args:
            truth: The true labels, H x W, below ``classes``, or 255 for void.
            prediction: The predicted labels, H x W, below ``classes``; any label is accepted where
                the truth is void.

        Returns:
            The photo's own confusion matrix, C x C, by which photos are ranked.

        Raises:
            DatasetError: Sizes differ or a label is out of range. Nothing is counted then.
        """
        counts = confusion(truth, prediction, self.classes)
        boundary = boundary_areas(truth, prediction, self.classes)
        self.boundary += boundary
        self.confusion += counts
        weights = image_weights(name, self.replicates, self.seed)
        self.sums += np.multiply.outer(weights, contribution(counts))
        if self.boundary_sums is not None:
            self.boundary_sums += np.multiply.outer(weights, boundary)
        if self.photos is not None:
            self.photos += counts.any(axis=1)
        self.images += 1
        return counts

    @property
    def run(self) -> Bootstrapped:
        """The right, true and predicted pixels, with those of the bootstrap."""
        return Bootstrapped(self.sums, contribution(self.confusion))

    @property
    def boundary_run(self) -> Bootstrapped | None:
        """Those of the boundary regions; None if a part lacks them."""
        sums = self.boundary_sums
        return None if sums is None else Bootstrapped(sums, self.boundary)

    def __add__(self, other: Tally) -> Tally:
        """Return a new tally of the photos of both.

        Raises:
            DatasetError: The tallies differ in classes, replicates or seed.
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
        total.boundary_sums = total.photos = None
        if self.boundary_sums is not None and other.boundary_sums is not None:
            total.boundary_sums = self.boundary_sums + other.boundary_sums
        if self.photos is not None and other.photos is not None:
            total.photos = self.photos + other.photos
        return total

    def result(self) -> Result:
        """Return the results of the counts.

        Raises:
            DatasetError: No pixel was counted.
        """
        metrics = metrics_of(self.confusion)
        by_class = each_iou(self.boundary)
        present = [value for value in by_class if value is not None]
        boundary = self.boundary_run
        return Result(
            images=self.images,
            metrics=metrics,
            boundary_iou=by_class,
            # The list is never empty, as every class with a pixel has a boundary.
            mean_boundary_iou=sum(present) / len(present),
            interval=interval(self.run),
            boundary_interval=None if boundary is None else interval(boundary),
            confusion=self.confusion.copy(),
            photos=None if self.photos is None else tuple(self.photos.tolist()),
        )


def summary(result: Result, classes: Sequence[str]) -> dict[str, object]:
    """Return a result as values for ``json.dumps``.

    Args:
        classes: The name of each label, as many as the result has.
    """
    metrics = result.metrics
    return {
        "images": result.images,
        "mean_iou": metrics.mean_iou,
        "interval": list(result.interval),
        "averaged": metrics.averaged,
        "iou": dict(zip(classes, metrics.iou, strict=True)),
        "pixel_accuracy": metrics.pixel_accuracy,
        "mean_accuracy": metrics.mean_accuracy,
        "frequency_weighted_iou": metrics.frequency_weighted_iou,
        "boundary_iou": dict(zip(classes, result.boundary_iou, strict=True)),
        "mean_boundary_iou": result.mean_boundary_iou,
        "boundary_interval": (
            None if result.boundary_interval is None else list(result.boundary_interval)
        ),
        "photos": None if result.photos is None else dict(zip(classes, result.photos, strict=True)),
    }


def csv_rows(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return CSV with one line per row: its means, then the IoU of each class, empty if absent."""
    table = []
    for line in lines:
        values = {name: value for name, value in line.items() if not isinstance(value, dict | list)}
        ends = {}
        for name in ("interval", "boundary_interval"):
            values.pop(name, None)
            ends[f"{name}_low"], ends[f"{name}_high"] = line[name] or (None, None)
        by_class = {f"iou_{name}": value for name, value in line["iou"].items()}
        table.append({**values, **ends, **by_class})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
