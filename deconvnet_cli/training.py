"""Training of a net on crops: plain loop, full-state checkpoints, a log in JSON lines.

A run is a folder: ``settings.json``, ``log.jsonl`` (a line per ``log_every`` steps),
``checkpoint.pt`` (net, optimiser, step). Samples depend on their number alone, so a run that was
killed goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.images import make_folder, write_whole
from deconvnet_cli.nets import InputConvention
from deconvnet_cli.nets.mobilenet import DeconvNetMobile
from deconvnet_cli.samples import CropDataset
from deconvnet_cli.voc import IGNORE


@dataclass(frozen=True)
class TrainSettings:
    """What a run needs to be the same run again.

    Attributes:
        net: name of the net.
        lists: names of the image lists.
        crops: how many crops are seen in all.
        batch: crops a step.
        lr: learning rate of the decoder after warm-up; cosine to 0 at the end.
        pretrained_lr: factor on ``lr`` for encoder and head.
        warmup: steps until ``lr`` is reached, linear.
        weight_decay: of AdamW, on all weights with more than one dimension.
        coarse_weight: of the loss of the coarse scores.
        teacher: folder of soft labels, "" without.
        teacher_weight: of the loss against the soft labels.
        clip: greatest norm of the gradient.
        seed: of samples and of fresh weights.
        bf16: forward pass in bfloat16 where that is safe.
    """

    net: str = "deconvnet-mobilenet"
    lists: tuple[str, ...] = ("train",)
    crops: int = 40_000
    batch: int = 16
    lr: float = 1e-3
    pretrained_lr: float = 0.2
    warmup: int = 100
    weight_decay: float = 0.01
    coarse_weight: float = 0.4
    teacher: str = ""
    teacher_weight: float = 1.0
    clip: float = 5.0
    seed: int = 0
    bf16: bool = True
    log_every: int = 50
    save_every: int = 100

    @property
    def steps(self) -> int:
        return self.crops // self.batch


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Factor on the learning rate at ``step`` (0 is the first): warm-up, then half a cosine."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def parameter_groups(net: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """Optimiser groups: pretrained and fresh weights, with and without weight decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        pretrained = name.startswith(("stem.", "blocks.", "head."))
        groups.setdefault((pretrained, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (settings.pretrained_lr if pretrained else 1.0),
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for (pretrained, decay), parameters in groups.items()
    ]


def soft_entropy(scores: Tensor, soft: Tensor) -> Tensor:
    """Cross entropy of scores N x C x S x S against soft labels N x C x s x s, s a part of S.

    Scores are averaged over the pixels of each soft label. Where the soft labels are 0 (outside
    of the photo) nothing counts.
    """
    coarse = F.adaptive_avg_pool2d(scores, (soft.shape[2], soft.shape[3]))
    total = -(soft * coarse.float().log_softmax(1)).sum()
    return total / soft.sum().clamp_min(1)


def loss_of(
    net: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    soft: Tensor | None = None,
) -> Tensor:
    """Cross entropy over pixels that are not ignored, plus that of the coarse scores if any.

    Args:
        inputs: float N x 3 x S x S.
        labels: int64 N x S x S, 255 ignored.
        soft: float N x C x s x s, a teacher's probabilities, which count as well.
    """

    def entropy(scores: Tensor) -> Tensor:
        # The sum over the counted pixels, so that a batch of nothing but rims gives 0, not NaN.
        total = F.cross_entropy(scores.float(), labels, ignore_index=IGNORE, reduction="sum")
        hard = total / (labels != IGNORE).sum().clamp_min(1)
        if soft is None:
            return hard
        return hard + settings.teacher_weight * soft_entropy(scores, soft)

    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=settings.bf16):
        if isinstance(net, DeconvNetMobile):
            scores, coarse = net.forward_with_coarse(inputs)
            return entropy(scores) + settings.coarse_weight * entropy(coarse)
        return entropy(net(inputs))


def save_checkpoint(run: Path, net: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write the full state, whole or not at all."""
    state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    write_whole(run / "checkpoint.pt", lambda file: torch.save(state, file))


def load_checkpoint(run: Path, net: nn.Module, optimiser: torch.optim.Optimizer | None) -> int:
    """Restore the state of a run; returns the number of steps done.

    Raises:
        WeightsError: the checkpoint cannot be read or is of another net.
    """
    path = run / "checkpoint.pt"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(state["net"])
        if optimiser is not None:
            optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])
    except Exception as error:  # torch raises many kinds for a damaged file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of this net ({first})") from error


def prepare_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder, or check that the run in it has these settings.

    Raises:
        UsageError: the folder holds a run with other settings.
    """
    make_folder(run)
    text = json.dumps(asdict(settings), indent=1)
    path = run / "settings.json"
    if path.is_file() and path.read_text() != text:
        raise UsageError(f"{path}: this run has other settings; give another --out")
    write_whole(path, text.encode())


def train(
    net: nn.Module,
    dataset: CropDataset,
    convention: InputConvention,
    run: Path,
    settings: TrainSettings,
    *,
    device: torch.device,
    workers: int = 0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train until ``settings.steps``, going on from the run's checkpoint if there is one.

    Args:
        net: changed in place.
        dataset: at least ``settings.crops`` samples.
        run: a folder that :func:`prepare_run` made.
        workers: processes that cut crops; 0 cuts them in this one.
        on_step: called after each step with its number and loss.
    """
    net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(parameter_groups(net, settings))
    peaks = [group["lr"] for group in optimiser.param_groups]
    done = load_checkpoint(run, net, optimiser) if (run / "checkpoint.pt").is_file() else 0
    rest = Subset(dataset, range(done * settings.batch, settings.steps * settings.batch))
    loader = DataLoader(rest, settings.batch, num_workers=workers)
    net.train()
    running, since = 0.0, time.monotonic()
    for step, (crops, labels, *soft) in enumerate(loader, start=done):
        factor = learning_rate(step, settings)
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        inputs = convention.prepare(crops.to(device)).to(memory_format=torch.channels_last)
        known = soft[0].to(device) if soft else None
        loss = loss_of(net, inputs, labels.to(device), settings, known)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), settings.clip)
        optimiser.step()
        running += loss.item()
        on_step(step + 1, loss.item())
        if (step + 1) % settings.log_every == 0:
            seconds = time.monotonic() - since
            line = {
                "step": step + 1,
                "loss": round(running / settings.log_every, 4),
                "lr": settings.lr * factor,
                "crops_per_s": round(settings.log_every * settings.batch / seconds, 2),
            }
            with open(run / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + os.linesep)
            running, since = 0.0, time.monotonic()
        if (step + 1) % settings.save_every == 0 or step + 1 == settings.steps:
            save_checkpoint(run, net, optimiser, step + 1)
