"""``deconvnet bench``: measure speed, and the objects that proposals find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, option
from deconvnet_cli.commands.shared.options import (
    JSON_OPTION,
    PROPOSAL_OPTIONS,
    QUIET_OPTION,
    apply,
    segment_options,
)

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions


@click.group("bench")
def command() -> None:
    """Measure this machine: photos a second, and the share of objects that proposals find."""


@command.command("photos", cls=GroupedCommand, common=("count", "sides", "workers"))
@click.argument(
    "photos", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@option(
    "--workers",
    type=click.IntRange(1),
    help="Largest number of photos to work on at a time.  [default: cores]",
)
@option(
    "--count",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Number of photos to segment; PHOTOS are used over and over.",
)
@option(
    "--side",
    "sides",
    type=click.IntRange(16),
    multiple=True,
    help="Longer side in pixels to which photos are scaled; repeatable.  [default: 320, 500, 1000]",
)
@apply(segment_options, QUIET_OPTION, JSON_OPTION)
def photos(
    photos: tuple[Path, ...],
    workers: int | None,
    count: int,
    sides: tuple[int, ...],
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
) -> None:
    """Measure how many of PHOTOS are segmented a second: first the plain path, which is the net as
    it was trained, in fp32, one photo after another on all cores; then 1, 2, 4 ... workers with the
    prepared net in the precision of --precision, each on one core.
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
            to_stderr=as_json,
        )


@command.command("proposals", cls=GroupedCommand)
@option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@option("--split", default="val", show_default=True, help="Name of the image list.")
@option("--limit", type=click.IntRange(1), help="Use only the first N images.", metavar="N")
@apply(*PROPOSAL_OPTIONS[1:], QUIET_OPTION, JSON_OPTION)
def proposals(
    voc_root: Path, split: str, limit: int | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Measure the share of the objects in a list that proposals find, and the milliseconds per
    photo. An object is found if one of the first N boxes has an IoU of 0.5 (or 0.7) with its box.
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
        console.table(("boxes", *(f"IoU {iou}" for iou in IOUS)), rows, to_stderr=as_json)
        text = f"{found.objects} objects in {found.photos} photos, {found.ms:.0f} ms a photo"
        console.result(text, to_stderr=as_json)
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
