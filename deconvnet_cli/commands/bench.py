"""``deconvnet bench``: how fast this machine is, and what its proposals find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.options import JSON, PROPOSALS, QUIET, SEGMENTING, apply


@click.group("bench")
def command() -> None:
    """Measure this machine: photos a second, and how many objects proposals find."""


@command.command("photos")
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@click.option("--workers", type=click.IntRange(1), help="Most photos at a time.  [default: cores]")
@click.option("--count", type=click.IntRange(1), default=8, show_default=True, help="Photos timed.")
@click.option(
    "--side",
    "sides",
    type=click.IntRange(16),
    multiple=True,
    help="Longer side, pixels, to which photos are scaled; repeatable.  [default: 320, 500, 1000]",
)
@apply(*SEGMENTING, QUIET, JSON)
def photos(
    photos: tuple[Path, ...],
    workers: int | None,
    count: int,
    sides: tuple[int, ...],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Photos a second on PHOTOS, the plain path against 1, 2, 4 ... workers, in one run.

    The plain path: the net as it was trained, fp32, one photo after another on all cores.
    Workers: the prepared net in the precision of --precision, one core a photo.
    """
    from deconvnet_cli.diagnostics.throughput import SIZES, Work, measure, trials
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import cores

    most = workers or cores()
    lines = []
    with console.progress(quiet) as progress:
        task = progress.add_task("bench", total=len(trials(most)) * len(sides or SIZES))
        for side in sides or SIZES:
            for line in measure(Work(photos, side, count, options), most):
                progress.advance(task)
                lines.append(line)
                if as_json:
                    console.json_line(line)
    if not quiet:
        console.table(
            ("side", "", "photos/s", "speed-up", "peak MB", "median ms by stage"),
            [
                (
                    str(line["side"]),
                    line["trial"],
                    f"{line['photos_per_s']:.2f}",
                    f"{line['speedup']:.2f}",
                    str(line["peak_mb"]),
                    ", ".join(f"{name} {ms:.0f}" for name, ms in line["ms"].items()),
                )
                for line in lines
            ],
        )


@command.command("proposals")
@click.option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@click.option("--split", default="val", show_default=True, help="List of images.")
@click.option("--limit", type=click.IntRange(1), help="The first so many images only.")
@apply(*PROPOSALS[1:], QUIET, JSON)
def proposals(
    voc_root: Path, split: str, limit: int | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Share of the objects of a list that a proposal covers, and milliseconds a photo.

    An object counts as found if one of the first N boxes has an IoU of 0.5 (0.7) with its box.
    """
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.evaluation.recall import COUNTS, IOUS, recall
    from deconvnet_cli.reporting import console
    from deconvnet_cli.segmentation.loading import proposal_settings

    tree = open_tree(voc_root)
    names = tree.names(split)[:limit]
    with console.progress(quiet) as progress:
        task = progress.add_task("proposals", total=len(names))
        found = recall(tree, names, proposal_settings(**options), lambda: progress.advance(task))
    if not quiet:
        rows = [
            (str(count), *(f"{found.shares[iou, count]:.3f}" for iou in IOUS)) for count in COUNTS
        ]
        console.table(("boxes", *(f"IoU {iou}" for iou in IOUS)), rows)
        console.say(f"{found.objects} objects in {found.photos} photos, {found.ms:.0f} ms a photo")
    if as_json:
        recalls = {
            str(iou): {str(count): found.shares[iou, count] for count in COUNTS} for iou in IOUS
        }
        console.json_line(
            {
                "photos": found.photos,
                "objects": found.objects,
                "recall": recalls,
                "ms": {"proposals": round(found.ms, 1)},
            }
        )
