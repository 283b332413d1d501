"""``fcn8s-mobilenet``: an FCN-8s on the encoder of ``deconvnet-mobilenet``.

    stage        layers                                              channels   stride
    stem         3x3 convolution                                     32         2
    block0 .. 2  inverted residuals                                  16, 24     4
    block3 .. 5  inverted residuals; skip8                           32         8
    block6 .. 12 inverted residuals; skip16                          64, 96     16
    block13.. 16 inverted residuals                                  160, 320   32
    head         1x1 + image-level pooling, projection; 1x1 logits   256, 21    32
    skip16       3x3 convolution; 1x1 logits, added to the head's    64, 21     16
    skip8        3x3 convolution; 1x1 logits, added to these         64, 21     8

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015:
the logits at stride 32 are enlarged twofold and added to those of finer maps, at strides 16 and 8.
As there, the logits of the finer maps start at zero. The encoder is MobileNetV2 with its strides:
at stride 32 it computes every second value of DeepLabv3's dilated encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from deconvnet_cli.nets.layers import normalised
from deconvnet_cli.nets.mobilenet_v2 import (
    BLOCKS,
    HALVING_BLOCKS,
    LAST_HALVING_BLOCK,
    MobileNetEncoder,
    enlarge_cells,
)


@dataclass(frozen=True)
class FCN8sMobileSettings:
    """The widths of the net.

    Attributes:
        classes: The number of logits for each pixel.
        head: The channels of the head on the smallest map.
        skip: The channels of the 3x3 convolution of each skip.
    """

    classes: int = 21
    head: int = 256
    skip: int = 64


def skip(inputs: int, width: int, classes: int) -> nn.Sequential:
    """Return the layers from a map of the encoder to logits: 3x3 with BatchNorm, then 1x1."""
    layer = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
    return nn.Sequential(normalised(layer, width, nn.ReLU6), nn.Conv2d(width, classes, 1))


class FCN8sMobile(MobileNetEncoder):
    """The small FCN-8s. Input N x 3 x H x W, multiples of 32; output logits N x 21 x H x W."""

    def __init__(self, settings: FCN8sMobileSettings = FCN8sMobileSettings()) -> None:
        halving = (*HALVING_BLOCKS, LAST_HALVING_BLOCK)
        super().__init__(settings.head, settings.classes, halving, strided=True)
        self.settings = settings
        self.skip16 = skip(BLOCKS[LAST_HALVING_BLOCK][0], settings.skip, settings.classes)
        self.skip8 = skip(BLOCKS[HALVING_BLOCKS[-1]][0], settings.skip, settings.classes)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map N x 320 x H/32 x W/32, and the last maps at strides 8 and 16."""
        finer = []
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            if index in (HALVING_BLOCKS[-1], LAST_HALVING_BLOCK):
                finer.append(x)
            x = block(x)
        return x, finer

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        x, (at8, at16) = self.encode(x)
        logits: Tensor = self.head(x)[1]
        for finer, layer in ((at16, self.skip16), (at8, self.skip8)):
            logits = enlarge_cells(logits, finer.shape[2:]) + layer(finer)
        return enlarge_cells(logits, size)

    def added_logits(self) -> tuple[nn.Module, ...]:
        """Return the layers whose logits are added to the head's."""
        return self.skip16[1], self.skip8[1]

    def published(self) -> FCN8sMobile:
        """Return a new net like this one: its encoder already computes what the published does."""
        return FCN8sMobile(self.settings)
