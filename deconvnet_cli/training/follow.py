"""The hooks of a run: validation, the best weights, curves, samples, TensorBoard, statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.mask_check import require_masks
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.runtime.packages import require_packages
from deconvnet_cli.segmentation.loading import leaves_out_boxes
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.training.batchnorm import recompute_statistics
from deconvnet_cli.training.distributed import rank, world_size
from deconvnet_cli.training.loop import Hooks
from deconvnet_cli.training.optimiser import keeps_statistics
from deconvnet_cli.training.pictures import SHOWN, curves_png, samples_png
from deconvnet_cli.training.run_folder import read_log
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.setup import BeginBar
from deconvnet_cli.training.weights_of_run import BEST, run_card
from deconvnet_cli.weights.card import Card
from deconvnet_cli.weights.files import Weights, store

EVENTS = "tensorboard"  # the folder of TensorBoard's files in a run


def prepared_batches(
    samples: CropDataset, convention: InputConvention, settings: TrainSettings, number: int
) -> Iterator[Tensor]:
    """Yield this process's share of the first batches as a net takes them, float N x 3 x S x S."""
    for first in range(0, number * settings.batch, settings.batch):
        numbers = range(first + rank(), first + settings.batch, world_size())
        yield convention.prepare(samples.batch(numbers)[0])


def write_curves(run: Path) -> None:
    """Draw the log of a run into its folder."""
    write_whole(run / "curves.png", curves_png(read_log(run)))


def build_hooks(
    run: Path,
    tree: VocTree,
    settings: TrainSettings,
    first: Card,
    calibration: CropDataset,
    begin_bar: BeginBar,
    device: torch.device,
    *,
    tensorboard: bool,
) -> Hooks:
    """Return hooks that validate a run and keep what is seen of it in its folder.

    Args:
        first: The card that those of the run's weights are made from.
        calibration: Samples for pictures and BatchNorm statistics, not those that are trained on.
        begin_bar: Begins a progress bar of the statistics, which take a while after the last step.

    Raises:
        DatasetError: The list of photos to validate on is missing.
        DependencyError: The package tensorboard is missing.
    """
    write_event = event_log(run / EVENTS) if tensorboard and rank() == 0 else None

    def on_log(line: dict[str, Any]) -> None:
        if "val_mean_iou" in line:
            write_curves(run)
        if write_event is not None:
            write_event(line)

    def on_best(net: nn.Module, step: int, score: float) -> None:
        store(run / BEST, net, run_card(net, settings, first, step, score))

    def show(net: nn.Module, step: int) -> None:
        crops, labels = calibration.batch(range(min(SHOWN, settings.batch)))[:2]
        classes = run_card(net, settings, first).classes
        picture = samples_png(net, crops.to(device), labels, first.input, classes)
        write_whole(run / "samples.png", picture)

    def finish(net: nn.Module) -> None:
        if not settings.statistics:
            return
        advance = begin_bar("BatchNorm statistics", settings.statistics)

        def batches() -> Iterator[Tensor]:
            for batch in prepared_batches(calibration, first.input, settings, settings.statistics):
                yield batch.to(device)
                advance()

        recompute_statistics(net, batches(), partial(keeps_statistics, net, settings))

    return Hooks(
        on_log=on_log,
        validate=_validator(tree, settings, first) if settings.val_list else None,
        on_best=on_best,
        show=show,
        finish=finish,
    )


def _validator(tree: VocTree, settings: TrainSettings, first: Card) -> Callable[[nn.Module], float]:
    """Return a function that validates a net on photos spread evenly over ``val_list``."""
    names = tree.names(settings.val_list)
    step = max(1, len(names) // settings.val_images)
    chosen = names[::step][: settings.val_images]
    require_masks(tree, chosen)  # wrong labels end the run before it begins
    return lambda net: validate(
        net, run_card(net, settings, first), tree, chosen, settings.val_boxes
    )


def validate(
    net: nn.Module, card: Card, tree: VocTree, names: Sequence[str], boxes: int = 0
) -> float:
    """Return the mean IoU over the classes that the photos show, 0 to 1.

    Args:
        net: The net to validate, in eval mode.
        card: Its card, with the merge rule and the number of boxes of a prediction.
        boxes: The number of boxes a photo, the whole photo included; 0 takes the card's.
    """
    system = alone(Weights(net, card, tree.root))  # the net has no file yet, so any path will do
    settings = SegmentSettings(proposals=boxes or None)
    skips = leaves_out_boxes(boxes or None, system, settings)
    settings = replace(settings, until_settled=skips)
    total = sum(
        confusion(
            tree_mask(tree, name),
            segment(read_photo(tree.image(name)), system, settings).labels,
            classes=len(card.classes),
        )
        for name in names
    )
    return metrics_of(total).mean_iou  # type: ignore[arg-type]


def event_log(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return a function that adds a line of the log to TensorBoard's files in a folder.

    Raises:
        DependencyError: The package tensorboard is missing.
    """
    require_packages("--tensorboard", "tensorboard", "tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, line["step"])
        writer.flush()

    return write
