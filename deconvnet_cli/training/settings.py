"""The settings that define a training run, their defaults and their ranges."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.data.classes import BACKGROUND, with_background
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.nets.registry import net_spec

STAGES = (0, 1, 2)
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "step")
BOXES = ("overlapping", "shown")
# What numbers must be, in words and as a function, and the settings that must be so.
RANGES: tuple[tuple[str, Callable[[float], bool], tuple[str, ...]], ...] = (
    ("0 to 1", lambda value: 0 <= value <= 1, ("whole", "colour", "balanced")),
    ("at least 0 and below 1", lambda value: 0 <= value < 1, ("ema", "momentum")),
    ("0 to 2**63 - 1", lambda value: 0 <= value < 1 << 63, ("seed",)),
    ("at least 0", lambda value: value >= 0, (
        "pretrained_lr", "weight_decay", "lr_step", "warmup", "clip", "coarse_weight",
        "teacher_weight", "statistics", "val_boxes", "patience",
    )),
    ("above 0", lambda value: value > 0, (
        "crops", "batch", "accumulate", "size", "lr", "log_every", "save_every", "val_every",
        "val_images",
    )),
)  # fmt: skip


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a run; :func:`default_settings` returns the defaults of each net.

    Attributes:
        net: The name of the net.
        net_settings: Settings of the net that differ from its defaults, as a JSON object.
        classes: The names of the classes, the background first; empty for VOC's.
        stage: 1: crops that centre one object, with only its class labelled; 2: crops of
            proposals, with all classes labelled (paper section 4.2); 0: a mixture of objects,
            windows and whole photos.
        boxes: The proposals of stage 2: "overlapping", those whose IoU with an object is 0.5 or
            more (the paper's rule), or "shown", those that a prediction shows this net.
        whole: The share of whole photos in stage 0, and in stage 2 beside "shown" boxes.
        lists: The names of the image lists.
        crops: How many crops the run sees in all.
        batch: How many crops a forward pass takes, over all processes.
        accumulate: How many forward passes a step of the optimiser takes.
        size: The side of the crops, pixels.
        resize: The side to which a box is resized before a crop of ``size`` is cut from it at
            random; 0 resizes to ``size`` itself.
        colour: The greatest change of brightness, contrast and saturation, as a share.
        balanced: The share of crops whose class is drawn evenly over the classes.
        optimiser: "adamw", or "sgd" with momentum, where biases learn at twice the rate.
        lr: The learning rate of fresh weights after warm-up.
        pretrained_lr: The factor on ``lr`` for pretrained weights.
        momentum: The momentum of SGD.
        weight_decay: The decay of weights with more than one dimension.
        schedule: "cosine" falls to 0 at the end; "step" to a tenth after every ``lr_step`` steps.
        lr_step: See ``schedule``.
        warmup: How many steps the learning rate rises linearly to ``lr``.
        clip: The greatest norm of the gradient; 0 leaves it as it is.
        coarse_weight: The weight of the loss of the coarse logits, if the net has any.
        teacher: The folder of soft labels, or "".
        teacher_weight: The weight of the loss against the soft labels.
        frozen: Train the decoder alone; encoder and head, BatchNorm included, do not change.
        keep_statistics: Keep the BatchNorm statistics of encoder and head; scale and shift learn.
        precision: The precision of the forward pass, "fp32" or "bf16".
        statistics: Over how many batches BatchNorm statistics are recomputed at the end.
        ema: The share that the moving average of the weights keeps at each step, as 0.999; 0
            keeps no average.
        val_list: The image list to validate on during the run, or "".
        val_every: How many steps lie between two validations.
        val_images: How many photos of the list are validated on.
        val_boxes: How many boxes of a photo are merged then; 0 takes as many as a prediction.
        patience: After how many validations in a row that are no better the run ends; 0 never.
        seed: The seed of samples and fresh weights.
        log_every, save_every: How many steps lie between two lines of the log, two checkpoints. The
            last step has both.
    """

    net: str = "deconvnet-mobilenet"
    net_settings: str = "{}"
    classes: tuple[str, ...] = ()
    stage: int = 0
    boxes: str = BOXES[0]
    whole: float = 0.1
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
    ema: float = 0.0
    val_list: str = ""
    val_every: int = 500
    val_images: int = 50
    val_boxes: int = 0
    patience: int = 0
    seed: int = 0
    log_every: int = 50
    save_every: int = 100

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, VOC's or one's own."""
        return self.classes or CLASSES

    @property
    def side(self) -> int:
        """The side to which a box is resized before a crop is cut from it, pixels."""
        return self.resize or self.size

    @property
    def shown(self) -> bool:
        """Whether crops are cut as a prediction shows them to the net, which has enlarged them."""
        return self.stage == 2 and self.boxes == "shown"

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        return self.crops // (self.batch * self.accumulate)


def default_settings(net: str, stage: int | None = None) -> TrainSettings:
    """Return the default settings of a run of this net and stage.

    Args:
        stage: 0, 1 or 2; None takes the net's own.
    """
    spec = net_spec(net)
    chosen = spec.default_stage if stage is None else stage
    return TrainSettings(net=net, stage=chosen, **{**spec.training, **spec.stages.get(chosen, {})})


def changed(settings: TrainSettings, values: dict[str, Any], source: str) -> TrainSettings:
    """Return the settings with these values changed.

    Whether they fit together is checked once all are known, see ``settings_checks.py``.

    Args:
        values: New values by the name of the setting.
        source: Where the values come from, for error messages.

    Raises:
        UsageError: A setting is unknown, of the wrong type or out of range.
    """
    before = {field.name: getattr(settings, field.name) for field in fields(settings)}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in before:
            near = difflib.get_close_matches(name, before, n=1)
            meant = f"; did you mean {near[0]}?" if near else "; see RUN/settings.toml"
            raise UsageError(f"{source}: no setting is called {name}{meant}")
        kind = type(before[name])
        if kind is tuple and isinstance(value, list | tuple):
            value = tuple(str(item) for item in value)
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            wanted = "list" if kind is tuple else kind.__name__
            raise UsageError(f"{source}: {name} = {value!r} is not of type {wanted}")
        given[name] = value
    result = replace(settings, **given)
    check_values(result, source)
    return result


def check_values(settings: TrainSettings, source: str) -> None:
    """Raise UsageError if a value is out of range, whatever the others are."""
    for name, choices in (
        ("net", NET_NAMES),
        ("stage", STAGES),
        ("boxes", BOXES),
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
    for words, fits, names in RANGES:
        for name in names:
            if not fits(getattr(settings, name)):
                raise UsageError(f"{source}: {name} must be {words}")
    check_classes(settings.classes, source)
    if not settings.lists:
        raise UsageError(f"{source}: lists is empty; name at least one image list")


def check_classes(classes: tuple[str, ...], source: str) -> None:
    """Raise UsageError unless these are names of classes after the background, or none."""
    try:
        if classes and with_background(classes, source) != classes:
            raise UsageError(f"{source}: classes must begin with {BACKGROUND}")
    except DatasetError as error:
        raise UsageError(str(error)) from error
