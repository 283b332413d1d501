"""Training of a net on crops: a plain loop that can be stopped at any moment and gone on with.

A run is a folder (``run_folder.py``). Sample ``i`` of the data depends on its number alone, so a
run that was killed goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Subset

from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.training.distributed import (
    any_of,
    rank,
    share_of,
    summed,
    synchronised,
    world_size,
)
from deconvnet_cli.training.losses import Objective
from deconvnet_cli.training.run_folder import (
    append_log,
    load_checkpoint,
    rewind_log,
    save_checkpoint,
)
from deconvnet_cli.training.settings import TrainSettings


@dataclass(frozen=True)
class Hooks:
    """What the caller wants to know of and to say to a run.

    Attributes:
        on_step: called after each step with its number and loss.
        stop: asked after each step; if true, the run saves its state and ends early.
        validate: called every ``val_every`` steps; what it returns goes to the log.
    """

    on_step: Callable[[int, float], None] = lambda step, loss: None
    stop: Callable[[], bool] = lambda: False
    validate: Callable[[nn.Module], dict[str, Any]] | None = None


@dataclass
class Clock:
    """Seconds since the last line of the log, and those of them spent waiting for data."""

    since: float = field(default_factory=time.monotonic)
    waited: float = 0.0


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Factor on the learning rate at ``step`` (0 is the first)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "step":
        return float(0.1 ** (step // settings.lr_step))
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def begin_training(net: nn.Module, settings: TrainSettings) -> None:
    """The net in train mode, but for what the settings leave as it is."""
    parts = net_spec(settings.net).pretrained
    net.train()
    for name, module in net.named_modules():
        pretrained = f"{name}.".startswith(parts)
        kept = settings.keep_statistics and isinstance(module, nn.BatchNorm2d)
        if pretrained and (settings.frozen or kept):
            module.eval()
    if settings.frozen:
        for name, parameter in net.named_parameters():
            if name.startswith(parts):
                parameter.requires_grad_(False)


def parameter_groups(net: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Groups by learning rate and weight decay: pretrained or fresh weights, with or without
    decay. With SGD what has no decay learns at twice the rate, as biases do in the paper."""
    parts = net_spec(settings.net).pretrained
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            key = name.startswith(parts), parameter.ndim > 1
            groups.setdefault(key, []).append(parameter)
    undecayed = 2.0 if settings.optimiser == "sgd" else 1.0
    return [
        {
            "params": parameters,
            "lr": settings.lr
            * (settings.pretrained_lr if pretrained else 1.0)
            * (1.0 if decay else undecayed),
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for (pretrained, decay), parameters in groups.items()
    ]


def build_optimiser(net: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum."""
    groups = parameter_groups(net, settings)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups)


def batches_of(
    dataset: Dataset[tuple[Tensor, ...]], settings: TrainSettings, start: int, workers: int
) -> Iterator[list[Tensor]]:
    """The batches of this process from step ``start`` to the end, in order.

    A batch is shared out in turn: process ``r`` of ``n`` takes the samples r, r + n, r + 2n ...
    """
    a_step = settings.batch * settings.accumulate
    numbers = range(start * a_step + rank(), settings.steps * a_step, world_size())
    rest = Subset(dataset, numbers)
    return iter(DataLoader(rest, share_of(settings.batch), num_workers=workers))


def train(
    net: nn.Module,
    dataset: Dataset[tuple[Tensor, ...]],
    convention: InputConvention,
    run: Path,
    settings: TrainSettings,
    *,
    device: torch.device,
    workers: int = 0,
    hooks: Hooks = Hooks(),
) -> bool:
    """Train until ``settings.steps``, going on from the run's checkpoint if there is one.

    Args:
        net: changed in place.
        dataset: at least ``settings.crops`` samples.
        run: a folder that :func:`deconvnet_cli.training.run_folder.prepare_run` made.
        workers: processes that cut crops; 0 cuts them in this one.

    Returns:
        Whether the run is at its end (and was not stopped before).
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = synchronised(net, device)
    begin_training(net, settings)
    optimiser = build_optimiser(net, settings)
    peaks = [group["lr"] for group in optimiser.param_groups]
    progress = load_checkpoint(run, net, optimiser)
    if rank() == 0:
        rewind_log(run, progress.step)
    objective: nn.Module = Objective(net, settings)
    if world_size() > 1:
        objective = DistributedDataParallel(objective)
    batches = batches_of(dataset, settings, progress.step, workers)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    clock = Clock()
    while progress.step < settings.steps:
        factor = learning_rate(progress.step, settings)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimiser.zero_grad()
        loss = torch.zeros((), device=device)
        for part in range(settings.accumulate):
            waiting = time.monotonic()
            crops, labels, *soft = next(batches)
            clock.waited += time.monotonic() - waiting
            inputs = convention.prepare(crops.to(device)).to(memory_format=torch.channels_last)
            known = soft[0].to(device) if soft else None
            shared = part + 1 < settings.accumulate and world_size() > 1
            # Gradients are exchanged once a step, after its last part.
            with objective.no_sync() if shared else nullcontext():  # type: ignore[operator]
                of_part = objective(inputs, labels.to(device), known) / settings.accumulate
                of_part.backward()
            loss += of_part.detach()
        if settings.clip:
            nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        progress.step += 1
        mean_loss = summed(loss).item() / world_size()
        progress.loss += mean_loss
        hooks.on_step(progress.step, mean_loss)
        at_end = progress.step == settings.steps
        if progress.step % settings.log_every == 0:
            if rank() == 0:
                append_log(run, log_line(progress.step, progress.loss, factor, clock, settings))
            progress.loss, clock = 0.0, Clock()
        if hooks.validate and (at_end or progress.step % settings.val_every == 0):
            if rank() == 0:
                append_log(run, {"step": progress.step, **hooks.validate(net)})
            begin_training(net, settings)
            clock = Clock()
        stopped = any_of(hooks.stop(), device)
        if rank() == 0 and (at_end or stopped or progress.step % settings.save_every == 0):
            save_checkpoint(run, net, optimiser, progress)
        if stopped:
            return at_end
    return True


def log_line(
    step: int, loss: float, factor: float, clock: Clock, settings: TrainSettings
) -> dict[str, Any]:
    """A line of the log: mean loss, learning rate, crops a second, share of the time waited."""
    seconds = max(time.monotonic() - clock.since, 1e-9)
    crops = settings.log_every * settings.batch * settings.accumulate
    return {
        "step": step,
        "loss": round(loss / settings.log_every, 4),
        "lr": settings.lr * factor,
        "crops_per_s": round(crops / seconds, 2),
        "waited": round(clock.waited / seconds, 3),
    }
