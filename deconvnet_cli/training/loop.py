"""The training loop: it trains a net on crops, and can be stopped and resumed at any moment.

A run is a folder (``run_folder.py``). Sample ``i`` of the data depends on its number alone, so a
killed run resumes from its last checkpoint and ends with the weights of an uninterrupted one.
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

from deconvnet_cli.errors import DivergenceError
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
    """The callbacks by which the caller follows and stops a run.

    Attributes:
        on_step: Called after each step with its number, and its loss where it is known: reading
            it from a GPU makes the GPU wait, so it is read before each log line and checkpoint.
        stop: Called after each step; if it returns true, the run saves its state and ends.
        validate: Called every ``val_every`` steps; its result is added to the log.
    """

    on_step: Callable[[int, float | None], None] = lambda step, loss: None
    stop: Callable[[], bool] = lambda: False
    validate: Callable[[nn.Module], dict[str, Any]] | None = None


@dataclass
class Clock:
    """The time since the last line of the log.

    Attributes:
        since: When that line was written, seconds of the monotonic clock.
        waited: Seconds spent waiting for data since then.
    """

    since: float = field(default_factory=time.monotonic)
    waited: float = 0.0


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Return the factor on the learning rate at ``step`` (0 is the first)."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule == "step":
        return float(0.1 ** (step // settings.lr_step))
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def begin_training(net: nn.Module, settings: TrainSettings) -> None:
    """Put the net in train mode, except for the parts that the settings freeze."""
    parts = net_spec(settings.net).pretrained
    net.train()
    for name, module in net.named_modules():
        pretrained = f"{name}.".startswith(parts)
        keeps_statistics = settings.keep_statistics and isinstance(module, nn.BatchNorm2d)
        if pretrained and (settings.frozen or keeps_statistics):
            module.eval()
    if settings.frozen:
        for name, parameter in net.named_parameters():
            if name.startswith(parts):
                parameter.requires_grad_(False)


def parameter_groups(net: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return groups by learning rate (pretrained or fresh weights) and by weight decay.

    With SGD, parameters without decay learn at twice the rate, as biases do in the paper.
    """
    parts = net_spec(settings.net).pretrained
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            key = name.startswith(parts), parameter.ndim > 1
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
    """Return AdamW, or SGD with momentum."""
    groups = parameter_groups(net, settings)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)
    return torch.optim.AdamW(groups)


def batches_of(
    dataset: Dataset[tuple[Tensor, ...]], settings: TrainSettings, start: int, workers: int
) -> Iterator[list[Tensor]]:
    """Return the batches of this process from step ``start`` to the end, in order.

    Process ``r`` of ``n`` takes the samples r, r + n, r + 2n ...
    """
    samples_per_step = settings.batch * settings.accumulate
    first, end = start * samples_per_step + rank(), settings.steps * samples_per_step
    remaining = Subset(dataset, range(first, end, world_size()))
    return iter(DataLoader(remaining, share_of(settings.batch), num_workers=workers))


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
    """Train until ``settings.steps``, from the run's checkpoint if it has one.

    Args:
        net: The net to train, changed in place.
        dataset: At least ``settings.crops`` samples.
        run: A folder that :func:`deconvnet_cli.training.run_folder.prepare_run` made.
        workers: How many processes cut crops; 0 cuts them in this one.

    Returns:
        Whether the run is complete, rather than stopped early.

    Raises:
        DivergenceError: The loss is NaN or infinite; the checkpoint is of before.
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = synchronised(net, device)
    begin_training(net, settings)
    optimiser = build_optimiser(net, settings)
    peak_rates = [group["lr"] for group in optimiser.param_groups]
    progress = load_checkpoint(run, net, optimiser)
    if rank() == 0:
        rewind_log(run, progress.step)
    objective: nn.Module = Objective(net, settings)
    if world_size() > 1:
        objective = DistributedDataParallel(objective)
    batches = batches_of(dataset, settings, progress.step, workers)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    total_loss = torch.tensor(progress.loss, device=device)  # since the last line of the log
    clock = Clock()
    while progress.step < settings.steps:
        factor = learning_rate(progress.step, settings)
        for group, peak in zip(optimiser.param_groups, peak_rates, strict=True):
            group["lr"] = peak * factor
        optimiser.zero_grad()
        loss = torch.zeros((), device=device)
        for part in range(settings.accumulate):
            began = time.monotonic()
            crops, labels, *soft = next(batches)
            clock.waited += time.monotonic() - began
            inputs = convention.prepare(crops.to(device)).to(memory_format=torch.channels_last)
            soft_labels = soft[0].to(device) if soft else None
            # Processes exchange gradients once a step, after its last part.
            keep_local = part + 1 < settings.accumulate and world_size() > 1
            with objective.no_sync() if keep_local else nullcontext():  # type: ignore[operator]
                part_loss = objective(inputs, labels.to(device), soft_labels) / settings.accumulate
                part_loss.backward()
            loss += part_loss.detach()
        if settings.clip:
            nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        progress.step += 1
        total_loss += summed(loss) / world_size()
        at_end = progress.step == settings.steps
        logs = progress.step % settings.log_every == 0
        saves = at_end or progress.step % settings.save_every == 0
        mean_loss = None
        if logs or saves:
            progress.loss = finite_loss(total_loss, run, progress.step)
            mean_loss = progress.loss / ((progress.step - 1) % settings.log_every + 1)
        hooks.on_step(progress.step, mean_loss)
        stopped = any_of(hooks.stop(), device)
        if stopped and not saves:
            saves = True
            progress.loss = finite_loss(total_loss, run, progress.step)
        if logs:
            if rank() == 0:
                append_log(run, log_line(progress.step, progress.loss, factor, clock, settings))
            progress.loss, clock = 0.0, Clock()
            total_loss.zero_()
        if hooks.validate and (at_end or progress.step % settings.val_every == 0):
            if rank() == 0:
                append_log(run, {"step": progress.step, **hooks.validate(net)})
            begin_training(net, settings)
            clock = Clock()
        if rank() == 0 and saves:
            save_checkpoint(run, net, optimiser, progress)
        if stopped:
            return at_end
    return True


def finite_loss(total: Tensor, run: Path, step: int) -> float:
    """Return the sum of the losses since the last line of the log.

    Once a loss is NaN or infinite, so is the sum; the weights are then of no use.

    Raises:
        DivergenceError: The sum is not finite.
    """
    loss = float(total)
    if not math.isfinite(loss):
        raise DivergenceError(
            f"{run}: the loss is {loss} at step {step}, so the run has diverged; the checkpoint "
            'of before is kept. Give another --out with a lower --lr, or precision = "fp32"'
        )
    return loss


def log_line(
    step: int, loss: float, factor: float, clock: Clock, settings: TrainSettings
) -> dict[str, Any]:
    """Return a line of the log: mean loss, learning rate, crops a second, share of time waited."""
    seconds = max(time.monotonic() - clock.since, 1e-9)
    crops = settings.log_every * settings.batch * settings.accumulate
    return {
        "step": step,
        "loss": round(loss / settings.log_every, 4),
        "lr": settings.lr * factor,
        "crops_per_s": round(crops / seconds, 2),
        "waited": round(clock.waited / seconds, 3),
    }
