"""MobileNetV2 as an encoder (Sandler et al., CVPR 2018), with the head of DeepLabv3.

Every convolution but the head's last has BatchNorm. The head is the image-level branch of DeepLabv3
(Chen et al., 2017), in the place of VGG-16's fc6 and fc7.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from deconvnet_cli.nets.layers import BatchNorm, normalised

# (in, out, expansion) of the 17 inverted residual blocks of MobileNetV2.
BLOCKS = (
    (32, 16, 1),
    (16, 24, 6),
    (24, 24, 6),
    (24, 32, 6),
    (32, 32, 6),
    (32, 32, 6),
    (32, 64, 6),
    (64, 64, 6),
    (64, 64, 6),
    (64, 64, 6),
    (64, 96, 6),
    (96, 96, 6),
    (96, 96, 6),
    (96, 160, 6),
    (160, 160, 6),
    (160, 160, 6),
    (160, 320, 6),
)
# The blocks that halve the resolution: their stride is 2 in MobileNetV2, here a pool follows them.
HALVING_BLOCKS = (1, 3, 6)
LAST_HALVING_BLOCK = 13
# Names of the parts that a published MobileNetV2 has weights for.
PUBLISHED_PARTS = ("stem.", "blocks.", "head.")


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand 1x1, depthwise 3x3, project 1x1, with a shortcut if it fits."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, dilation: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = (
            normalised(nn.Conv2d(inputs, hidden, 1, bias=False), hidden, nn.ReLU6)
            if expansion > 1
            else nn.Identity()
        )
        depthwise = nn.Conv2d(
            hidden, hidden, 3, stride, dilation, dilation, groups=hidden, bias=False
        )
        self.depthwise = normalised(depthwise, hidden, nn.ReLU6)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), BatchNorm(outputs))
        self.shortcut = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class Head(nn.Module):
    """A 1x1 convolution joined with image-level pooling, then projected; and coarse scores.

    Of a map N x inputs x h x w it makes N x width x h x w and scores N x classes x h x w.
    """

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.aspp0 = normalised(nn.Conv2d(inputs, width, 1, bias=False), width, nn.ReLU6)
        self.image_pooling = normalised(nn.Conv2d(inputs, width, 1, bias=False), width, nn.ReLU6)
        self.projection = normalised(nn.Conv2d(2 * width, width, 1, bias=False), width, nn.ReLU6)
        self.logits = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.image_pooling(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        features = self.projection(torch.cat((pooled, self.aspp0(x)), dim=1))
        return features, self.logits(features)


def between_cells(cells: int, pixels: int) -> Tensor:
    """The matrix, pixels x cells, of linear interpolation along one side of a map.

    Cell ``i`` stands at pixel ``i * pixels / cells``; the last one is held beyond its place.
    """
    at = (torch.arange(pixels) * cells / pixels).clamp_max(cells - 1)
    below = at.floor().long()
    matrix = torch.zeros(pixels, cells)
    matrix[torch.arange(pixels), below] = 1 - (at - below)
    matrix[torch.arange(pixels), (below + 1).clamp_max(cells - 1)] += at - below
    return matrix


def enlarge_cells(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """A map N x C x h x w at ``size`` (H, W), where cell ``i`` stands at pixel ``i * H / h``.

    That is where a stride keeps it: the first pixel of its window and not the middle.
    """
    down, across = (
        between_cells(cells, pixels).to(coarse)
        for cells, pixels in zip(coarse.shape[2:], size, strict=True)
    )
    return down @ coarse @ across.T


class MobileNetEncoder(nn.Module, ABC):
    """Stem, blocks and head; what a net does between them, and after, is its own.

    Args:
        head: channels of the head.
        classes: number of scores of the head.
        halving: the blocks, besides the stem, that halve the map (see ``HALVING_BLOCKS``).
        strided: they do so by a stride, as MobileNetV2's; otherwise the net has to.
    """

    def __init__(self, head: int, classes: int, halving: tuple[int, ...], *, strided: bool) -> None:
        super().__init__()
        step = 2 if strided else 1
        self.stem = normalised(nn.Conv2d(3, 32, 3, step, 1, bias=False), 32, nn.ReLU6)
        # What is not halved once more is looked at from twice as far.
        dilation = 1 if LAST_HALVING_BLOCK in halving else 2
        self.blocks = nn.ModuleList(
            InvertedResidual(
                *BLOCKS[index],
                dilation=dilation if index > LAST_HALVING_BLOCK else 1,
                stride=step if index in halving else 1,
            )
            for index in range(len(BLOCKS))
        )
        self.head = Head(BLOCKS[-1][1], head, classes)

    @abstractmethod
    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The map that the head works on, N x 320 x h x w, and what else the net needs."""

    @abstractmethod
    def added_scores(self) -> tuple[nn.Module, ...]:
        """The layers whose scores are added to the head's."""

    @abstractmethod
    def published(self) -> MobileNetEncoder:
        """A fresh net of these widths whose encoder computes what the published one does."""


def convolution_pairs(net: MobileNetEncoder) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolution + BatchNorm pairs of encoder and head, by the names of the folded file."""
    stages: dict[str, nn.Module] = {"stem": net.stem}
    for index, block in enumerate(net.blocks):
        for part in ("expand", "depthwise", "project"):
            module = getattr(block, part)
            if isinstance(module, nn.Sequential):
                stages[f"block{index}.{part}"] = module
    for part in ("aspp0", "image_pooling", "projection"):
        stages[f"head.{part}"] = getattr(net.head, part)
    return {
        name: (cast(nn.Conv2d, stage[0]), cast(nn.BatchNorm2d, stage[1]))
        for name, stage in stages.items()
        if isinstance(stage, nn.Sequential)
    }
