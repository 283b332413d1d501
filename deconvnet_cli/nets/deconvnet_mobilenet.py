"""``deconvnet-mobilenet``: a DeconvNet on an encoder that a CPU can train and run.

    stage        layers                                              channels   output
    stem         3x3 convolution; pool1                              32         112
    block0, 1    inverted residuals; pool2                           16, 24     56
    block2, 3    inverted residuals; pool3                           24, 32     28
    block4 .. 6  inverted residuals; pool4                           32, 64     14
    block7 .. 16 inverted residuals, 14 .. 16 with dilation 2        .. 320     14
    head         1x1 + image-level pooling, projection               256        14
    coarse       1x1 logits of the head, upsampled and added (*)     21         14
    bridge       deconvolutions 3x3                                  160, 64    14
    decode4      unpool4; deconvolutions 3x3                         64, 64, 32 28
    decode3      unpool3; deconvolutions 3x3                         32, 24     56
    decode2      unpool2; deconvolutions 3x3                         24, 32     112
    decode1      unpool1; deconvolution 3x3                          16         224
    score        1x1 convolution                                     21         224

Encoder: MobileNetV2 (Sandler et al., CVPR 2018) with each stride of 2 replaced by a stride of 1
and a 2x2 max pool that keeps its switches. A setting says which values the encoder passes on: the
maxima (``pool="max"``), or the values that the stride would have kept (``pool="stride"``), so that
a pretrained encoder computes what it was trained for. The decoder unpools to the maxima either way.
Head: the image-level branch of DeepLabv3 (Chen et al., 2017), which replaces fc6 and fc7. Every
layer except the two that produce logits has BatchNorm.

(*) Without the setting ``bypass`` the decoder's logits stand alone, as in the paper, and the coarse
logits only have a loss of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.layers import DecoderStage, normalised, pool_with_switches, unpool
from deconvnet_cli.nets.mobilenet_v2 import (
    BLOCKS,
    HALVING_BLOCKS,
    LAST_HALVING_BLOCK,
    InvertedResidual,
    MobileNetEncoder,
    enlarge_cells,
    halved,
)

POOLS = ("max", "stride")


@dataclass(frozen=True)
class MobileNetSettings:
    """The widths of the net.

    Attributes:
        classes: The number of logits for each pixel.
        head: The channels of the head on the smallest map.
        bridge: The channels of the deconvolutions on the smallest map; the last number is that of
            the pool to undo: 64, and with 5 pools 160, whatever is given.
        decode5, decode4, decode3, decode2, decode1: The channels of the deconvolutions after each
            unpooling. The last number of each is that of the next pool to undo (32, 24, 32;
            ``decode1`` is free). ``decode5`` is used with 5 pools only.
        pools: 4, or 5 to halve once more after block 13 (the bridge then works on 7x7).
        pool: The value that the encoder keeps of each 2x2 window: "max", the maximum at the
            switch, or "stride", the first value, as MobileNetV2's strides do.
        bypass: Whether the coarse logits are added to the decoder's. Without them the decoder
            carries all, as in the paper.
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
    bypass: bool = True


