"""Weights between two: what a net was, and what further training made of it.

Trained on on few photos, a net gains on what they show and forgets some of what it knew before;
a mean of the weights before and after keeps most of both (Wortsman et al., "Robust fine-tuning of
zero-shot models", CVPR 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.mobilenet_v2 import MobileNetEncoder, convolution_pairs


@torch.no_grad()
def average(first: nn.Module, second: nn.Module, share: float) -> None:
    """Move ``first`` towards ``second``, in place: all of it, or the encoder and head they share.

    Args:
        share: of the second, 0 to 1.

    Raises:
        UsageError: they are neither of the same net nor on the same encoder.
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
    """Average what each convolution and its BatchNorm compute together.

    Two nets may hold the same function with other statistics; so each pair is averaged as the one
    affine convolution that it is, and the first net keeps its statistics and scales.
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
    """BatchNorm's factor a channel, and weight and bias of the convolution with it folded in."""
    mean, variance = torch.as_tensor(norm.running_mean), torch.as_tensor(norm.running_var)
    scale = norm.weight / (variance + norm.eps).sqrt()
    return scale, layer.weight * scale[:, None, None, None], norm.bias - mean * scale
