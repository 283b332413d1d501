"""An exponential moving average of the weights, which often scores better than the last ones."""

from __future__ import annotations

import copy

import torch
from torch import nn

RISE = 10  # steps; the average of few steps must not hold on to the first weights


def average_of(net: nn.Module) -> nn.Module:
    """Return a copy of the net, in eval mode and without gradients, to average into."""
    average = copy.deepcopy(net).eval()
    return average.requires_grad_(False)


def decay_at(step: int, ema: float) -> float:
    """Return the share that the average keeps at a step (1 is the first)."""
    return min(ema, (1 + step) / (RISE + step))


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, decay: float) -> None:
    """Move the average towards the net, buffers of floating point included.

    Args:
        average: The average, changed in place.
        net: The net after a step, of the same layers.
        decay: The share that the average keeps, 0 to 1.
    """
    kept, new = average.state_dict(), net.state_dict()
    pairs = [(kept[name], new[name]) for name in kept]
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([pair[0] for pair in floating], [pair[1] for pair in floating], 1 - decay)
    for mine, other in pairs:
        if not mine.is_floating_point():
            mine.copy_(other)
