"""Photos of a batch before the nets: they are read, and their boxes are found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.batch.photo import decoded_photo
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import Source
from deconvnet_cli.batch.spec import BatchSpec, SystemInfo
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.segment import working_copy


@dataclass(frozen=True)
class OpenedPhoto:
    """A photo that has been read, with its boxes.

    Attributes:
        working: The photo in the size that is segmented.
        boxes: int32, N x 4, in that size; None if no net takes boxes.
        ms: Milliseconds by stage.
    """

    job: Job
    source: Source
    working: Image.Image
    boxes: NDArray[np.int32] | None
    ms: dict[str, float]


def open_photo(job: Job, source: Source, spec: BatchSpec, info: SystemInfo) -> OpenedPhoto:
    """Decode a photo and find its boxes.

    Raises:
        ImageError: The file is not a photo.
    """
    return OpenedPhoto(job, source, *prepared(decoded_photo(job, source, spec), info))


def prepared(
    photo: Image.Image, info: SystemInfo
) -> tuple[Image.Image, NDArray[np.int32] | None, dict[str, float]]:
    """Return what the nets are given of a photo, as ``OpenedPhoto`` holds it.

    These are the working copy, its boxes or None, and the milliseconds by stage.
    """
    working = working_copy(photo, info.settings.max_side)
    boxes, watch = None, Stopwatch()
    if info.boxes is not None:
        box_settings = replace(info.settings.boxes, count=info.boxes)
        with watch.timed("proposals"):
            boxes = propose(np.asarray(working), box_settings).boxes
    return working, boxes, watch.ms
