"""Weights stored in 8 bits, with one scale for each output channel of a layer.

A kernel is stored as int8 values from -127 to 127, and its scales as float32 under the kernel's
name with ``.scale`` after it, in a shape that broadcasts: 1 on every axis except the output
channels'. The kernel is their product. Small tensors, biases and BatchNorm stay in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from deconvnet_cli.errors import WeightsError

SUFFIX = ".scale"
LEAST_VALUES = 4096  # smaller tensors would save next to nothing
LARGEST = 127


def compressed(net: nn.Module) -> dict[str, Tensor]:
    """Return the large kernels of a net in 8 bits, as they are stored, with their scales.

    Args:
        net: The net; its convolutions and deconvolutions are meant.
    """
    stored: dict[str, Tensor] = {}
    for name, layer in net.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            continue
        if layer.weight.numel() < LEAST_VALUES:
            continue
        outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        key = f"{name}.weight"
        stored[key], stored[f"{key}{SUFFIX}"] = compress(layer.weight.detach(), outputs)
    return stored


def compress(kernel: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return a kernel as int8, and its float32 scales.

    The largest value of each channel becomes 127 or -127; others are rounded to the nearest step.

    Args:
        kernel: The values, floats of any shape.
        axis: The axis of the output channels.
    """
    others = [other for other in range(kernel.ndim) if other != axis]
    largest = kernel.float().abs().amax(others, keepdim=True)
    scale = torch.where(largest > 0, largest / LARGEST, 1.0)
    steps = (kernel.float() / scale).round().clamp(-LARGEST, LARGEST)
    return steps.to(torch.int8), scale


def expanded(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file with those in 8 bits as float32; the others do not change.

    Args:
        path: The file, for errors.

    Raises:
        WeightsError: A tensor in 8 bits has no scales, or its scales do not fit.
    """
    names = {key for key, value in tensors.items() if value.dtype == torch.int8}
    scales = {f"{key}{SUFFIX}" for key in names}
    values = {key: value for key, value in tensors.items() if key not in scales}
    for key in names:
        scale = tensors.get(f"{key}{SUFFIX}")
        if scale is None:
            raise WeightsError(f"{path}: {key} is in 8 bits, but {key}{SUFFIX} is missing")
        if not is_scale_of(scale, tensors[key]):
            raise WeightsError(
                f"{path}: {key}{SUFFIX} holds no scales for a tensor of {tuple(tensors[key].shape)}"
            )
        values[key] = tensors[key].float() * scale
    return values


def is_scale_of(scale: Tensor, kernel: Tensor) -> bool:
    """Return whether these are finite float32 scales along one axis of a kernel."""
    if scale.dtype != torch.float32 or scale.ndim != kernel.ndim:
        return False
    fits = all(a in (1, b) for a, b in zip(scale.shape, kernel.shape, strict=True))
    along_one_axis = sum(side != 1 for side in scale.shape) <= 1
    return fits and along_one_axis and bool(scale.isfinite().all())
