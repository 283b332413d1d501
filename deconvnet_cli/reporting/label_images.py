"""Pictures of label maps, and of the differences between two, for the HTML reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.reporting.html import WIDEST, page_colours

WRONG = (205, 20, 35)


def shown_size(width: int, height: int, widest: int = WIDEST) -> tuple[int, int]:
    """Return the width and height of a picture, scaled down if wider than ``widest``."""
    return min(width, widest), max(1, round(height * min(1.0, widest / width)))


def label_image(
    labels: NDArray[np.uint8], size: tuple[int, int], classes: Sequence[str]
) -> Image.Image:
    """Return labels H x W in the colours of their classes, mode P, of ``size`` (width, height)."""
    image = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST)
    image.putpalette(page_colours(classes).tobytes())
    return image


def error_map(
    photo: Image.Image, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]
) -> Image.Image:
    """Return the photo faded to grey, with wrong pixels in red; void is never wrong.

    The true and the predicted labels, H x W, are in the size of the photo.
    """
    faded = Image.blend(photo.convert("L"), Image.new("L", photo.size, 255), 0.5)
    pixels = np.array(faded.convert("RGB"))
    pixels[(truth != prediction) & (truth != IGNORE)] = WRONG
    return Image.fromarray(pixels)