def deconvolutions(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return 3x3 deconvolutions that keep the size, each with BatchNorm and ReLU."""
    layers = []
    for outputs in widths:
        layer = nn.ConvTranspose2d(inputs, outputs, 3, padding=1, bias=False)
        layers.append(normalised(layer, outputs, nn.ReLU))
        inputs = outputs
    return nn.Sequential(*layers)


class DeconvNetMobile(MobileNetEncoder):
    """The default net. Input N x 3 x H x W, H and W multiples of 16; output N x 21 x H x W.

    ``strided`` builds the encoder as in MobileNetV2, with strides and no pools. Only its features
    make sense then; training recomputes BatchNorm statistics from them (``training/batchnorm.py``).
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
        """Return features N x 320 x H/16 x W/16 and the switches of each pool, first pool first."""
        switches: list[Tensor] = []
        x = self._halve(self.stem(x), switches)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.pooled_blocks:
                x = self._halve(x, switches)
        return x, switches

    def _halve(self, x: Tensor, switches: list[Tensor]) -> Tensor:
        """Halve a map, unless strided layers did so already, and append its switches."""
        if self.strided:
            return x
        pooled, where = pool_with_switches(x)
        switches.append(where)
        return pooled if self.settings.pool == "max" else x[:, :, ::2, ::2]

    def enlarge(self, coarse: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge coarse logits N x C x H/16 x W/16 to the input size (H, W), bilinearly.

        Maxima lie in the middle of their windows on average. A stride keeps the first value, so
        cell ``i`` belongs to pixel ``16 i`` and not to the middle of its 16 pixels.
        """
        if self.settings.pool == "max" and not self.strided:
            return F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        return enlarge_cells(coarse, size)

    def decode(self, features: Tensor, switches: list[Tensor]) -> Tensor:
        """Return logits N x 21 x H x W from the head's features, unpooling with the switches."""
        x = self.bridge(features)
        stages = [self.decode4, self.decode3, self.decode2, self.decode1]
        if self.settings.pools == 5:
            stages.insert(0, self.decode5)
        for stage, where in zip(stages, reversed(switches), strict=True):
            x = stage(unpool(x, where))
        logits: Tensor = self.score(x)
        return logits

    def added_logits(self) -> tuple[nn.Module, ...]:
        """Return the layers whose logits are added to the head's."""
        return (self.score,)

    def published(self) -> DeconvNetMobile:
        """Return a new net of these widths whose encoder computes what the published one does."""
        return DeconvNetMobile(self.settings, strided=True)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's logits and the coarse logits, both N x 21 x H x W."""
        height, width = x.shape[2:]
        x, switches = self.encode(x)
        features, coarse = self.head(x)
        return self.decode(features, switches), self.enlarge(coarse, (height, width))

    def coarse_logits(self, x: Tensor) -> Tensor:
        """Return the coarse logits alone, N x 21 x H/16 x W/16.

        An encoder that passes on the values of strides needs no map in full here, as no switches
        are asked for: it takes a third of the time of ``forward``.
        """
        if self.strided or self.settings.pool == "max":
            features, _ = self.encode(x)
        else:
            features = halved(self.stem, x)
            for index, block in enumerate(self.blocks):
                halves = index in self.pooled_blocks
                features = (
                    cast(InvertedResidual, block).halved(features) if halves else block(features)
                )
        _, coarse = self.head(features)
        return cast(Tensor, coarse)

    def forward_with_coarse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the coarse logits, both N x 21 x H x W.

        The coarse logits are a part of the logits, unless the net has no bypass. In training they
        have a loss of their own, so that the head keeps telling classes apart while the decoder
        learns shapes.
        """
        decoded, coarse = self._parts(x)
        if decoded.is_contiguous(memory_format=torch.channels_last):
            # Adding two layouts takes several times as long as converting one first.
            coarse = coarse.contiguous(memory_format=torch.channels_last)
        return (decoded + coarse if self.settings.bypass else decoded), coarse

    def forward(self, x: Tensor) -> Tensor:
        decoded, coarse = self._parts(x)
        decoded = decoded.contiguous()  # in planes, as later steps work class by class
        return decoded + coarse if self.settings.bypass else decoded


def decoder_stages(net: DeconvNetMobile) -> tuple[DecoderStage, ...]:
    """Return the stages of the decoder: bridge, each unpooling and its layers, the logits."""
    stages = [DecoderStage("bridge", "bridge")]
    for number in range(net.settings.pools, 0, -1):
        stages.append(DecoderStage(f"unpool{number}", f"decode{number}", entering=True))
        stages.append(DecoderStage(f"decode{number}", f"decode{number}"))
    return (*stages, DecoderStage("score", "score"))
