"""``deconvnet train``: train a net on crops of a PASCAL VOC tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.commands.shared.options import weights_names
from deconvnet_cli.errors import printable
from deconvnet_cli.training.setup import collect, convention_of, datasets, validator

if TYPE_CHECKING:
    import torch


@click.command("train")
@click.option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@click.option("--out", "run", required=True, type=click.Path(path_type=Path), help="Run folder.")
@click.option(
    "--net",
    type=click.Choice(NET_NAMES),
    default="deconvnet-mobilenet",
    show_default=True,
)
@click.option(
    "--stage",
    type=click.IntRange(0, 2),
    help="1: crops of single objects; 2: crops of proposals; 0: a mixture. "
    "Default: 1 for deconvnet-vgg16, 0 for the others.",
)
@click.option("--list", "lists", multiple=True, help="Image list; repeatable.  [default: train]")
@click.option(
    "--init",
    metavar="FILE",
    help="Published encoder to start from (safetensors): a folded MobileNetV2 + DeepLabv3 head, "
    "or a VGG-16 trunk, or the word torchvision.",
)
@click.option(
    "--from",
    "start",
    metavar="NAME|FILE",
    shell_complete=weights_names,
    help="Weights of ours to start from.",
)
@click.option(
    "--settings",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file with any of the settings that RUN/settings.toml has.",
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="One setting, as in TOML."
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of soft labels, as `deconvnet soft-labels` makes them.",
)
@click.option("--crops", type=click.IntRange(1), help="Crops seen in all.")
@click.option("--batch-size", type=click.IntRange(1), help="Crops a forward pass.")
@click.option("--accumulate", type=click.IntRange(1), help="Forward passes a step.")
@click.option("--size", type=click.IntRange(32), help="Side of the crops, pixels.")
@click.option("--frozen/--no-frozen", default=None, help="Train the decoder alone.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate.")
@click.option("--val-list", help="List that is scored along the way (whole photos only).")
@click.option("--seed", type=int)
@click.option(
    "--proposal-cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps the proposals of stage 2.  [default: RUN/proposals]",
)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--quiet", is_flag=True)
def command(
    voc_root: Path,
    run: Path,
    net: str,
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
    """Train a net on crops of photos: around objects (stage 1), of proposals (stage 2), or mixed.

    RUN keeps settings, log and checkpoints: the same command goes on where it was stopped, also
    by Ctrl-C. At the end BatchNorm statistics are taken anew over the training data and
    RUN/weights.safetensors and RUN/curves.png are written. `torchrun --nproc-per-node N -m
    deconvnet_cli train ...` shares each batch between N processes, a GPU each where there are any.
    """
    settings = collect(net, stage, file, pairs, named)

    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import choose_device
    from deconvnet_cli.runtime.interrupts import stop_signals
    from deconvnet_cli.training.batchnorm import recompute_statistics
    from deconvnet_cli.training.distributed import joined, local_device, rank, world_size
    from deconvnet_cli.training.loop import Hooks, train
    from deconvnet_cli.training.run_folder import prepare_run, read_log
    from deconvnet_cli.training.start import net_at_start

    chosen = local_device(choose_device(device))
    tree = open_tree(voc_root)
    with joined(chosen), console.progress(quiet or rank() > 0) as progress, stop_signals() as stop:
        dataset, calibration = datasets(
            tree, settings, proposal_cache or run / "proposals", progress
        )
        convention = convention_of(settings)

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
                task, completed=step, description=f"loss {loss:.3f}"
            ),
            stop=lambda: bool(stop),
            validate=validator(tree, settings) if settings.val_list else None,
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
    write_whole(run / "curves.png", curves_png(read_log(run)))
    store(run / "weights.safetensors", model, card)
    click.echo(printable(str(run / "weights.safetensors")))
