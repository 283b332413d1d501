"""Fusion of the layers of a net for inference: the same function in less time.

BatchNorm is folded into the convolution before it, and a deconvolution of stride 1 becomes an
equal convolution, for which CPUs and GPUs have better kernels. If the CPU can, a convolution also
applies the activation after it: oneDNN writes the activated values at once, while separate
activations take a seventh of the time of ``deconvnet-mobilenet``, only to read and write maps once
more. A fused net cannot be trained.
"""

from __future__ import annotations

import copy
import platform
from functools import cache
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.deconvnet_vgg16 import FULLY_CONNECTED, LAYERS, SCORE, DeconvNet


@torch.no_grad()
def fused(net: nn.Module) -> nn.Module:
    """Return a copy of a net, in eval mode, that computes the same up to rounding (about 1e-5).

    Args:
        net: The net, float32, on any device; it is not changed.
    """
    net = copy.deepcopy(net).eval()
    if isinstance(net, DeconvNet):
        for layer in LAYERS:
            fold(net, layer.name, layer.norm)
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                fold(module, str(index), str(index + 1))
    if isinstance(net, DeconvNet):
        net.fc6_deconv = PointDeconvolution(cast(nn.ConvTranspose2d, net.fc6_deconv))
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.stride == (1, 1):
                setattr(module, name, as_convolution(child))
    if isinstance(net, DeconvNet | DeconvNetMobile):
        name = SCORE if isinstance(net, DeconvNet) else "score"
        setattr(net, name, PlanarConvolution(cast(nn.Conv2d, getattr(net, name))))
    if has_fused_kernels():
        fuse_activations(net)
    return net.requires_grad_(False)


def fold(parent: nn.Module, layer: str, norm: str) -> None:
    """Fold a BatchNorm into the (de)convolution before it; do nothing for other modules."""
    convolution, batchnorm = getattr(parent, layer), getattr(parent, norm)
    kinds = nn.Conv2d | nn.ConvTranspose2d
    if not (isinstance(convolution, kinds) and isinstance(batchnorm, nn.BatchNorm2d)):
        return
    weight, bias = fuse_conv_bn_weights(
        convolution.weight,
        convolution.bias,
        cast(Tensor, batchnorm.running_mean),
        cast(Tensor, batchnorm.running_var),
        batchnorm.eps,
        batchnorm.weight,
        batchnorm.bias,
        transpose=isinstance(convolution, nn.ConvTranspose2d),
    )
    convolution.weight, convolution.bias = weight, bias
    setattr(parent, norm, nn.Identity())


def fuse_activations(net: nn.Module) -> None:
    """Let convolutions apply the activation that follows them."""
    if isinstance(net, DeconvNet):
        for layer in LAYERS:
            if layer in FULLY_CONNECTED:  # one pixel each, where fused kernels are slower
                setattr(net, layer.norm, nn.ReLU(inplace=True))
            else:
                setattr(net, layer.name, FusedConvolution(getattr(net, layer.name), nn.ReLU()))
        net.activate = nn.Identity()
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            fuse(module)


class PointDeconvolution(nn.Module):
    """A deconvolution of stride 1 without padding that is fast for an input of a single pixel.

    The output is then the sum of the kernels, weighted by the pixel's channels: one matrix
    product. A convolution would mostly multiply by padding.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.kernel = cast(tuple[int, int], layer.kernel_size)
        # One row for each kernel pixel and output channel; the channels of a pixel are adjacent.
        self.weight = nn.Parameter(layer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        down, across = self.kernel
        kernels = F.linear(x.permute(0, 2, 3, 1).flatten(1, 2), self.weight)
        if (height, width) == (1, 1):
            y = kernels.view(count, down, across, -1).permute(0, 3, 1, 2)
        else:
            columns = kernels.view(count, height * width, down * across, -1).transpose(2, 3)
            y = F.fold(columns.flatten(2).mT, (height + down - 1, width + across - 1), self.kernel)
        return y if self.bias is None else y + self.bias[:, None, None]


class PlanarConvolution(nn.Conv2d):
    """A 1x1 convolution from a map that is channels last to one in planes.

    Later steps work class by class. One matrix product takes a quarter of the time of a convolution
    whose output is then copied from the one layout to the other.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        """Take over the weights of ``layer``."""
        nn.Module.__init__(self)
        self.__dict__.update(layer.__dict__)

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        count, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2).mT  # a view, N x K x H W
        weight = self.weight.flatten(1).expand(count, -1, -1)
        planes = torch.baddbmm(self.bias[:, None], weight, pixels)
        return planes.view(count, -1, height, width)


def as_convolution(layer: nn.ConvTranspose2d) -> nn.Conv2d:
    """Return the convolution, kernel flipped, that equals a deconvolution of stride 1."""
    (down, across), (above, beside) = layer.kernel_size, cast(tuple[int, int], layer.padding)
    convolution = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (down, across),
        padding=(down - 1 - above, across - 1 - beside),
        bias=layer.bias is not None,
        device="meta",  # new weights would take random numbers of the program
    )
    convolution.weight = nn.Parameter(layer.weight.transpose(0, 1).flip(2, 3).contiguous())
    convolution.bias = layer.bias
    return convolution


# The name and the parameters of each activation in oneDNN.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


@cache
def has_fused_kernels() -> bool:
    """Return whether this machine has fused kernels; only those of x86 have been measured.

    The operator is torch's own, so a later version may change it or take it away: it is tried on a
    pixel of 1, which a kernel of -1 makes -1 and the activation 0.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not torch._C._has_mkldnn:
        return False
    layer = nn.Conv2d(1, 1, 1, bias=False, device="meta").requires_grad_(False)
    layer.weight = nn.Parameter(torch.full((1, 1, 1, 1), -1.0), requires_grad=False)
    try:
        pixel = FusedConvolution(layer, nn.ReLU())(torch.ones(1, 1, 1, 1))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(pixel.item() == 0)


class FusedConvolution(nn.Conv2d):
    """A convolution with its activation; on devices other than the CPU they run one by one."""

    def __init__(self, layer: nn.Conv2d, activation: nn.Module) -> None:
        """Take over the weights of ``layer``; ``activation`` is one of ``ACTIVATIONS``."""
        nn.Module.__init__(self)
        self.__dict__.update(layer.__dict__)
        self.activation = activation
        self.attribute, self.scalars = ACTIVATIONS[type(activation)]

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_cpu:
            activated: Tensor = self.activation(super().forward(x))
            return activated
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x,
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            self.attribute,
            self.scalars,
            "",
        )
        return fused


def fuse(module: nn.Sequential) -> None:
    """Fuse each convolution with the activation after it, skipping identities between them."""
    kept = [index for index, child in enumerate(module) if not isinstance(child, nn.Identity)]
    for index, following in pairwise(kept):
        layer, activation = module[index], module[following]
        if isinstance(layer, nn.Conv2d) and type(activation) in ACTIVATIONS:
            module[index] = FusedConvolution(layer, activation)
            module[following] = nn.Identity()
