"""``deconvnet-mobilenet``: the idea of DeconvNet on an encoder that a CPU can train and run.

    stage        layers                                              channels   output
    stem         3x3 convolution; pool1                              32         112
    block0, 1    inverted residuals; pool2                           16, 24     56
    block2, 3    inverted residuals; pool3                           24, 32     28
    block4 .. 6  inverted residuals; pool4                           32, 64     14
    block7 .. 16 inverted residuals, 14 .. 16 with dilation 2        .. 320     14
    head         1x1 + image-level pooling, projection               256        14
    coarse       1x1 scores of the head, upsampled and added         21         14
    bridge       deconvolutions 3x3                                  160, 64    14
    decode4      unpool4; deconvolutions 3x3                         64, 64, 32 28
    decode3      unpool3; deconvolutions 3x3                         32, 24     56
    decode2      unpool2; deconvolutions 3x3                         24, 32     112
    decode1      unpool1; deconvolution 3x3                          16         224
    score        1x1 convolution                                     21         224

Encoder: MobileNetV2 (Sandler et al., CVPR 2018) with each stride of 2 replaced by a stride of 1
and a 2x2 max pool that keeps its switches. What the encoder goes on with is a setting: the maxima
(``pool="max"``), or the values that the stride would have kept (``pool="stride"``), so that a
pretrained encoder computes what it was trained to; the decoder unpools to the maxima either way.
Head: the image-level branch of DeepLabv3 (Chen et al., 2017), in the place of fc6 and fc7. Every
layer but the two score layers has BatchNorm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.layers import DecoderStage, normalised, pool_with_switches, unpool
from deconvnet_cli.nets.mobilenet_v2 import (
    BLOCKS,
    HALVING_BLOCKS,
    LAST_HALVING_BLOCK,
    MobileNetEncoder,
    enlarge_cells,
)

POOLS = ("max", "stride")


@dataclass(frozen=True)
class MobileNetSettings:
    """Widths of the net.

    Attributes:
        classes: number of scores a pixel.
        head: channels of the head on the smallest map.
        bridge: deconvolutions on the smallest map; the last has the channels of its pool.
        decode4, decode3, decode2, decode1: deconvolutions after each unpooling; the last of
            each has the channels of the next pool to undo (32, 24, 32; ``decode1`` is free).
        pools: 4, or 5 to halve once more after block 13 (the bridge then works on 7x7).
        pool: what the encoder keeps of a 2x2 window whose maximum is the switch: "max", that
            maximum, or "stride", the first value, as MobileNetV2's strides do.
    """

    classes: int = 21
    head: int = 256
    bridge: tuple[int, ...] = (160, 64)
    decode5: tuple[int, ...] = (160, 64)
    decode4: tuple[int, ...] = (64, 64, 32)
    decode3: tuple[int, ...] = (32, 24)
    decode2: tuple[int, ...] = (24, 32)
    decode1: tuple[int, ...] = (16,)
    pools: int = 4
    pool: str = "stride"


def deconvolutions(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """3x3 deconvolutions of stride 1 that keep the size, each with BatchNorm and ReLU."""
    layers = []
    for outputs in widths:
        layer = nn.ConvTranspose2d(inputs, outputs, 3, padding=1, bias=False)
        layers.append(normalised(layer, outputs, nn.ReLU))
        inputs = outputs
    return nn.Sequential(*layers)


class DeconvNetMobile(MobileNetEncoder):
    """The default net. Input N x 3 x H x W, H and W multiples of 16; output N x 21 x H x W.

    ``strided`` builds the encoder as MobileNetV2 had it, with strides and no pools: only its
    features make sense then. The start of training needs it (``initialisation.py``).
    """

    def __init__(
        self, settings: MobileNetSettings = MobileNetSettings(), *, strided: bool = False
    ) -> None:
        if settings.pool not in POOLS:
            raise WeightsError(f"unknown pool {settings.pool!r}; known: {', '.join(POOLS)}")
        if settings.pools not in (4, 5):
            raise WeightsError(f"{settings.pools} pools; this net has 4 or 5")
        to_undo = {"decode4": 32, "decode3": 24, "decode2": 32}
        to_undo |= {"bridge": 64} if settings.pools == 4 else {"decode5": 64}
        for stage, channels in to_undo.items():
            if getattr(settings, stage)[-1] != channels:
                raise WeightsError(f"{stage} must end in the {channels} channels of its pool")
        pooled = HALVING_BLOCKS + ((LAST_HALVING_BLOCK,) if settings.pools == 5 else ())
        super().__init__(settings.head, settings.classes, pooled, strided=strided)
        self.settings = settings
        self.strided = strided
        self.pooled_blocks = pooled
        bridge = settings.bridge
        if settings.pools == 5:
            bridge = (*bridge[:-1], BLOCKS[LAST_HALVING_BLOCK][1])
            self.decode5 = deconvolutions(bridge[-1], settings.decode5)
        self.bridge = deconvolutions(settings.head, bridge)
        self.decode4 = deconvolutions(64, settings.decode4)
        self.decode3 = deconvolutions(32, settings.decode3)
        self.decode2 = deconvolutions(24, settings.decode2)
        self.decode1 = deconvolutions(32, settings.decode1)
        self.score = nn.Conv2d(settings.decode1[-1], settings.classes, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features N x 320 x H/16 x W/16 and the switches of each pool, first pool first."""
        switches: list[Tensor] = []
        x = self._halve(self.stem(x), switches)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.pooled_blocks:
                x = self._halve(x, switches)
        return x, switches

    def _halve(self, x: Tensor, switches: list[Tensor]) -> Tensor:
        """What goes on from a map that the encoder halves here; its switches are appended."""
        if self.strided:
            return x
        pooled, where = pool_with_switches(x)
        switches.append(where)
        return pooled if self.settings.pool == "max" else x[:, :, ::2, ::2]

    def enlarge(self, coarse: Tensor, size: tuple[int, int]) -> Tensor:
        """Coarse scores N x C x H/16 x W/16 at the net's input size (H, W), bilinear.

        Maxima lie in the middle of their windows on average. A stride keeps the first value, so
        that cell ``i`` belongs to pixel ``16 i`` and not to the middle of its 16 pixels.
        """
        if self.settings.pool == "max" and not self.strided:
            return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        return enlarge_cells(coarse, size)

    def decode(self, features: Tensor, switches: list[Tensor]) -> Tensor:
        """Scores N x 21 x H x W from the head's features, unpooling with the switches."""
        x = self.bridge(features)
        stages = [self.decode4, self.decode3, self.decode2, self.decode1]
        if self.settings.pools == 5:
            stages.insert(0, self.decode5)
        for stage, where in zip(stages, reversed(switches), strict=True):
            x = stage(unpool(x, where))
        scores: Tensor = self.score(x)
        return scores

    def added_scores(self) -> tuple[nn.Module, ...]:
        """The layers whose scores are added to the head's."""
        return (self.score,)

    def published(self) -> DeconvNetMobile:
        """A fresh net of these widths whose encoder computes what the published one does."""
        return DeconvNetMobile(self.settings, strided=True)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder's scores and the coarse ones, both N x 21 x H x W."""
        height, width = x.shape[2:]
        x, switches = self.encode(x)
        features, coarse = self.head(x)
        return self.decode(features, switches), self.enlarge(coarse, (height, width))

    def forward_with_coarse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the coarse scores that are a part of them (both N x 21 x H x W).

        In training the coarse scores have a loss of their own, so that the head keeps telling
        classes apart while the decoder learns shapes.
        """
        scores, coarse = self._parts(x)
        if scores.is_contiguous(memory_format=torch.channels_last):
            # A sum of two layouts takes several times as long as a change of one and a sum.
            coarse = coarse.contiguous(memory_format=torch.channels_last)
        return scores + coarse, coarse

    def forward(self, x: Tensor) -> Tensor:
        scores, coarse = self._parts(x)
        return scores.contiguous() + coarse  # planes: what is done with scores is done by class


def decoder_stages(net: DeconvNetMobile) -> tuple[DecoderStage, ...]:
    """Return what the decoder starts from, each unpooling and what follows it, the logits."""
    stages = [DecoderStage("bridge", "bridge")]
    for number in range(net.settings.pools, 0, -1):
        stages.append(DecoderStage(f"unpool{number}", f"decode{number}", entering=True))
        stages.append(DecoderStage(f"decode{number}", f"decode{number}"))
    return (*stages, DecoderStage("score", "score"))
