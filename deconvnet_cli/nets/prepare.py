"""A net made ready to predict: the same function with less to do.

BatchNorm is folded into the convolution before it, and a deconvolution of stride 1 becomes the
convolution it is, for which CPUs and GPUs have better kernels. A prepared net cannot be trained.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from deconvnet_cli.nets.deconvnet import LAYERS, DeconvNet


@torch.no_grad()
def prepared(net: nn.Module) -> nn.Module:
    """A copy of a net in eval mode that computes the same, but for rounding (about 1e-5).

    Args:
        net: float32, on any device; it is left as it is.
    """
    net = copy.deepcopy(net).eval()
    if isinstance(net, DeconvNet):
        for layer in LAYERS:
            fold(net, layer.name, layer.norm)
    for module in list(net.modules()):
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                fold(module, str(index), str(index + 1))
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.stride == (1, 1):
                setattr(module, name, as_convolution(child))
    return net.requires_grad_(False)


def fold(parent: nn.Module, layer: str, norm: str) -> None:
    """Fold one BatchNorm into the layer before it, if that is what they are."""
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


def as_convolution(layer: nn.ConvTranspose2d) -> nn.Conv2d:
    """The convolution that a deconvolution of stride 1 is: kernel turned round, axes swapped."""
    (down, across), (above, beside) = layer.kernel_size, cast(tuple[int, int], layer.padding)
    convolution = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (down, across),
        padding=(down - 1 - above, across - 1 - beside),
        bias=layer.bias is not None,
    )
    convolution.weight = nn.Parameter(layer.weight.transpose(0, 1).flip(2, 3).contiguous())
    convolution.bias = layer.bias
    return convolution
