"""What a training run needs to be the same run again: a frozen dataclass, kept as TOML."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.storage.files import read_whole

if sys.version_info >= (3, 11):
    from tomllib import TOMLDecodeError, loads
else:
    from tomli import TOMLDecodeError, loads

MAX_BYTES = 1 << 20  # of a file of settings
STAGES = (0, 1, 2)
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "step")


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a run; :func:`default_settings` has those of each net.

    Attributes:
        net: name of the net.
        net_settings: settings of the net that are not its defaults, as a JSON object.
        stage: 1, crops that centre one object, only its class labelled; 2, crops of proposals
            that overlap an object, all classes labelled (paper section 5.1); 0, a mixture of
            objects, windows and whole photos.
        lists: names of the image lists.
        crops: how many crops are seen in all.
        batch: crops a forward pass, over all processes.
        accumulate: forward passes a step of the optimiser.
        size: side of the crops, pixels.
        resize: side to which a box is resized before a crop of ``size`` is cut from it at random;
            0 resizes to ``size`` itself.
        colour: greatest change of brightness, contrast and saturation, as a share.
        balanced: share of the crops whose class is drawn evenly over the classes.
        optimiser: "adamw", or "sgd" with momentum, where biases learn at twice the rate.
        lr: learning rate of fresh weights after warm-up.
        pretrained_lr: factor on ``lr`` for weights that a published net brought.
        momentum: of SGD.
        weight_decay: on weights with more than one dimension.
        schedule: "cosine" to 0 at the end, or "step": a tenth after every ``lr_step`` steps.
        lr_step: see ``schedule``.
        warmup: steps until ``lr`` is reached, linear.
        clip: greatest norm of the gradient; 0 leaves it as it is.
        coarse_weight: of the loss of the coarse scores, where the net has any.
        teacher: folder of soft labels, "" without.
        teacher_weight: of the loss against the soft labels.
        frozen: encoder and head stay as they are, BatchNorm included; the decoder learns.
        keep_statistics: BatchNorm of encoder and head normalises by the statistics it came with;
            its scale and shift learn.
        precision: "fp32" or "bf16", of the forward pass.
        statistics: batches over which BatchNorm statistics are taken anew at the end.
        val_list: list that is scored along the way, "" for none.
        val_every: steps between two such scores.
        val_images: how many photos of the list are scored.
        seed: of samples and of fresh weights.
        log_every, save_every: steps between two lines of the log and two checkpoints.
    """

    net: str = "deconvnet-mobilenet"
    net_settings: str = "{}"
    stage: int = 0
    lists: tuple[str, ...] = ("train",)
    crops: int = 40_000
    batch: int = 16
    accumulate: int = 1
    size: int = 320
    resize: int = 0
    colour: float = 0.3
    balanced: float = 0.5
    optimiser: str = "adamw"
    lr: float = 1e-3
    pretrained_lr: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 0.01
    schedule: str = "cosine"
    lr_step: int = 0
    warmup: int = 100
    clip: float = 5.0
    coarse_weight: float = 0.4
    teacher: str = ""
    teacher_weight: float = 1.0
    frozen: bool = False
    keep_statistics: bool = False
    precision: str = "bf16"
    statistics: int = 40
    val_list: str = ""
    val_every: int = 500
    val_images: int = 50
    seed: int = 0
    log_every: int = 50
    save_every: int = 100

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return self.crops // (self.batch * self.accumulate)


def default_settings(net: str, stage: int | None = None) -> TrainSettings:
    """Return what a run of this net and stage does unless it is told otherwise.

    Args:
        net: One of ``choices.NET_NAMES``.
        stage: 0, 1 or 2; None takes the net's own.
    """
    spec = net_spec(net)
    chosen = spec.default_stage if stage is None else stage
    return TrainSettings(net=net, stage=chosen, **{**spec.training, **spec.stages.get(chosen, {})})


def changed(settings: TrainSettings, values: dict[str, Any], source: str) -> TrainSettings:
    """The settings with these values in the place of theirs.

    Args:
        source: where the values come from, for errors.

    Raises:
        UsageError: no such setting, a value of the wrong kind, or one out of its range.
    """
    known = {field.name: getattr(settings, field.name) for field in fields(settings)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{source}: no setting is called {name}; see RUN/settings.toml")
        kind = type(known[name])
        if kind is tuple and isinstance(value, list | tuple):
            value = tuple(str(item) for item in value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise UsageError(f"{source}: {name} = {value!r} is no {kind.__name__}")
        given[name] = value
    result = replace(settings, **given)
    check(result, source)
    return result


def check(settings: TrainSettings, source: str) -> None:
    """Raise UsageError for values that no run can have."""
    for name, choices in (
        ("stage", STAGES),
        ("optimiser", OPTIMISERS),
        ("schedule", SCHEDULES),
        ("precision", ("fp32", "bf16")),
    ):
        if getattr(settings, name) not in choices:
            known = ", ".join(map(str, choices))
            raise UsageError(f"{source}: {name} = {getattr(settings, name)!r}; known: {known}")
    for name, value in asdict(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{source}: {name} must be a finite number")
    if not 0 <= settings.seed < 1 << 63:
        raise UsageError(f"{source}: seed must be 0 to 2**63 - 1")
    try:
        if not isinstance(json.loads(settings.net_settings), dict):
            raise ValueError("no names and values")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source}: net_settings is no JSON object ({error})") from error
    for name in ("crops", "batch", "accumulate", "size", "lr", "log_every", "save_every"):
        if getattr(settings, name) <= 0:
            raise UsageError(f"{source}: {name} must be above 0")
    if settings.schedule == "step" and settings.lr_step <= 0:
        raise UsageError(f'{source}: schedule = "step" needs lr_step above 0')
    if settings.resize and settings.resize < settings.size:
        raise UsageError(f"{source}: resize must be 0 or at least size")
    if settings.steps < 1:
        raise UsageError(f"{source}: crops must be at least batch times accumulate")
    if not settings.lists:
        raise UsageError(f"{source}: no image list is named")


def parse_settings(text: str, source: str) -> dict[str, Any]:
    """The values in a text of TOML, as :func:`changed` takes them.

    Raises:
        UsageError: not readable as TOML.
    """
    try:
        values: dict[str, Any] = loads(text)
        return values
    except (TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{source}: not readable as TOML ({error})") from error


def read_settings(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        UsageError: not readable as TOML.
    """
    try:
        return parse_settings(read_whole(path, MAX_BYTES).decode("utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error


def as_toml(settings: TrainSettings) -> str:
    """The settings as TOML, a line each. JSON's strings, numbers and lists are TOML's as well."""
    lines = (f"{name} = {json.dumps(value)}" for name, value in asdict(settings).items())
    return "\n".join(lines) + "\n"
