"""The preparation of a training run: its settings, samples, input convention and validation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deconvnet_cli.data.classes import FILE, first_difference, in_short, read_classes
from deconvnet_cli.data.notes import note
from deconvnet_cli.data.objects import ObjectBox, find_objects, list_names, photos_of_classes
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.runtime.devices import CPU
from deconvnet_cli.storage.files import make_folder
from deconvnet_cli.training.distributed import first_process_first
from deconvnet_cli.training.feeding import DeviceCrops, choose_cache
from deconvnet_cli.training.photo_store import PhotoFiles, PhotoSource, load_photos
from deconvnet_cli.training.proposal_files import list_boxes
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings, changed, default_settings
from deconvnet_cli.training.settings_checks import check_effect, check_together
from deconvnet_cli.training.settings_toml import parse_settings, read_settings
from deconvnet_cli.training.soft_labels import read_soft, soft_path
from deconvnet_cli.training.stage2_boxes import overlapping_proposals, shown_boxes

# Begins a progress bar, given what it shows and its steps; returns what advances it by one.
BeginBar = Callable[[str, int], Callable[[], None]]


def overlap_note(tree: VocTree, settings: TrainSettings) -> str:
    """Return a line on the photos that are both trained and validated on; "" if there are none."""
    both = set(list_names(tree, settings.lists))
    both &= set(tree.names(settings.val_list)) if settings.val_list else set()
    if not both:
        return ""
    return (
        f"--val-split {settings.val_list}: --split has {counted(len(both), 'photo')} of it, so "
        "its mean IoU says little of new photos"
    )


def collect_settings(
    options: Mapping[str, Any],
    file: Path | None = None,
    pairs: tuple[str, ...] = (),
    *,
    begun: bool = False,
) -> TrainSettings:
    """Return the settings of a run: the net's own, changed by the file, the pairs, the options.

    Each of these beats the one before it.

    Args:
        options: Values of command-line options by the name of the setting, and the file of own
            classes as "classes_file"; None and () leave a setting as it is.
        file: A TOML file of settings.
        pairs: Single settings, as TOML ("lr = 0.1").
        begun: Whether the run goes on. Settings may be without effect then, as earlier versions
            let them.

    Raises:
        UsageError: A setting is unknown, of the wrong type or out of range, has no effect, or does
            not fit another one.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "teacher" in given:
        given["teacher"] = str(given["teacher"])
    if "classes_file" in given:
        given["classes"] = read_classes(given.pop("classes_file"))
    layers = [(read_settings(file), str(file))] if file is not None else []
    layers += [(parse_settings(pair, f"--set {pair}"), f"--set {pair}") for pair in pairs]
    layers.append((given, "options"))
    # The net and the stage that count in the end decide which defaults the rest changes.
    chosen: dict[str, Any] = {"net": TrainSettings.net, "stage": None}
    for values, source in layers:
        chosen |= {name: values[name] for name in chosen if name in values}
        changed(TrainSettings(), {name: values[name] for name in chosen if name in values}, source)
    settings = usual = default_settings(chosen["net"], chosen["stage"])
    for values, source in layers:
        settings = changed(settings, values, source)
    check_together(settings, ", ".join(source for values, source in layers if values) or "options")
    if not begun:
        one_by_one = layers[0 if file is None else 1 :]
        check_effect(settings, usual, {name for values, _ in one_by_one for name in values})
    return settings


def with_classes(settings: TrainSettings, tree: VocTree) -> tuple[TrainSettings, VocTree]:
    """Return both with the classes of the run: those of the settings, or else the tree's.

    Raises:
        UsageError: The net is to have another number of classes.
    """
    names = settings.classes or tree.classes
    number = json.loads(settings.net_settings).get("classes", len(names))
    if number != len(names):
        raise UsageError(f"net_settings: classes = {number!r}, but the run has {in_short(names)}")
    own = () if names == CLASSES else names
    listed = tree.root / FILE
    if names != tree.classes and listed.is_file():
        note(
            f"{listed}: not used, as this run is given {in_short(names)}; "
            f"{first_difference(names, tree.classes)}"
        )
    return replace(settings, classes=own), replace(tree, classes=names)


