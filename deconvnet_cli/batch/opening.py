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
    photo = decoded_photo(job, source, spec)
    working = working_copy(photo, info.settings.max_side)
    watch = Stopwatch()
    with watch.timed("proposals"):
        boxes = boxes_for(working, info)
    return OpenedPhoto(job, source, working, boxes, watch.ms)


def boxes_for(working: Image.Image, info: SystemInfo) -> NDArray[np.int32] | None:
    """Return the boxes that the net is shown of a working copy, int32 N x 4; None for no boxes."""
    if info.boxes is None:
        return None
    return propose(np.asarray(working), replace(info.settings.boxes, count=info.boxes)).boxes
