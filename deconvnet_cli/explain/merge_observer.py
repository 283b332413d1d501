"""An observer of merging: how the map grows with the boxes, and which box decides each pixel."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.segmentation.labels import labels_of
from deconvnet_cli.segmentation.merge import Canvas, Part

COUNTS = (1, 5, 10, 20, 50)  # numbers of boxes, as in the paper's figure 6 and beyond
NO_BOX = -1


class MergeObserver:
    """An observer of one run (``inference.Observer``).

    For each class and pixel it holds the greatest value of any crop and the number of its box. It
    does not keep the crops themselves.

    Attributes:
        boxes: The boxes in the order in which they were merged.
        growth: The number of boxes (``COUNTS``) -> labels after them, uint8 H x W.
        best: The greatest logit (merge rule "max") or probability of any crop, float32 C x H x W.
        best_box: The number of the box that gave it, from 0, int32 C x H x W; the first of
            equals. It is ``NO_BOX`` where no crop exceeds 0, from which the canvas starts.
    """

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.growth: dict[int, NDArray[np.uint8]] = {}
        self.best = torch.empty(0)
        self.best_box = torch.empty(0, dtype=torch.int32)
        self._canvas: Canvas | None = None

    def __call__(self, number: int, box: Box, part: Part, canvas: Canvas) -> None:
        if self._canvas is None:
            self._canvas = canvas
            self.best = torch.zeros_like(canvas.merged)
            self.best_box = torch.full_like(self.best, NO_BOX, dtype=torch.int32)
        if number == len(self.boxes):
            self.boxes.append(box)
        left, top = max(box[0], 0), max(box[1], 0)
        down, across = part.values.shape[1:]
        rows, columns = slice(top, top + down), slice(left, left + across)
        best = self.best[:, rows, columns]
        best_box = self.best_box[:, rows, columns]
        for label, values in zip(part.classes, part.values, strict=True):
            best_box[label].masked_fill_(values > best[label], number)
            torch.maximum(best[label], values, out=best[label])
        # A whole photo comes twice, with its mirror image; the labels after both replace the first.
        if number + 1 in COUNTS:
            self.growth[number + 1] = labels_of(canvas.merged_map())

    def finish(self) -> None:
        """Record the labels after the last box, and move the maps to the CPU."""
        if self._canvas is not None:
            self.growth[len(self.boxes)] = labels_of(self._canvas.merged_map())
        self.best, self.best_box = self.best.cpu(), self.best_box.cpu()

    def deciding_boxes(self, labels: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the number of the box that gave each pixel's label the most, int32 H x W."""
        chosen = torch.from_numpy(labels.astype(np.int64))[None]
        found: NDArray[np.int32] = self.best_box.gather(0, chosen)[0].numpy()
        return found

    def main_box(self, label: int, labels: NDArray[np.uint8]) -> int:
        """Return the number of the box that decided most pixels with this label.

        The first of equals is taken. The whole photo, which is the first box, is taken only if no
        other box decided any, as the paper's figure 4 shows a proposal. If no box decided such a
        pixel, the box with the greatest value of the label is taken.

        Args:
            labels: The labels of the merged map, uint8 H x W.
        """
        deciders = self.deciding_boxes(labels)[labels == label]
        counts = np.bincount(deciders[deciders >= 0], minlength=1)
        if counts[1:].any():
            return 1 + int(counts[1:].argmax())
        if counts[0]:
            return 0
        return max(0, int(self.best_box[label].flatten()[self.best[label].argmax()]))
