"""The layers that the nets share: pooling with switches, its inverse, and BatchNorm.

Layout N x C x H x W, float tensors throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pool_with_switches(x: Tensor) -> tuple[Tensor, Tensor]:
    """Max-pool 2x2 windows and remember where each maximum was (paper section 3.2.1).

    Args:
        x: The map, N x C x H x W, with even H and W.

    Returns:
        The pooled map, N x C x H/2 x W/2, and its switches (int64, same shape): the index into
        the flattened H x W plane. The first maximum wins a tie, as in Caffe. Ties are common,
        because after a ReLU whole windows are zero.
    """
    return F.max_pool2d(x, kernel_size=2, stride=2, return_indices=True)


def unpool(x: Tensor, switches: Tensor) -> Tensor:
    """Put each value back at its switch and zero everywhere else (paper section 3.2.1).

    Args:
        x: The map, N x C x H x W, of the same shape as ``switches``.
        switches: The switches that :func:`pool_with_switches` returned.

    Returns:
        The unpooled map, N x C x 2H x 2W.
    """
    size = [2 * x.shape[2], 2 * x.shape[3]]
    if torch.are_deterministic_algorithms_enabled():
        # A program may set this for all of torch, which then refuses max_unpool2d: the switches of
        # other windows could overlap.
        empty = x.new_zeros(*x.shape[:2], size[0] * size[1])
        return empty.scatter(2, switches.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)
    # F.max_unpool2d does the same, but its first call imports sympy, which takes half a second.
    unpooled: Tensor = torch.ops.aten.max_unpool2d(x, switches, size)
    return unpooled


class BatchNorm(nn.BatchNorm2d):
    """A BatchNorm that can also be trained if a batch has only one value for each channel.

    This happens with the 1x1 map (fc6, image-level pooling) of a single crop. It has no variance,
    so it is normalised by the running statistics, which are updated first.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.numel() > x.shape[1]:
            return super().forward(x)
        mean, variance = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        with torch.no_grad():
            share = self.count_batch()
            deviation = x.detach().flatten().float() - mean
            mean.add_(deviation, alpha=share)
            variance.lerp_(deviation.square(), share)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)

    def count_batch(self) -> float:
        """Count this batch and return its weight in the running statistics."""
        tracked = cast(Tensor, self.num_batches_tracked).add_(1)
        # As in torch, statistics without a momentum are plain averages.
        return 1 / int(tracked) if self.momentum is None else self.momentum


def normalised(layer: nn.Module, channels: int, activation: type[nn.Module]) -> nn.Sequential:
    """Return a convolution or deconvolution followed by BatchNorm and an activation."""
    return nn.Sequential(layer, BatchNorm(channels), activation(inplace=True))


class DilatedDepthwise(nn.Conv2d):
    """A depthwise 3x3 convolution of dilation 2 that a CPU can also train fast.

    oneDNN takes about 60 times as long to differentiate a depthwise convolution with dilation as
    without. Dilation 2 never mixes odd with even rows or columns, so in training on a CPU the map
    is taken apart into its four interleaved maps, which are convolved without dilation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, 1, 2, 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not (x.is_cpu and torch.is_grad_enabled()):
            return super().forward(x)
        rows, columns = x.shape[2:]
        even = F.pad(x, (0, columns % 2, 0, rows % 2))
        y = F.conv2d(taken_apart(even), self.weight, None, 1, 1, 1, self.groups)
        return put_together(y)[:, :, :rows, :columns]


def taken_apart(x: Tensor) -> Tensor:
    """Return the four interleaved maps of a map: N x C x 2H x 2W becomes 4N x C x H x W."""
    count, channels, rows, columns = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(count, rows // 2, 2, columns // 2, 2, channels)
    parts = parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, rows // 2, columns // 2, channels)
    return parts.permute(0, 3, 1, 2)


def put_together(x: Tensor) -> Tensor:
    """Undo :func:`taken_apart`: 4N x C x H x W becomes N x C x 2H x 2W."""
    count, channels, rows, columns = x.shape
    parts = x.permute(0, 2, 3, 1).reshape(count // 4, 2, 2, rows, columns, channels)
    parts = parts.permute(0, 3, 1, 4, 2, 5).reshape(-1, 2 * rows, 2 * columns, channels)
    return parts.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class DecoderStage:
    """A place in a decoder, where its activations can be seen.

    Attributes:
        name: The name of the layer, as in the table at the top of the net's module.
        module: The submodule to observe; ``fusion.py`` leaves it in place.
        entering: Whether to take the module's input and not its output. Unpoolings need this, as
            they are functions between two modules. Outputs are taken after the ReLU.
    """

    name: str
    module: str
    entering: bool = False


@runtime_checkable
class HasCoarseLogits(Protocol):
    """A net with coarse logits, which have a loss of their own in training."""

    def forward_with_coarse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and the coarse logits, both N x C x H x W."""
        ...

    def coarse_logits(self, x: Tensor) -> Tensor:
        """Return the coarse logits alone, N x C x h x w, of an input N x 3 x H x W."""
        ...

    def enlarge(self, coarse: Tensor, size: tuple[int, int]) -> Tensor:
        """Enlarge coarse logits to a size (H, W)."""
        ...
