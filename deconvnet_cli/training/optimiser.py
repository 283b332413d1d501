"""Which parameters a run trains, by which optimiser, at which rate, and the average of them all."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from deconvnet_cli.training.batchnorm import batchnorms
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.start import is_pretrained

RISE = 10  # steps; the average of few steps must not hold on to the first weights


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the factor on the learning rate at ``step`` (0 is the first)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "step":
        return float(0.1 ** (step // settings.lr_step))
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def keeps_statistics(net: nn.Module, settings: TrainSettings, name: str) -> bool:
    """Return whether the BatchNorm of this name keeps the statistics that it came with."""
    kept = settings.frozen or settings.keep_statistics
    return kept and is_pretrained(net, name, settings)


def begin_training(net: nn.Module, settings: TrainSettings) -> None:
    """Put the net in train mode, but for BatchNorms that keep their statistics.

    Parameters that the settings freeze get no gradients.
    """
    net.train()
    for name, norm in batchnorms(net).items():
        if keeps_statistics(net, settings, name):
            norm.eval()
    if settings.frozen:
        for name, parameter in net.named_parameters():
            if is_pretrained(net, name, settings):
                parameter.requires_grad_(False)


def parameter_groups(net: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return groups by learning rate (pretrained or fresh weights) and by weight decay.

    With SGD, parameters without decay learn at twice the rate, as biases do in the paper.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            key = is_pretrained(net, name, settings), parameter.ndim > 1
            groups.setdefault(key, []).append(parameter)
    undecayed_lr = 2.0 if settings.optimiser == "sgd" else 1.0
    return [
        {
            "params": parameters,
            "lr": settings.lr
            * (settings.pretrained_lr if pretrained else 1.0)
            * (1.0 if decay else undecayed_lr),
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for (pretrained, decay), parameters in groups.items()
    ]


def build_optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with momentum; on a GPU one kernel updates all parameters."""
    groups = parameter_groups(net, settings)
    fused = all(parameter.is_cuda for group in groups for parameter in group["params"]) or None
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, fused=fused)
    return torch.optim.AdamW(groups, fused=fused)


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
