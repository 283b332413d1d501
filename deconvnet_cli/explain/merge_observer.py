"""What happens while the crops of a photo are merged: how its map grows, which box decides what."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.segmentation.labels import labels_of
from deconvnet_cli.segmentation.merge import Canvas

COUNTS = (1, 5, 10, 20, 50)  # boxes, of the paper's figure 6 and beyond
NOBODY = -1


class MergeObserver:
    """An observer of one run (``segmenter.Observer``).

    Beside the canvas it holds a float32 and an int16 of each class and pixel: what a class got at
    most from any crop, and from which box. The crops themselves are not kept.

    Attributes:
        boxes: in the order in which they were merged.
        growth: labels uint8 H x W after this many boxes, by their number (``COUNTS``).
        best: float32 C x H x W, the greatest score (rule "max") or probability of any crop.
        by: int16 C x H x W, the number of its box from 0, the first of equals; ``NOBODY`` where
            no crop says more than 0, from which the original system's canvas starts.
    """

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.growth: dict[int, NDArray[np.uint8]] = {}
        self.best = torch.empty(0)
        self.by = torch.empty(0, dtype=torch.int16)
        self._canvas: Canvas | None = None

    def __call__(self, number: int, box: Box, values: Tensor, canvas: Canvas) -> None:
        if self._canvas is None:
            self._canvas = canvas
            self.best = torch.zeros_like(canvas.merged)
            self.by = torch.full_like(self.best, NOBODY, dtype=torch.int16)
        if number == len(self.boxes):
            self.boxes.append(box)
        left, top = max(box[0], 0), max(box[1], 0)
        part = np.s_[:, top : top + values.shape[1], left : left + values.shape[2]]
        best = self.best[part]
        self.by[part].masked_fill_(values > best, number)
        torch.maximum(best, values, out=best)
        # Twice for the whole photo with its mirror image, of which the second look counts.
        if number + 1 in COUNTS:
            self.growth[number + 1] = labels_of(canvas.scores())

    def finish(self) -> None:
        """Take down the labels after the last box too; what was seen moves to the CPU."""
        if self._canvas is not None:
            self.growth[len(self.boxes)] = labels_of(self._canvas.scores())
        self.best, self.by = self.best.cpu(), self.by.cpu()

    def decided(self, labels: NDArray[np.uint8]) -> NDArray[np.int16]:
        """The box that decided each pixel, int16 H x W: the one that gave its label the most."""
        chosen = torch.from_numpy(labels.astype(np.int64))[None]
        found: NDArray[np.int16] = self.by.gather(0, chosen)[0].numpy()
        return found

    def telling(self, label: int, labels: NDArray[np.uint8]) -> int:
        """The proposal that decided most pixels with this label, the first of equals.

        The whole photo, which is the first box, is set aside unless no other decided any: the
        paper's figure 4 shows a proposal. If nobody decided such a pixel, the box whose score of
        the label is the greatest anywhere.

        Args:
            labels: uint8 H x W, of the merged map.
        """
        deciders = self.decided(labels)[labels == label]
        counts = np.bincount(deciders[deciders >= 0], minlength=1)
        if counts[1:].any():
            return 1 + int(counts[1:].argmax())
        if counts[0]:
            return 0
        return max(0, int(self.by[label].flatten()[self.best[label].argmax()]))
