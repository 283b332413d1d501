"""The training loop: it trains a net on crops, and can be stopped and resumed at any moment.

A run is a folder (``run_folder.py``). Sample ``i`` of the data depends on its number alone, so a
killed run resumes from its last checkpoint and ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from deconvnet_cli.errors import DivergenceError
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.training.distributed import any_of, rank, summed, synchronised, world_size
from deconvnet_cli.training.feeding import batches_of
from deconvnet_cli.training.losses import Objective, compiled
from deconvnet_cli.training.optimiser import (
    average_of,
    begin_training,
    build_optimiser,
    decay_at,
    learning_rate,
    update_average,
)
from deconvnet_cli.training.run_folder import (
    Progress,
    TrainedNets,
    append_log,
    has_checkpoint,
    load_checkpoint,
    rewind_log,
    save_checkpoint,
)
from deconvnet_cli.training.settings import TrainSettings

# The names in the log of the mean IoU of each net.
VALIDATED = {"last": "val_mean_iou", "average": "val_mean_iou_average"}


@dataclass(frozen=True)
class Hooks:
    """The callbacks by which the caller follows, validates and stops a run.

    Attributes:
        on_step: Called after each step with its number, and its loss where it is known: reading
            it from a GPU makes the GPU wait, so it is read before each log line and checkpoint.
        on_log: Called with each line of the log, after it is written.
        stop: Called after each step; if it returns true, the run saves its state and ends.
        validate: Returns the mean IoU of a net, 0 to 1; called every ``val_every`` steps.
        on_best: Called with a net that scores better than all before, its step and mean IoU.
        show: Called with the net and the step, before the first one and at each validation.
        finish: Called with each net after the last step, before the last validation.
    """

    on_step: Callable[[int, float | None], None] = lambda step, loss: None
    on_log: Callable[[dict[str, Any]], None] = lambda line: None
    stop: Callable[[], bool] = lambda: False
    validate: Callable[[nn.Module], float] | None = None
    on_best: Callable[[nn.Module, int, float], None] = lambda net, step, score: None
    show: Callable[[nn.Module, int], None] = lambda net, step: None
    finish: Callable[[nn.Module], None] = lambda net: None


@dataclass
class Clock:
    """The time since the last line of the log.

    Attributes:
        since: When that line was written or the last validation ended, seconds of the monotonic
            clock.
        waited: Seconds spent waiting for data since then.
        steps: How many steps were taken since then.
    """

    since: float = field(default_factory=time.monotonic)
    waited: float = 0.0
    steps: int = 0


def train(
    net: nn.Module,
    samples: Dataset[tuple[Tensor, ...]],
    convention: InputConvention,
    run: Path,
    settings: TrainSettings,
    *,
    device: torch.device,
    workers: int = 0,
    compile_net: bool = False,
    hooks: Hooks = Hooks(),
) -> TrainedNets:
    """Train until ``settings.steps``, from the run's checkpoint if it has one.

    Args:
        net: The net to train, changed in place.
        samples: At least ``settings.crops`` samples.
        run: A folder that :func:`deconvnet_cli.training.run_folder.prepare_run` made.
        workers: How many processes cut crops; 0 cuts them in this one.
        compile_net: Whether the steps run a compiled net, see ``losses.compiled``.

    Returns:
        The nets, in eval mode if the run is complete.

    Raises:
        DivergenceError: The loss is NaN or infinite; the checkpoint is of before.
        DependencyError: The net is to be compiled, and there is no compiler.
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    net = synchronised(net, device)
    begin_training(net, settings)
    nets = TrainedNets(net, average_of(net) if settings.ema else None)
    optimiser = build_optimiser(net, settings)
    peak_rates = [group["lr"] for group in optimiser.param_groups]
    progress = load_checkpoint(run, nets, optimiser)
    if rank() == 0:
        rewind_log(run, progress.step)
    if progress.is_complete(settings):
        return nets.evaluated(progress)
    if progress.finished:  # prolonged
        progress.finished, progress.misses = False, 0
    objective: nn.Module = Objective(net, settings)
    if world_size() > 1:
        objective = DistributedDataParallel(objective)
    loss_of = compiled(objective) if compile_net else objective
    batches = batches_of(samples, settings, progress.step, workers, device)
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    total_loss = torch.tensor(progress.loss, device=device)  # since the last line of the log
    if rank() == 0 and progress.step == 0:
        hooks.show(net, 0)
        begin_training(net, settings)
    clock = Clock()
    while progress.step < settings.steps and not progress.out_of_patience(settings):
        factor = learning_rate(progress.step, settings)
        for group, peak in zip(optimiser.param_groups, peak_rates, strict=True):
            group["lr"] = peak * factor
        optimiser.zero_grad()
        loss = torch.zeros((), device=device)
        for part in range(settings.accumulate):
            began = time.monotonic()
            crops, labels, *soft = next(batches)
            clock.waited += time.monotonic() - began
            inputs = convention.prepare(crops).to(memory_format=torch.channels_last)
            # Processes exchange gradients once a step, after its last part.
            keep_local = part + 1 < settings.accumulate and world_size() > 1
            with objective.no_sync() if keep_local else nullcontext():  # type: ignore[operator]
                part_loss = loss_of(inputs, labels, *soft) / settings.accumulate
                part_loss.backward()
            loss += part_loss.detach()
        if settings.clip:
            nn.utils.clip_grad_norm_(trained, settings.clip)
        optimiser.step()
        progress.step, clock.steps = progress.step + 1, clock.steps + 1
        if nets.average is not None:
            update_average(nets.average, net, decay_at(progress.step, settings.ema))
        total_loss += summed(loss) / world_size()
        at_end = progress.step == settings.steps
        validates = not at_end and progress.step % settings.val_every == 0
        # A run that ends at a validation, for its patience, has a line of its last steps too.
        logs = at_end or validates or progress.step % settings.log_every == 0
        since = (progress.step - 1) % settings.log_every + 1  # steps that the loss is summed over
        saves = at_end or progress.step % settings.save_every == 0
        mean_loss = None
        if logs or saves:
            progress.loss = finite_loss(total_loss, run, progress.step)
            mean_loss = progress.loss / since
        hooks.on_step(progress.step, mean_loss)
        stopped = any_of(hooks.stop(), device)
        if stopped and not saves:
            saves = True
            progress.loss = finite_loss(total_loss, run, progress.step)
        if logs:
            line = log_line(progress.step, progress.loss / since, factor, clock, settings)
            if rank() == 0:
                append_log(run, line)
                hooks.on_log(line)
            clock = Clock()
        if since == settings.log_every:  # a run that is prolonged goes on with the sum of its end
            progress.loss = 0.0
            total_loss.zero_()
        if validates:
            validate_and_log(nets, run, progress, hooks, device)
            begin_training(net, settings)
            clock = Clock()
        if rank() == 0 and saves:
            save_checkpoint(run, nets, optimiser, progress)
        if stopped and not at_end:
            return nets
    for each in nets.each().values():
        hooks.finish(each)
    validate_and_log(nets, run, progress, hooks, device)
    progress.finished, progress.planned = True, settings.steps
    if rank() == 0:
        save_checkpoint(run, nets, optimiser, progress)
    return nets.evaluated(progress)


