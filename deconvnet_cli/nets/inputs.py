"""The input convention of each net: how pixels become its input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from deconvnet_cli.nets.sizes import nominal_side


@dataclass(frozen=True)
class InputConvention:
    """The way in which pixels become the net's input: ``(value - mean) * scale``.

    Attributes:
        channels: The order of the input's channels, "RGB" or "BGR".
        mean: The values subtracted from values 0..255, one for each channel in that order.
        scale: The factor applied afterwards.
        size: The side of the square crops, pixels, that the net is trained on and, if it takes
            boxes, shown.
        whole: The :func:`nominal_side`, pixels, at which the net is shown the whole photo in its
            own shape and mirrored. With 0 the whole photo is a square crop like any other, as in
            the paper; a net without boxes (an FCN) is then shown it at its own size.
        cell: The sides of an input that is not square are multiples of this, pixels.
        further: Other such sides, pixels, at which the net is shown the whole photo too. It is
            then mirrored at ``whole`` alone, and as it is at each of these.
        coarse: More such sides, at which the encoder and the head alone are shown the whole photo.
            Their coarse logits are enlarged to the size of the photo.
    """

    channels: str
    mean: tuple[float, float, float]
    scale: float
    size: int = 224
    whole: int = 0
    cell: int = 16
    further: tuple[int, ...] = ()
    coarse: tuple[int, ...] = ()

    def whole_size(self, width: int, height: int, side: int) -> tuple[int, int]:
        """Return the input width and height, multiples of ``cell``, for a photo of this size.

        Args:
            side: About the :func:`nominal_side` of the input, pixels.
        """
        scale = side / nominal_side(width, height)
        across, down = (
            max(1, round(side * scale / self.cell)) * self.cell for side in (width, height)
        )
        return across, down

    def prepare(self, crops: Tensor) -> Tensor:
        """Return RGB pixels N x 3 x H x W, 0 to 255, as the float32 input of the net."""
        if self.channels == "BGR":
            crops = crops.flip(1)
        mean = torch.tensor(self.mean, dtype=torch.float32, device=crops.device).view(1, 3, 1, 1)
        return (crops.float() - mean) * self.scale


# The convention of DeepLabv3-MobileNetV2, whose encoder this net starts from. That was trained on
# objects as large as they are in photos of about 640 pixels.
MOBILENET_INPUT = InputConvention("RGB", (128.0, 128.0, 128.0), 1 / 128, size=320, whole=640)

# The convention of Caffe's VGG-16, as in the original system.
VGG_INPUT = InputConvention("BGR", (104.00698793, 116.66876762, 122.67891434), 1.0)

FCN_MOBILENET_INPUT = replace(MOBILENET_INPUT, whole=512, further=(768,), cell=32)

# FCN-8s is trained on photos at their own size; our training cuts crops of this size from them.
FCN_INPUT = replace(VGG_INPUT, size=320, cell=1)
