"""Whether the settings of a run fit together, and whether those that are given have an effect."""

from __future__ import annotations

import json
from collections.abc import Collection

import torch

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.nets.registry import build_net, input_stride, net_spec
from deconvnet_cli.training.settings import TrainSettings


def check_together(settings: TrainSettings, source: str) -> None:
    """Raise UsageError if the values, each in its range, do not fit together.

    Args:
        source: Where the values come from, for error messages.
    """
    if settings.shown and not net_spec(settings.net).takes_boxes:
        raise UsageError(f'{source}: {settings.net} is shown no boxes; set boxes = "overlapping"')
    check_net(settings, source)
    if settings.schedule == "step" and settings.lr_step <= 0:
        raise UsageError(f'{source}: schedule = "step" needs lr_step above 0')
    if settings.resize and settings.resize < settings.size:
        raise UsageError(f"{source}: resize must be 0 or at least size")
    if settings.teacher and settings.stage == 1:
        raise UsageError(
            f"{source}: stage 1 labels one class in each crop, and soft labels tell of all; "
            "leave out --teacher, or give --stage 2 or 0"
        )
    if settings.steps < 1:
        raise UsageError(
            f"{source}: crops must be at least batch times accumulate, here "
            f"{settings.batch} times {settings.accumulate}; give more --crops or a smaller "
            "--batch-size"
        )
    if settings.patience and not settings.val_list:
        raise UsageError(f"{source}: patience needs val_list (--val-split)")


def check_net(settings: TrainSettings, source: str) -> None:
    """Raise UsageError unless there is a net of these settings that can be shown such crops."""
    try:
        given = json.loads(settings.net_settings)
        if not isinstance(given, dict):
            raise ValueError("it has no names and values")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: net_settings is not a JSON object ({error})") from error
    try:
        with torch.device("meta"):
            build_net(settings.net, given)
    except WeightsError as error:
        raise UsageError(f"{source}: net_settings: {error}") from error
    stride, least = input_stride(settings.net, given), net_spec(settings.net).least_size
    if settings.size % stride or settings.size < least:
        allowed = f"a multiple of {stride}" + (f", at least {least}" if least > stride else "")
        raise UsageError(f"{source}: {settings.net} is shown crops whose size is {allowed}")


def check_effect(settings: TrainSettings, usual: TrainSettings, given: Collection[str]) -> None:
    """Raise UsageError if a setting was changed that has no effect in this run.

    Args:
        usual: The defaults of its net and stage; a setting that is as there may be named.
        given: The names of the settings that were given one by one. A file has all of them.
    """
    validates = bool(settings.val_list), "a list to validate on (--val-split)"
    needs = {
        "lr_step": (settings.schedule == "step", 'schedule = "step"'),
        "momentum": (settings.optimiser == "sgd", 'optimiser = "sgd"'),
        "pretrained_lr": (not settings.frozen, "an encoder that learns (--no-frozen)"),
        "teacher_weight": (bool(settings.teacher), "soft labels (--teacher)"),
        "boxes": (settings.stage == 2, "--stage 2"),
        "whole": (
            settings.stage == 0 or settings.shown,
            '--stage 0, or --stage 2 with boxes = "shown"',
        ),
        "val_every": validates,
        "val_images": validates,
        "val_boxes": validates,
    }
    for name, (has_effect, need) in needs.items():
        if name in given and not has_effect and getattr(settings, name) != getattr(usual, name):
            raise UsageError(f"{name} has no effect without {need}; give both or leave it out")
