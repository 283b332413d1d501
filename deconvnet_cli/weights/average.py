"""Averages of the weights of a net before and after further training.

Further training on few photos improves a net on their subjects, and it forgets others. A mean of
the weights before and after keeps most of both (Wortsman et al., "Robust fine-tuning of zero-shot
models", CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.mobilenet_v2 import MobileNetEncoder, convolution_pairs


@torch.no_grad()
def average(first: nn.Module, second: nn.Module, share: float) -> None:
    """Move ``first`` towards ``second``, in place: the whole net, or the shared encoder and head.

    Args:
        second: A net like the first, or another one on the same encoder.
        share: The share of the second net, 0 to 1.

    Raises:
        UsageError: The nets are neither the same nor on the same encoder.
    """
    mine, theirs = first.state_dict(), second.state_dict()
    if {name: value.shape for name, value in mine.items()} == {
        name: value.shape for name, value in theirs.items()
    }:
        for name, value in mine.items():
            if value.is_floating_point():
                value.lerp_(theirs[name].to(value), share)
        return
    if not (isinstance(first, MobileNetEncoder) and isinstance(second, MobileNetEncoder)):
        raise UsageError("weights of two nets that share no encoder cannot be averaged")
    average_encoders(first, second, share)


def average_encoders(first: MobileNetEncoder, second: MobileNetEncoder, share: float) -> None:
    """Average the functions of each convolution with its BatchNorm.

    Two nets may compute the same function with different statistics. So each pair is averaged as
    one affine convolution, and the first net keeps its statistics and scales.

    Raises:
        UsageError: A layer of the two encoders differs in width.
    """
    others = convolution_pairs(second)
    for name, (layer, norm) in convolution_pairs(first).items():
        scale, weight, bias = folded(layer, norm)
        _, other_weight, other_bias = folded(*others[name])
        if weight.shape != other_weight.shape:
            raise UsageError(f"{name} differs in width: these nets share no encoder")
        layer.weight.copy_(weight.lerp(other_weight, share) / scale[:, None, None, None])
        mean = torch.as_tensor(norm.running_mean)
        norm.bias.copy_(bias.lerp(other_bias, share) + mean * scale)
    for parameter, other in zip(
        first.head.logits.parameters(), second.head.logits.parameters(), strict=True
    ):
        parameter.lerp_(other, share)


def folded(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scale of a BatchNorm, and weight and bias of the convolution it is folded into."""
    mean, variance = torch.as_tensor(norm.running_mean), torch.as_tensor(norm.running_var)
    scale = norm.weight / (variance + norm.eps).sqrt()
    return scale, layer.weight * scale[:, None, None, None], norm.bias - mean * scale