def build_datasets(
    tree: VocTree,
    settings: TrainSettings,
    proposal_cache: Path,
    begin_bar: BeginBar,
    stop: Callable[[], bool] = lambda: False,
    *,
    cache: str = "none",
    device: torch.device = CPU,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[CropDataset, CropDataset]:
    """Return the samples of a run, and others of the same kind for BatchNorm statistics.

    All masks and soft labels are checked first, so that a fault ends the run before it begins.

    Args:
        proposal_cache: The folder of the proposals of stage 2.
        begin_bar: Begins a progress bar of the preparation.
        stop: A function that is asked after each photo whether to stop.
        cache: Where the photos are held, one of ``choices.CACHES``.
        tell: Called with a line that says how many photos have each class.

    Raises:
        DatasetError: A photo, mask or file of soft labels is missing or damaged.
        KeyboardInterrupt: ``stop`` returned True.
    """
    begin_bar = stoppable(begin_bar, stop)
    listed = list_names(tree, settings.lists)
    objects = find_objects(tree, listed, begin_bar("reading masks", len(listed)))
    tell(photos_of_classes(objects, tree.classes))
    teacher = Path(settings.teacher) if settings.teacher else None
    if teacher is not None:
        taught = listed if settings.shown else [item.name for item in objects]
        require_soft_labels(teacher, taught, tree.classes)
    if settings.stage == 2:
        objects = stage2_boxes(tree, settings, objects, proposal_cache, begin_bar)
    names = list(dict.fromkeys(item.name for item in objects))
    source: PhotoSource
    source = files = PhotoFiles(tree, teacher)
    cache = choose_cache(cache, files, names, device)
    if cache != "none":
        store = load_photos(files, names, begin_bar("reading photos", len(names)))
        source = store.to(device) if cache == "device" else store
    soft = teacher is not None
    kind = DeviceCrops if cache == "device" else CropDataset
    samples = kind(source, objects, settings.crops, settings.seed, settings, soft=soft)
    return samples, kind(source, objects, settings.crops, settings.seed + 1, settings)


def stoppable(begin_bar: BeginBar, stop: Callable[[], bool]) -> BeginBar:
    """Return a ``begin_bar`` whose bars raise KeyboardInterrupt once a run is to stop."""

    def begin(description: str, total: int) -> Callable[[], None]:
        advance = begin_bar(description, total)

        def advance_or_stop() -> None:
            advance()
            if stop():
                raise KeyboardInterrupt

        return advance_or_stop

    return begin


def stage2_boxes(
    tree: VocTree,
    settings: TrainSettings,
    objects: list[ObjectBox],
    folder: Path,
    begin_bar: BeginBar,
) -> list[ObjectBox]:
    """Return the boxes of stage 2; the first process finds the proposals for all."""
    count = net_spec(settings.net).proposals if settings.shown else None
    photos = sum(len(tree.names(split)) for split in settings.lists)
    advance = begin_bar("proposals", photos)
    with first_process_first():
        make_folder(folder)
        proposals = list_boxes(folder, tree, settings.lists, count, advance)
    if not settings.shown:
        return overlapping_proposals(proposals, objects)
    return shown_boxes(tree, proposals, begin_bar("classes in boxes", len(proposals)))


def require_soft_labels(teacher: Path, names: list[str], classes: tuple[str, ...]) -> None:
    """Raise DatasetError if a photo lacks soft labels, or they are of other classes or teachers."""
    first: tuple[Path, str] | None = None
    for path in (soft_path(teacher, name) for name in sorted(set(names))):
        found = read_soft(path)
        if found.classes != classes:
            raise DatasetError(
                f"{path}: soft labels of {in_short(found.classes)}, but the run has "
                f"{in_short(classes)}; make them with weights of its classes"
            )
        if first is None:
            first = path, found.teacher
        if found.teacher != first[1]:
            raise DatasetError(
                f"{path}: soft labels of another teacher than {first[0]}; make all of them with one"
            )
