"""Cut boxes out of photos and label maps, at the size of the net's input.

Boxes are (x0, y0, x1, y1) in pixels, half open. They may reach beyond the photo's edge; the photo
continues in black there, as in the original system.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box


def cut(image: Image.Image, box: Box, width: int, height: int) -> NDArray[np.uint8]:
    """Return the box as a crop of the given size, uint8 height x width x 3, RGB.

    The scaling is bilinear and antialiased when it shrinks, like MATLAB's ``imresize`` in the
    original system.
    """
    # Pillow fills the area outside the image with zeros.
    return np.asarray(image.crop(box).resize((width, height), Image.Resampling.BILINEAR))


def cut_on_device(photo: Tensor, box: Box, width: int, height: int) -> Tensor:
    """Return a crop like :func:`cut`, of a photo already on a GPU: float32 3 x height x width.

    Values are whole numbers, as with Pillow, but may differ from Pillow's by rounding: Pillow also
    rounds between horizontal and vertical scaling.

    Args:
        photo: The photo, float32 3 x H x W, 0 to 255.
    """
    x0, y0, x1, y1 = box
    rows, columns = photo.shape[1:]
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, columns), min(y1, rows)
    inside = photo[:, top : max(top, bottom), left : max(left, right)]
    if inside.numel() == 0:
        return photo.new_zeros(3, height, width)
    padded = F.pad(inside, (left - x0, x1 - right, top - y0, y1 - bottom))
    scaled = F.interpolate(
        padded[None], size=(height, width), mode="bilinear", align_corners=False, antialias=True
    )
    return scaled[0].round_()


def cut_mask(mask: NDArray[np.uint8], box: Box, size: int, outside: int) -> NDArray[np.uint8]:
    """Return the box of a label map, uint8 size x size, scaled to the nearest label.

    Pixels beyond the map's edge get the label ``outside``.
    """
    shifted = Image.fromarray(mask ^ np.uint8(outside))  # Pillow's fill, 0, becomes `outside`
    crop = shifted.crop(box).resize((size, size), Image.Resampling.NEAREST)
    labels: NDArray[np.uint8] = np.asarray(crop) ^ np.uint8(outside)
    return labels
