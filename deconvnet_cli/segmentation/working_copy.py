"""The working copy of a photo: nets, boxes and the dense CRF see a large photo scaled down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from deconvnet_cli.data.boxes import rescaled
from deconvnet_cli.nets.sizes import scaled_down
from deconvnet_cli.segmentation.proposals import Proposals, propose
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentSettings


def working_copy(photo: Image.Image, max_side: int) -> Image.Image:
    """Return the photo, scaled down if its nominal side exceeds ``max_side`` pixels."""
    return in_size(photo, scaled_down(*photo.size, max_side))


def in_size(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the photo, scaled down to this width and height if it has others."""
    if size == photo.size:
        return photo
    return photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def propose_for(photo: Image.Image, settings: ProposalSettings) -> Proposals:
    """Return the boxes that ``segment`` shows the net, which it finds in the working copy.

    The photo itself would have others: in photos of 2000 pixels, half of them differed.

    Returns:
        The boxes in pixels of the photo, rounded.

    Raises:
        DependencyError, ImageError, WeightsError: See :func:`propose`.
    """
    work = working_copy(photo, SegmentSettings.max_side)
    found = propose(np.asarray(work), settings)
    return replace(found, boxes=rescaled(found.boxes, work.size, photo.size))
