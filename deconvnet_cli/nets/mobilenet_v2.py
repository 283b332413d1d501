"""MobileNetV2 as an encoder (Sandler et al., CVPR 2018), with the head of DeepLabv3.

Every convolution except the head's last has BatchNorm. The head is the image-level branch of
DeepLabv3 (Chen et al., 2017), which replaces VGG-16's fc6 and fc7.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from deconvnet_cli.nets.layers import BatchNorm, DilatedDepthwise, normalised

# (in, out, expansion) of the 17 inverted residual blocks of MobileNetV2.
BLOCKS = (
    (32, 16, 1),
    (16, 24, 6), (24, 24, 6),
    (24, 32, 6), (32, 32, 6), (32, 32, 6),
    (32, 64, 6), (64, 64, 6), (64, 64, 6), (64, 64, 6),
    (64, 96, 6), (96, 96, 6), (96, 96, 6),
    (96, 160, 6), (160, 160, 6), (160, 160, 6),
    (160, 320, 6),
)  # fmt: skip
# These blocks halve the resolution: by a stride of 2 in MobileNetV2, or by a pool after them.
HALVING_BLOCKS = (1, 3, 6)
LAST_HALVING_BLOCK = 13
# A published MobileNetV2 has weights for these.
PUBLISHED_PARTS = ("stem.", "blocks.", "head.")


class InvertedResidual(nn.Module):
    """The block of MobileNetV2: expand 1x1, depthwise 3x3, project 1x1, shortcut if it fits."""

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
        depthwise: nn.Module
        if (stride, dilation) == (1, 2):
            depthwise = DilatedDepthwise(hidden)
        else:
            depthwise = nn.Conv2d(
                hidden, hidden, 3, stride, dilation, dilation, groups=hidden, bias=False
            )
        self.depthwise = normalised(depthwise, hidden, nn.ReLU6)
        self.project = nn.Sequential(nn.Conv2d(hidden, outputs, 1, bias=False), BatchNorm(outputs))
        self.shortcut = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y

    def halved(self, x: Tensor) -> Tensor:
        """Return every second row and column of the block's output, from the first on."""
        y: Tensor = self.project(halved(self.depthwise, self.expand(x)))
        return y


def halved(stage: nn.Module, x: Tensor) -> Tensor:
    """Return every second row and column of what a convolution, with what follows it, computes.

    A stride of 2 computes these alone.
    """
    convolution, *rest = stage.children()
    strided = cast(nn.Conv2d, copy.copy(convolution))  # shares its parameters
    strided.stride = (2, 2)
    x = strided(x)
    for layer in rest:
        x = layer(x)
    return x


class Head(nn.Module):
    """The head: a 1x1 convolution joined with image-level pooling, a projection, coarse logits.

    It turns a map N x inputs x h x w into features N x width x h x w and logits
    N x classes x h x w.
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
    """Return the matrix, pixels x cells, of linear interpolation along one side of a map.

    Cell ``i`` is at pixel ``i * pixels / cells``; pixels beyond the last cell get its value.
    """
    at = (torch.arange(pixels, dtype=torch.float32) * cells / pixels).clamp_max(cells - 1)
    below = at.floor().long()
    matrix = torch.zeros(pixels, cells, dtype=torch.float32)
    matrix[torch.arange(pixels), below] = 1 - (at - below)
    matrix[torch.arange(pixels), (below + 1).clamp_max(cells - 1)] += at - below
    return matrix


def enlarge_cells(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge a map N x C x h x w to ``size`` (H, W), with cell ``i`` at pixel ``i * H / h``.

    A stride keeps the first pixel of each window, not the middle.
    """
    down, across = (
        between_cells(cells, pixels).to(coarse)
        for cells, pixels in zip(coarse.shape[2:], size, strict=True)
    )
    return down @ coarse @ across.T


class MobileNetEncoder(nn.Module, ABC):
    """A base class for nets on MobileNetV2: stem, blocks and head.

    Args:
        head: The channels of the head.
        classes: The number of logits of the head.
        halving: The blocks, besides the stem, that halve the map (see ``HALVING_BLOCKS``).
        strided: Whether they halve by a stride, as in MobileNetV2; otherwise the net must pool.
    """

    def __init__(self, head: int, classes: int, halving: tuple[int, ...], *, strided: bool) -> None:
        super().__init__()
        step = 2 if strided else 1
        self.stem = normalised(nn.Conv2d(3, 32, 3, step, 1, bias=False), 32, nn.ReLU6)
        # Blocks that miss the last halving are dilated to keep their field of view.
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
        """Return the input of the head, N x 320 x h x w, and maps or switches for the decoder."""

    @abstractmethod
    def added_logits(self) -> tuple[nn.Module, ...]:
        """Return the layers whose logits are added to the head's."""

    @abstractmethod
    def published(self) -> MobileNetEncoder:
        """Return a new net of these widths whose encoder computes what the published one does."""


def convolution_pairs(net: MobileNetEncoder) -> dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution of encoder and head with its BatchNorm, by its folded name."""
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
