"""``deconvnet train``: train a net on crops of a PASCAL VOC tree."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.choices import CACHES, DEFAULT, NET_NAMES
from deconvnet_cli.commands.shared.grouped_help import (
    GroupedCommand,
    file_option,
    machine_option,
    option,
)
from deconvnet_cli.commands.shared.option_types import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    FOLDER,
    PATH,
    FiniteRange,
)
from deconvnet_cli.commands.shared.options import (
    DEVICE_OPTION,
    QUIET_OPTION,
    RGB_OPTION,
    weights_names,
)
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

start_option = partial(option, group="Start")
settings_option = partial(option, group="Settings")
FIRST_BATCHES = 20  # for the BatchNorm statistics of a published encoder
EPILOG = """`torchrun --nproc-per-node N -m deconvnet_cli train ...` shares each batch between N
processes, each on a GPU if there is one."""


@click.command(
    "train", cls=GroupedCommand, common=("voc_root", "run", "net", "stage"), epilog=EPILOG
)
@option("--voc-root", required=True, type=PATH, help="VOC2012/ folder.")
@option("--out", "run", required=True, type=PATH, help="Run folder.")
@option("--net", type=click.Choice(NET_NAMES), help=f"Net to train.  [default: {DEFAULT}]")
@option(
    "--stage",
    type=click.IntRange(0, 2),
    help="1: crops of single objects; 2: crops of proposals; 0: a mixture.  [default: 1 for "
    "deconvnet-vgg16, 0 for the others]",
)
@file_option(
    "--split",
    "--list",
    "lists",
    multiple=True,
    help="List in ImageSets/Segmentation/; repeatable.  [default: train]",
)
@file_option(
    "--classes",
    "classes_file",
    type=EXISTING_FILE,
    help="File with the names of your own classes, one per line, in the order of their labels.  "
    "[default: classes.txt of the tree, or VOC's]",
)
@RGB_OPTION
@file_option(
    "--val-split",
    "--val-list",
    "val_list",
    help="List to validate on during training; the best weights are kept.",
)
@file_option(
    "--teacher",
    type=EXISTING_FOLDER,
    help="Folder of soft labels that `deconvnet soft-labels` wrote.",
)
@file_option(
    "--proposal-cache",
    type=FOLDER,
    help="Folder that keeps the proposals of stage 2, one file a list; runs may share it.  "
    "[default: RUN/proposals]",
)
@start_option(
    "--init",
    metavar="FILE",
    help="Start from this published encoder (safetensors): a folded MobileNetV2 + DeepLabv3 head, "
    "a VGG-16 trunk, or the word torchvision.",
)
@start_option(
    "--from",
    "start",
    metavar="NAME|FILE",
    shell_complete=weights_names,
    help="Start from these weights, shipped or written by this tool.",
)
@settings_option("--crops", type=click.IntRange(1), help="Number of crops in all.")
@settings_option("--batch-size", "batch", type=click.IntRange(1), help="Crops per forward pass.")
@settings_option("--accumulate", type=click.IntRange(1), help="Forward passes per step.")
@settings_option("--size", type=click.IntRange(32), help="Side of the crops in pixels.")
@settings_option("--frozen/--no-frozen", default=None, help="Train only the decoder, or all.")
@settings_option("--lr", type=FiniteRange(0, min_open=True), help="Learning rate.")
@settings_option(
    "--ema",
    type=FiniteRange(0, 1, max_open=True),
    help="Keep a moving average of the weights too, with this decay, such as 0.999.",
)
@settings_option(
    "--patience",
    type=click.IntRange(0),
    help="End after so many validations in a row that are no better.  [default: 0, never]",
)
@settings_option("--seed", type=int, help="Seed of the samples and of fresh weights.")
@settings_option(
    "--settings",
    "file",
    type=EXISTING_FILE,
    help="TOML file with any of the settings in RUN/settings.toml.",
)
@settings_option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one setting, written as in TOML; repeatable.",
)
@machine_option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    help="Processes that cut crops. 0: the training process cuts them.",
)
@machine_option(
    "--cache",
    type=click.Choice(CACHES),
    default=CACHES[0],
    help="Where decoded photos are held. device: on the GPU, which also cuts the crops; memory; "
    "none: photos are read anew for each crop; auto: the first of these that they fit.",
)
@machine_option(
    "--compile",
    "compile_net",
    is_flag=True,
    help="Compile the net for this machine first, which takes minutes and makes steps faster. It "
    "needs a C++ compiler.",
)
@machine_option(
    "--tensorboard", is_flag=True, help="Write the log for TensorBoard too, in RUN/tensorboard."
)
@DEVICE_OPTION
@QUIET_OPTION
def command(
    voc_root: Path,
    run: Path,
    init: str | None,
    start: str | None,
    file: Path | None,
    pairs: tuple[str, ...],
    proposal_cache: Path | None,
    rgb: bool,
    workers: int,
    cache: str,
    compile_net: bool,
    tensorboard: bool,
    device: str,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a net on crops of photos: around objects (stage 1), of proposals (stage 2), or a mix
    of both. RUN keeps settings, log, samples.png and checkpoints; after Ctrl-C the same command
    goes on. At the end, BatchNorm statistics are computed anew, and RUN/weights.safetensors and
    RUN/curves.png are written. A setting that is not given has the default of the net and the
    stage, as RUN/settings.toml shows.
    """
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.training.setup import (
        build_datasets,
        collect_settings,
        overlap_note,
        with_classes,
    )

    begun = (run / "settings.toml").is_file()
    settings = collect_settings(options, file, pairs, begun=begun)
    if proposal_cache is not None and settings.stage != 2:
        raise UsageError("--proposal-cache goes with --stage 2, which takes proposals")
    settings, tree = with_classes(settings, open_tree(voc_root, rgb=rgb))

    from deconvnet_cli.commands.shared.train_progress import TrainBar
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import choose_device, keep_freed_memory
    from deconvnet_cli.runtime.interrupts import stop_signals
    from deconvnet_cli.training.distributed import joined, local_device, rank, share_of
    from deconvnet_cli.training.follow import build_hooks, prepared_batches, write_curves
    from deconvnet_cli.training.loop import train
    from deconvnet_cli.training.origin import check_origin, origin_of, write_origin
    from deconvnet_cli.training.run_folder import check_settings, has_checkpoint, prepare_run
    from deconvnet_cli.training.start import check_start, net_at_start
    from deconvnet_cli.training.weights_of_run import (
        WEIGHTS,
        card_at_start,
        how_it_ended,
        store_weights,
    )

    check_settings(run, settings)  # before hours of preparation
    origin = origin_of(tree, settings, init, start)
    check_origin(run, origin)
    check_start(settings, init, start, begun=begun)
    first = card_at_start(settings, start, origin["from"] or origin["init"])
    keep_freed_memory()
    chosen = local_device(choose_device(device))
    with joined(chosen), console.progress(quiet or rank() > 0) as progress, stop_signals() as stop:

        def tell(line: str) -> None:
            if rank() == 0 and not quiet:
                console.say(line)

        share_of(settings.batch)  # before hours of preparation
        if (line := overlap_note(tree, settings)) and rank() == 0:
            console.say(line)
        begin_bar = partial(console.bar, progress)
        try:
            samples, calibration = build_datasets(
                tree,
                settings,
                proposal_cache or run / "proposals",
                begin_bar,
                stop,
                cache=cache,
                device=chosen,
                tell=tell,
            )
        except KeyboardInterrupt:
            if rank() == 0:
                console.say(f"{run}: stopped before the first step; the same command goes on")
            raise SystemExit(1) from None

        def first_batches() -> list[torch.Tensor]:
            batches = prepared_batches(calibration, first.input, settings, FIRST_BATCHES)
            return [batch.cpu() for batch in batches]

        goes_on = has_checkpoint(run)
        model = net_at_start(settings, init, start, first_batches, begun=goes_on, tell=tell)
        if rank() == 0:
            prepare_run(run, settings)
            write_origin(run, origin)
        kept = build_hooks(
            run, tree, settings, first, calibration, begin_bar, chosen, tensorboard=tensorboard
        )
        bar = TrainBar(progress, settings.steps)

        def on_log(line: dict[str, Any]) -> None:
            bar.on_log(line)
            kept.on_log(line)

        hooks = dataclasses.replace(kept, on_step=bar.on_step, on_log=on_log, stop=stop)
        nets = train(
            model, samples, first.input, run, settings,
            device=chosen, workers=workers, compile_net=compile_net, hooks=hooks,
        )  # fmt: skip
        if nets.progress is None:
            if rank() == 0:
                console.say(f"{run}: stopped; the same command goes on")
            raise SystemExit(1)
        if rank() > 0:
            return

    kind = store_weights(run, nets, settings, first)
    write_curves(run)
    if not quiet:
        for line in how_it_ended(run, nets.progress, settings, kind):
            console.say(line)
    console.result(str(run / WEIGHTS))
