"""What the processes of a GPU batch say to each other about a photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.errors import CrashError
from deconvnet_cli.segmentation.segment import Inferred, Segmentation


class NetsEndedError(CrashError):
    """The process that runs the nets has ended, for which no photo is to blame."""


@dataclass(frozen=True, eq=False)
class Request:
    """A photo that is to be segmented.

    Attributes:
        pixels: The working copy of the photo, uint8 H x W x 3, RGB.
        boxes: The boxes that the net is shown, int32 N x 4; None if no net takes boxes.
        width: The width of the labels, that of the original photo.
        height: The height of the labels.
        maps: Whether the answer holds the maps, which are 80 times as large as the labels.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.int32] | None
    width: int
    height: int
    maps: bool


@dataclass(frozen=True, eq=False)
class Answer:
    """The labels of a photo, and if asked for the maps on the CPU that they come from."""

    result: Segmentation
    inferred: Inferred | None
