"""``deconvnet train``: train a net on crops of a PASCAL VOC tree."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from deconvnet_cli.errors import DatasetError, UsageError

CALIBRATION_BATCHES = 40  # batches over which BatchNorm statistics are taken anew


@click.command("train")
@click.option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@click.option("--out", "run", required=True, type=click.Path(path_type=Path), help="Run folder.")
@click.option("--list", "lists", multiple=True, default=("train",), show_default=True)
@click.option(
    "--init",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Folded MobileNetV2 + DeepLabv3 head to start from (safetensors).",
)
@click.option("--from", "start", metavar="NAME|FILE", help="Weights of ours to start from.")
@click.option(
    "--teacher",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of soft labels, as `deconvnet soft-labels` makes them.",
)
@click.option("--crops", type=click.IntRange(1), default=40_000, show_default=True)
@click.option("--batch-size", type=click.IntRange(2), default=16, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-3, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--quiet", is_flag=True)
def command(
    voc_root: Path,
    run: Path,
    lists: tuple[str, ...],
    init: Path | None,
    start: str | None,
    teacher: Path | None,
    crops: int,
    batch_size: int,
    lr: float,
    seed: int,
    workers: int,
    device: str,
    quiet: bool,
) -> None:
    """Train deconvnet-mobilenet on crops around objects, whole photos and boxes anywhere.

    The run folder keeps checkpoints: the same command goes on where it was stopped. At the end
    BatchNorm statistics are taken anew and RUN/weights.safetensors is written.
    """
    import torch

    from deconvnet_cli import report
    from deconvnet_cli.devices import choose_device
    from deconvnet_cli.initialisation import recompute_statistics, start_from_folded
    from deconvnet_cli.nets import build_net, default_input, net_settings
    from deconvnet_cli.nets.mobilenet import DeconvNetMobile
    from deconvnet_cli.samples import CropDataset, find_objects, list_names
    from deconvnet_cli.teacher import missing, soft_path
    from deconvnet_cli.training import TrainSettings, prepare_run, train
    from deconvnet_cli.voc import open_tree
    from deconvnet_cli.weights import card_for, load, store

    if init is not None and start is not None:
        raise UsageError("--init and --from are two ways to start; give one of them")
    chosen = choose_device(device)
    settings = TrainSettings(
        lists=lists,
        crops=crops,
        batch=batch_size,
        lr=lr,
        seed=seed,
        bf16=chosen.type != "mps",
        teacher=str(teacher or ""),
    )
    tree = open_tree(voc_root)
    objects = find_objects(tree, list_names(tree, lists))
    if teacher is not None:
        for name in missing(teacher, sorted({found.name for found in objects})):
            raise DatasetError(f"{soft_path(teacher, name)}: no soft labels of this photo")
    dataset = CropDataset(tree, objects, settings.crops, seed, teacher=teacher)
    convention = default_input(settings.net)
    calibration = CropDataset(tree, objects, CALIBRATION_BATCHES * batch_size, seed + 1)

    def batches() -> list[torch.Tensor]:
        return [
            convention.prepare(torch.stack([calibration[number + i][0] for i in range(batch_size)]))
            for number in range(0, len(calibration), batch_size)
        ]

    prepare_run(run, settings)
    torch.manual_seed(seed)
    net = build_net(settings.net) if start is None else load(start).net
    if init is not None and not (run / "checkpoint.pt").is_file():
        start_from_folded(cast(DeconvNetMobile, net), init, batches())
    with report.progress(quiet) as progress:
        task = progress.add_task("train", total=settings.steps)
        train(
            net,
            dataset,
            convention,
            run,
            settings,
            device=chosen,
            workers=workers,
            on_step=lambda step, loss: progress.update(
                task, completed=step, description=f"loss {loss:.3f}"
            ),
        )
    recompute_statistics(net.cpu(), batches())
    about = f"trained by deconvnet train on {', '.join(lists)} for {settings.crops} crops"
    card = card_for(
        settings.net,
        net_settings(net),
        merge="mean-probability",
        provenance=about,
        licence="that of the training data and of the start",
    )
    store(run / "weights.safetensors", net, card)
    click.echo(str(run / "weights.safetensors"))
