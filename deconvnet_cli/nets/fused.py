"""A convolution with its bias and its activation in one go, where the CPU has a kernel for that.

oneDNN writes the activated values at once; on their own, activations take a seventh of the time of
``deconvnet-mobilenet``, all of it spent on reading and writing maps once more.
"""

from __future__ import annotations

import platform
from itertools import pairwise

import torch
from torch import Tensor, nn

# What oneDNN calls an activation, and the values it wants for it.
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


def has_fused_kernels() -> bool:
    """Whether this machine has them; elsewhere than on x86 nobody has measured what they bring."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch._C._has_mkldnn
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    )


class FusedConvolution(nn.Conv2d):
    """A convolution followed by an activation; on another device than a CPU one after the other."""

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
    """Replace each convolution that an activation follows, but for what does nothing between."""
    kept = [index for index, child in enumerate(module) if not isinstance(child, nn.Identity)]
    for index, following in pairwise(kept):
        layer, activation = module[index], module[following]
        if type(layer) is nn.Conv2d and type(activation) in ACTIVATIONS:
            module[index] = FusedConvolution(layer, activation)
            module[following] = nn.Identity()
