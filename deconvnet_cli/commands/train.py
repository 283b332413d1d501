"""``deconvnet train``: train a net on crops of a PASCAL VOC tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.choices import DEFAULT, NET_NAMES
from deconvnet_cli.commands.shared.grouped_help import FILES, MACHINE, GroupedCommand, option
from deconvnet_cli.commands.shared.options import QUIET_OPTION, apply, weights_names
from deconvnet_cli.errors import printable
from deconvnet_cli.segmentation.settings import SegmentOptions

if TYPE_CHECKING:
    import torch

START = "Start"
SETTINGS = "Settings"
EPILOG = """`torchrun --nproc-per-node N -m deconvnet_cli train ...` shares each batch between N
processes, each on a GPU if there is one."""


@click.command(
    "train", cls=GroupedCommand, common=("voc_root", "run", "net", "stage"), epilog=EPILOG
)
@option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@option("--out", "run", required=True, type=click.Path(path_type=Path), help="Run folder.")
@option(
    "--net",
    type=click.Choice(NET_NAMES),
    default=DEFAULT,
    show_default=True,
    help="Net to train.",
)
@option(
    "--stage",
    type=click.IntRange(0, 2),
    help="1: crops of single objects; 2: crops of proposals; 0: a mixture.  [default: 1 for "
    "deconvnet-vgg16, 0 for the others]",
)
@option(
    "--list", "lists", multiple=True, group=FILES, help="Image list; repeatable.  [default: train]"
)
@option(
    "--val-list", group=FILES, help="Image list to evaluate during training (whole photos only)."
)
@option(
    "--teacher",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    group=FILES,
    help="Folder of soft labels that `deconvnet soft-labels` wrote.",
)
@option(
    "--proposal-cache",
    type=click.Path(path_type=Path, file_okay=False),
    group=FILES,
    help="Folder that keeps the proposals of stage 2, one file a list; runs may share it.  "
    "[default: RUN/proposals]",
)
@option(
    "--init",
    metavar="FILE",
    group=START,
    help="Start from this published encoder (safetensors): a folded MobileNetV2 + DeepLabv3 head, "
    "a VGG-16 trunk, or the word torchvision.",
)
@option(
    "--from",
    "start",
    metavar="NAME|FILE",
    shell_complete=weights_names,
    group=START,
    help="Start from these weights, shipped or written by this tool.",
)
@option("--crops", type=click.IntRange(1), group=SETTINGS, help="Number of crops in all.")
@option("--batch-size", type=click.IntRange(1), group=SETTINGS, help="Crops per forward pass.")
@option("--accumulate", type=click.IntRange(1), group=SETTINGS, help="Forward passes per step.")
@option("--size", type=click.IntRange(32), group=SETTINGS, help="Side of the crops in pixels.")
@option(
    "--frozen/--no-frozen", default=None, group=SETTINGS, help="Train only the decoder, or all."
)
@option("--lr", type=click.FloatRange(0, min_open=True), group=SETTINGS, help="Learning rate.")
@option("--seed", type=int, group=SETTINGS, help="Seed of the samples and of fresh weights.")
@option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    group=SETTINGS,
    help="TOML file with any of the settings in RUN/settings.toml.",
)
@option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    group=SETTINGS,
    help="Change one setting, written as in TOML; repeatable.",
)
@option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    group=MACHINE,
    help="Processes that cut crops. 0: the training process cuts them.",
)
@option(
    "--device",
    default=SegmentOptions.device,
    show_default=True,
    metavar="auto|cpu|cuda|cuda:N|mps",
    group=MACHINE,
    help="Device to train on. auto: the best one of this machine.",
)
@apply(QUIET_OPTION)
def command(
    voc_root: Path,
    run: Path,
    net: str | None,
    stage: int | None,
    init: str | None,
    start: str | None,
    file: Path | None,
    pairs: tuple[str, ...],
    proposal_cache: Path | None,
    workers: int,
    device: str,
    quiet: bool,
    **named: Any,
) -> None:
    """Train a net on crops of photos: around objects (stage 1), of proposals (stage 2), or a mix
    of both. RUN keeps settings, log and checkpoints; after Ctrl-C the same command goes on. At the
    end, BatchNorm statistics are computed anew, and RUN/weights.safetensors and RUN/curves.png are
    written.
    """
    from deconvnet_cli.training.setup import (
        build_datasets,
        build_validator,
        collect_settings,
        input_convention,
    )

    settings = collect_settings(net, stage, file, pairs, named)

    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import choose_device
    from deconvnet_cli.runtime.interrupts import stop_signals
    from deconvnet_cli.training.batchnorm import recompute_statistics
    from deconvnet_cli.training.distributed import joined, local_device, rank, world_size
    from deconvnet_cli.training.loop import Hooks, train
    from deconvnet_cli.training.run_folder import check_settings, prepare_run, read_log
    from deconvnet_cli.training.start import net_at_start

    check_settings(run, settings)  # before hours of preparation
    chosen = local_device(choose_device(device))
    tree = open_tree(voc_root)
    with joined(chosen), console.progress(quiet or rank() > 0) as progress, stop_signals() as stop:
        try:
            dataset, calibration = build_datasets(
                tree, settings, proposal_cache or run / "proposals", progress, lambda: bool(stop)
            )
        except KeyboardInterrupt:
            if rank() == 0:
                console.say(f"{run}: stopped before the first step; the same command goes on")
            raise SystemExit(1) from None
        convention = input_convention(settings)

        def batches(number: int) -> Iterator[torch.Tensor]:
            import torch

            for first in range(0, number * settings.batch, settings.batch):
                numbers = range(first + rank(), first + settings.batch, world_size())
                crops = [calibration[number][0] for number in numbers]
                yield convention.prepare(torch.stack(crops))

        begun = (run / "checkpoint.pt").is_file()
        model = net_at_start(settings, init, start, lambda: list(batches(20)), begun=begun)
        if rank() == 0:
            prepare_run(run, settings)
        task = progress.add_task("train", total=settings.steps)
        hooks = Hooks(
            on_step=lambda step, loss: progress.update(
                task, completed=step, description=None if loss is None else f"loss {loss:.3f}"
            ),
            stop=lambda: bool(stop),
            validate=build_validator(tree, settings) if settings.val_list else None,
        )
        finished = train(
            model, dataset, convention, run, settings, device=chosen, workers=workers, hooks=hooks
        )
        if not finished:
            if rank() == 0:
                console.say(f"{run}: stopped; the same command goes on")
            raise SystemExit(1)
        kept = settings.frozen or settings.keep_statistics
        if settings.statistics and not kept:
            recompute_statistics(model, (x.to(chosen) for x in batches(settings.statistics)))
        if rank() > 0:
            return
        model.cpu()

    from deconvnet_cli.nets.registry import net_settings
    from deconvnet_cli.storage.files import write_whole
    from deconvnet_cli.training.curves import curves_png
    from deconvnet_cli.weights.card import card_for
    from deconvnet_cli.weights.files import store

    card = card_for(
        settings.net,
        net_settings(model),
        input=convention,
        provenance=f"trained by deconvnet train: {dataclasses.asdict(settings)}",
        licence="that of the training data and of the start",
    )
    store(run / "weights.safetensors", model, card)
    write_whole(run / "curves.png", curves_png(read_log(run)))
    click.echo(printable(str(run / "weights.safetensors")))
