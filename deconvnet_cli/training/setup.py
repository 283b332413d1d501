"""All that a training run needs before its first step: settings, samples, validation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deconvnet_cli.data.voc import VocTree
    from deconvnet_cli.training.samples import CropDataset
    from deconvnet_cli.training.settings import TrainSettings


def collect(
    net: str, stage: int | None, file: Path | None, pairs: tuple[str, ...], named: dict[str, Any]
) -> TrainSettings:
    """The settings of the run: the net's own, then the file's, then those of the options."""
    from deconvnet_cli.training.settings import (
        changed,
        default_settings,
        parse_settings,
        read_settings,
    )

    values = read_settings(file) if file is not None else {}
    base = default_settings(values.get("net", net), values.get("stage") if stage is None else stage)
    settings = changed(base, values, str(file))
    for pair in pairs:
        settings = changed(settings, parse_settings(pair, f"--set {pair}"), f"--set {pair}")
    named["batch"] = named.pop("batch_size")
    named["teacher"] = str(named["teacher"]) if named["teacher"] else None
    named["lists"] = named["lists"] or None
    given = {name: value for name, value in named.items() if value is not None}
    if stage is not None:
        given["stage"] = stage
    return changed(settings, given, "options")


def datasets(
    tree: VocTree, settings: TrainSettings, cache: Path, progress: Any
) -> tuple[CropDataset, CropDataset]:
    """The samples of the run, and others of the same kind to take statistics over.

    All photos, masks and soft labels are looked at: what is wrong with them is said here.
    """
    from deconvnet_cli.data.objects import find_objects, list_names
    from deconvnet_cli.storage.files import make_folder
    from deconvnet_cli.training.samples import CropDataset, SampleSettings
    from deconvnet_cli.training.soft_labels import missing, none_there, soft_path
    from deconvnet_cli.training.stage2_boxes import overlapping_proposals

    names = list_names(tree, settings.lists)
    task = progress.add_task("reading masks", total=len(names))
    objects = find_objects(tree, names, lambda: progress.advance(task))
    teacher = Path(settings.teacher) if settings.teacher else None
    if teacher is not None:
        for name in missing(teacher, sorted({found.name for found in objects})):
            raise none_there(soft_path(teacher, name))
    if settings.stage == 2:
        make_folder(cache)
        task = progress.add_task("proposals", total=len({found.name for found in objects}))
        objects = overlapping_proposals(cache, tree, objects, lambda: progress.advance(task))
    how = SampleSettings(
        stage=settings.stage,
        size=settings.size,
        resize=settings.resize,
        balanced=settings.balanced,
        colour=settings.colour,
    )
    dataset = CropDataset(tree, objects, settings.crops, settings.seed, how, teacher)
    others = CropDataset(tree, objects, settings.crops, settings.seed + 1, how)
    return dataset, others


def convention_of(settings: TrainSettings) -> Any:
    """What the net takes in, at the size of this run's crops."""
    from deconvnet_cli.nets.registry import default_input

    return dataclasses.replace(default_input(settings.net), size=settings.size)


def validator(tree: VocTree, settings: TrainSettings) -> Any:
    """Scores the net on photos of ``val_list``, each as a single crop: quick, and comparable."""
    from deconvnet_cli.training.validation import validate

    names = tree.names(settings.val_list)
    step = max(1, len(names) // settings.val_images)
    chosen = names[::step][: settings.val_images]
    return lambda net: {
        "val_mean_iou": validate(net, settings.net, tree, chosen, convention_of(settings))
    }
