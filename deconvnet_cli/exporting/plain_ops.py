"""A traced net in operators that every ONNX runtime has.

ONNX's ``MaxPool`` leaves open which of several equal maxima it points to, and runtimes differ in
``MaxUnpool``. Pooling with switches and unpooling are therefore comparisons of the four values of
each window: the switch of a window is 0 to 3, in reading order, and the first maximum wins a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.export import ExportedProgram

from deconvnet_cli.nets.fusion import has_fused_kernels


def pool(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the maxima of 2x2 windows, and their switches as int64 from 0 to 3.

    The arguments are those of torch's operator. Other windows raise NotImplementedError.
    """
    twos = all(tuple(given) in ((2,), (2, 2)) for given in (kernel_size, stride or kernel_size))
    if not twos or any(padding) or set(dilation) != {1} or ceil_mode:
        raise NotImplementedError("only 2x2 windows without padding are exported with switches")
    first, second, third, fourth = (x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1))
    maxima = torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth))
    switches = torch.where(third == maxima, 2, 3)
    switches = torch.where(second == maxima, 1, switches)
    return maxima, torch.where(first == maxima, 0, switches)


def unpool(x: Tensor, switches: Tensor, output_size: Sequence[int]) -> Tensor:
    """Return a map of twice the size with each value at its switch, and zeros elsewhere."""
    parts = [torch.where(switches == place, x, 0.0) for place in range(4)]
    return F.pixel_shuffle(torch.stack(parts, dim=2).flatten(1, 2), 2)


def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    activation: str,
    scalars: Sequence[float],
    algorithm: str,
) -> Tensor:
    """Return what oneDNN's convolution with an activation returns, in two steps."""
    y = F.conv2d(x, weight, bias, list(stride), list(padding), list(dilation), groups)
    return F.relu(y) if activation == "relu" else y.clamp(*scalars)


def with_plain_operators(program: ExportedProgram) -> ExportedProgram:
    """Return the program with pools, unpoolings and fused convolutions in plain operators."""
    aten = torch.ops.aten
    table: dict[Any, Callable[..., Any]] = {
        aten.max_pool2d_with_indices.default: pool,
        aten.max_unpool2d.default: unpool,
    }
    if has_fused_kernels():
        table[torch.ops.mkldnn._convolution_pointwise.default] = convolve
    plain: ExportedProgram = program.run_decompositions(table)
    return plain
