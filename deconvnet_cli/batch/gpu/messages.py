"""What the processes of a GPU batch say to each other about a photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.segmentation.segment import Inferred, Segmentation


@dataclass(frozen=True, eq=False)
class Request:
    """A photo that is to be segmented.

    Attributes:
        pixels: The working copy of the photo, uint8 H x W x 3, RGB.
        boxes: The boxes that the net is shown, int32 N x 4; None if no net takes boxes.
        size: The width and height of the labels, those of the original photo.
        maps: Whether the answer holds the maps, which are 80 times as large as the labels.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.int32] | None
    size: tuple[int, int]
    maps: bool


@dataclass(frozen=True, eq=False)
class Answer:
    """The labels of a photo, and if asked for the maps on the CPU that they come from."""

    result: Segmentation
    inferred: Inferred | None
