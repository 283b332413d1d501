"""The preparation of a training run: its settings, samples, input convention and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from deconvnet_cli.data.objects import ObjectBox, find_objects, list_names
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import default_input
from deconvnet_cli.storage.files import make_folder
from deconvnet_cli.training.distributed import first_process_first
from deconvnet_cli.training.samples import CropDataset, SampleSettings
from deconvnet_cli.training.settings import (
    TrainSettings,
    changed,
    default_settings,
    parse_settings,
    read_settings,
)
from deconvnet_cli.training.soft_labels import missing, missing_error, soft_path
from deconvnet_cli.training.stage2_boxes import overlapping_proposals
from deconvnet_cli.training.validation import validate


class ProgressBars(Protocol):
    """A display of progress bars, such as ``reporting.console.progress`` gives."""

    def add_task(self, description: str, *, total: float) -> Any:
        """Add a bar and return its number."""

    def advance(self, task: Any, /) -> None:
        """Advance a bar by one."""


def collect_settings(
    net: str | None,
    stage: int | None,
    file: Path | None,
    pairs: tuple[str, ...],
    options: Mapping[str, Any],
) -> TrainSettings:
    """Return the settings of a run: the net's own, changed by the file, the pairs, the options.

    Each of these beats the one before it.

    Args:
        net: The net; None takes the pairs', the file's or the default one.
        stage: 0, 1 or 2; None takes the pairs', the file's or the net's own.
        file: A TOML file of settings.
        pairs: Single settings, as TOML ("lr = 0.1").
        options: Values of command-line options by name; None leaves a setting as it is.

    Raises:
        UsageError: A setting is unknown, of the wrong type or out of range.
    """
    given = dict(options)
    given["net"], given["stage"] = net, stage
    given["batch"] = given.pop("batch_size")
    given["teacher"] = str(given["teacher"]) if given["teacher"] else None
    given["lists"] = given["lists"] or None
    layers = [(read_settings(file), str(file))] if file is not None else []
    layers += [(parse_settings(pair, f"--set {pair}"), f"--set {pair}") for pair in pairs]
    layers.append(({name: value for name, value in given.items() if value is not None}, "options"))
    # The net and the stage that count in the end decide which defaults the rest changes.
    chosen: dict[str, Any] = {"net": TrainSettings.net, "stage": None}
    for values, source in layers:
        chosen |= {name: values[name] for name in chosen if name in values}
        changed(TrainSettings(), {name: values[name] for name in chosen if name in values}, source)
    settings = default_settings(chosen["net"], chosen["stage"])
    for values, source in layers:
        settings = changed(settings, values, source)
    return settings


def build_datasets(
    tree: VocTree, settings: TrainSettings, proposal_cache: Path, progress: ProgressBars
) -> tuple[CropDataset, CropDataset]:
    """Return the samples of a run, and others of the same kind for BatchNorm statistics.

    All masks and soft labels are checked first, so that a fault ends the run before it begins.

    Raises:
        DatasetError: A photo, mask or file of soft labels is missing or damaged.
    """
    objects = annotated_objects(tree, settings, progress)
    teacher = Path(settings.teacher) if settings.teacher else None
    if teacher is not None:
        require_soft_labels(teacher, objects)
    if settings.stage == 2:
        photos = len({item.name for item in objects})
        task = progress.add_task("proposals", total=photos)
        with first_process_first():
            make_folder(proposal_cache)
            objects = overlapping_proposals(
                proposal_cache, tree, objects, lambda: progress.advance(task)
            )
    sampling = SampleSettings(
        stage=settings.stage,
        size=settings.size,
        resize=settings.resize,
        balanced=settings.balanced,
        colour=settings.colour,
    )
    samples = CropDataset(tree, objects, settings.crops, settings.seed, sampling, teacher)
    calibration = CropDataset(tree, objects, settings.crops, settings.seed + 1, sampling)
    return samples, calibration


def annotated_objects(
    tree: VocTree, settings: TrainSettings, progress: ProgressBars
) -> list[ObjectBox]:
    """Return the annotated objects of all photos on the run's image lists."""
    names = list_names(tree, settings.lists)
    task = progress.add_task("reading masks", total=len(names))
    return find_objects(tree, names, lambda: progress.advance(task))


def require_soft_labels(teacher: Path, objects: list[ObjectBox]) -> None:
    """Raise DatasetError if a photo with objects has no soft labels in the folder."""
    for name in missing(teacher, sorted({item.name for item in objects})):
        raise missing_error(soft_path(teacher, name))


def input_convention(settings: TrainSettings) -> InputConvention:
    """Return the net's input convention at the size of the run's crops."""
    return replace(default_input(settings.net), size=settings.size)


def build_validator(
    tree: VocTree, settings: TrainSettings
) -> Callable[[nn.Module], dict[str, float]]:
    """Return a function that validates a net on photos spread evenly over ``val_list``."""
    names = tree.names(settings.val_list)
    step = max(1, len(names) // settings.val_images)
    chosen = names[::step][: settings.val_images]
    convention = input_convention(settings)
    return lambda net: {"val_mean_iou": validate(net, settings.net, tree, chosen, convention)}