def validate_and_log(
    nets: TrainedNets, run: Path, progress: Progress, hooks: Hooks, device: torch.device
) -> None:
    """Validate the last weights and their average, write the log, and tell of the best net.

    The first process does this, and the others learn how it came out.
    """
    if hooks.validate is None:
        return
    if rank() == 0:
        line: dict[str, Any] = {"step": progress.step}
        improved = False
        for kind, net in nets.each().items():
            score = round(hooks.validate(net.eval()), 4)
            line[VALIDATED[kind]] = score
            if score > progress.best:
                progress.best, progress.best_step, improved = score, progress.step, True
                hooks.on_best(net, progress.step, score)
        progress.misses = 0 if improved else progress.misses + 1
        hooks.show(nets.average or nets.net, progress.step)
        append_log(run, line)
        hooks.on_log(line)
    if world_size() > 1:
        progress.misses = int(summed(torch.tensor(progress.misses * (rank() == 0), device=device)))


def finite_loss(total: Tensor, run: Path, step: int) -> float:
    """Return the sum of the losses since the last line of the log.

    Once a loss is NaN or infinite, so is the sum; the weights are then of no use.

    Raises:
        DivergenceError: The sum is not finite.
    """
    loss = float(total)
    if not math.isfinite(loss):
        before = has_checkpoint(run)
        kept = "the checkpoint of before is kept" if before else "there is no checkpoint yet"
        raise DivergenceError(
            f"{run}: the loss is {loss} at step {step}, so the run has diverged; {kept}. Give "
            'another --out with a lower --lr, or precision = "fp32"'
        )
    return loss


def log_line(
    step: int, loss: float, factor: float, clock: Clock, settings: TrainSettings
) -> dict[str, Any]:
    """Return a line of the log: mean loss, learning rate, crops a second, share of time waited."""
    seconds = max(time.monotonic() - clock.since, 1e-9)
    crops = clock.steps * settings.batch * settings.accumulate
    return {
        "step": step,
        "loss": round(loss, 4),
        "lr": settings.lr * factor,
        "crops_per_s": round(crops / seconds, 2),
        "waited": round(clock.waited / seconds, 3),
    }
