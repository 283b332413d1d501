"""What each net takes in: how pixels become its input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class InputConvention:
    """How pixels become the net's input: ``(value - mean) * scale``.

    Attributes:
        channels: "RGB" or "BGR", the order of the input's channels.
        mean: subtracted from values 0..255, one per channel, in that order.
        scale: multiplied in afterwards.
        size: side of the square crops it is trained on and, if it takes boxes, shown, pixels.
        whole: longer side, pixels, at which the whole photo is looked at, in its own shape and
            together with its mirror image. 0: it is a square crop like any other, as in the
            paper; or, for a net without boxes (an FCN), it is looked at in its own size.
        cell: a side of an input that is not square is a multiple of this, pixels.
    """

    channels: str
    mean: tuple[float, float, float]
    scale: float
    size: int = 224
    whole: int = 0
    cell: int = 16

    def whole_size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height, multiples of ``cell``, at which a photo of this size is looked at."""
        scale = self.whole / max(width, height)
        across, down = (
            max(1, round(side * scale / self.cell)) * self.cell for side in (width, height)
        )
        return across, down

    def prepare(self, crops: Tensor) -> Tensor:
        """uint8 N x 3 x S x S RGB crops as the float32 input of the net."""
        if self.channels == "BGR":
            crops = crops.flip(1)
        mean = torch.tensor(self.mean, device=crops.device).view(1, 3, 1, 1)
        return (crops.float() - mean) * self.scale


# DeepLabv3-MobileNetV2's own, whose encoder this net starts from. It knows things at the size they
# have in photos of about 640 pixels.
MOBILENET_INPUT = InputConvention("RGB", (128.0, 128.0, 128.0), 1 / 128, size=320, whole=640)


# Caffe's VGG-16, as in the original system.
VGG_INPUT = InputConvention("BGR", (104.00698793, 116.66876762, 122.67891434), 1.0)


FCN_MOBILENET_INPUT = replace(MOBILENET_INPUT, cell=32)


# FCN-8s is trained on photos as they are; crops of this size are what our training cuts from them.
FCN_INPUT = replace(VGG_INPUT, size=320, cell=1)
