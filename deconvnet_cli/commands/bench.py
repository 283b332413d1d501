"""``deconvnet bench``: measure speed, and the objects that proposals find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.bench_files import KEEP_OPTIONS, check_kept, earlier
from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, option
from deconvnet_cli.commands.shared.option_types import EXISTING_FILE, PATH
from deconvnet_cli.commands.shared.options import (
    MESSAGE_OPTIONS,
    SEARCH_OPTIONS,
    apply,
    segment_options,
)
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.segmentation.loading import load_system

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions


@click.group("bench")
def command() -> None:
    """Measure this machine: photos a second, on the CPU's cores or on a GPU, and the share of
    objects that proposals find.
    """


PHOTOS = argument("photos", nargs=-1, required=True, type=EXISTING_FILE)
SIDES = option(
    "--side",
    "sides",
    type=click.IntRange(16),
    multiple=True,
    help="Longer side in pixels to which photos are scaled; repeatable.  [default: 320, 500, 1000]",
)


def count_option(default: int) -> Callable[[Any], Any]:
    """Return the option --count with a default of its own."""
    return option(
        "--count",
        type=click.IntRange(1),
        default=default,
        help="Number of photos to segment; PHOTOS are used over and over.",
    )


COMMON = ("count", "sides", "workers", "save", "against")


@command.command("photos", cls=GroupedCommand, common=COMMON)
@PHOTOS
@option(
    "--workers",
    type=click.IntRange(1),
    help="Largest number of photos to work on at a time.  [default: cores]",
)
@count_option(8)
@SIDES
@apply(*KEEP_OPTIONS, segment_options, *MESSAGE_OPTIONS)
def photos(
    photos: tuple[Path, ...],
    workers: int | None,
    count: int,
    sides: tuple[int, ...],
    save: Path | None,
    against: Path | None,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
) -> None:
    """Measure how many of PHOTOS are segmented a second: first the plain path, which is the net as
    it was trained, in fp32, one photo after another on all cores; then 1, 2, 4 ... workers with the
    prepared net in the precision of --precision, each on one core.
    """
    check_kept(save, against, quiet, as_json)
    from deconvnet_cli.runtime.worker_process import prepare_workers

    prepare_workers("deconvnet_cli.batch.preload")
    from deconvnet_cli.diagnostics.kept_figures import Figures, compared, keep, settings_of
    from deconvnet_cli.diagnostics.throughput import SIZES, Work, measure, trials
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.cores import cores

    most = workers or cores()
    now = Figures("photos", settings_of(options, photos, count=count))
    rows = [(str(side), name) for side in sides or SIZES for name in trials(most)]
    before = earlier(against, now, rows)
    lines = []
    with console.progress(quiet) as progress:
        advance = console.bar(progress, "bench", len(rows))
        for side in sides or SIZES:
            for line in measure(Work(photos, side, count, options), most):
                advance()
                lines.append(line)
                if as_json:
                    console.json_line(line)
    keep(save, now, lines)
    if not quiet:
        extra = ("before", "ratio") if against else ()
        console.table(
            ("side", "", "photos/s", *extra, "speed-up", "peak MB", "median ms by stage"),
            [
                (
                    *key,
                    f"{line['photos_per_s']:.2f}",
                    *compared(line["photos_per_s"], before.get(key))[: len(extra)],
                    f"{line['speedup']:.2f}",
                    str(line["peak_mb"] or "unknown"),
                    in_words(line["ms"]),
                )
                for key, line in zip(rows, lines, strict=True)
            ],
            to_stderr=as_json,
        )


@command.command("gpu", cls=GroupedCommand, common=COMMON)
@PHOTOS
@count_option(32)
@SIDES
@apply(*KEEP_OPTIONS, segment_options, *MESSAGE_OPTIONS)
def gpu(
    photos: tuple[Path, ...],
    count: int,
    sides: tuple[int, ...],
    save: Path | None,
    against: Path | None,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
) -> None:
    """Measure a GPU with CUDA on PHOTOS: the net alone, with boxes found beforehand; photos from
    file to labels, one after another in one process; the share of that time that is between the
    first and the last work of a photo on the GPU; and the peak memory of its tensors.
    """
    check_kept(save, against, quiet, as_json)
    from deconvnet_cli.diagnostics.gpu_speed import measure, require_gpu
    from deconvnet_cli.diagnostics.kept_figures import Figures, compared, keep, settings_of
    from deconvnet_cli.diagnostics.throughput import SIZES
    from deconvnet_cli.reporting import console

    device = require_gpu(options.device)
    now = Figures("gpu", settings_of(options, photos, count=count))
    columns = ("net_photos_per_s", "photos_per_s")
    wanted = [(str(side), name) for side in sides or SIZES for name in columns]
    before = earlier(against, now, wanted)
    system, settings = load_system(options)
    lines = []
    with console.progress(quiet) as progress:
        for side in progress.track(sides or SIZES, description="bench"):
            lines.append(measure(photos, side, count, system, settings, device))
            if as_json:
                console.json_line(lines[-1])
    keep(save, now, lines)
    if not quiet:
        extra = ("before", "ratio") if against else ()
        rows = []
        for line in lines:
            key = str(line["side"])
            net, whole = (
                (f"{line[name]:.2f}", *compared(line[name], before.get((key, name)))[: len(extra)])
                for name in columns
            )
            busy, memory = f"{line['busy']:.0%}", str(line["peak_mb"])
            rows.append((key, *net, *whole, busy, memory, in_words(line["ms"])))
        titles = ("net: photos/s", *extra, "photos/s", *extra, "GPU busy", "peak MB")
        console.table(("side", *titles, "median ms by stage"), rows, to_stderr=as_json)


def in_words(ms: Mapping[str, float]) -> str:
    """Return the milliseconds of stages as text."""
    return ", ".join(f"{name} {value:.0f}" for name, value in ms.items())


@command.command("proposals", cls=GroupedCommand)
@option("--voc-root", required=True, type=PATH, help="VOC2012/ folder.")
@option("--split", default="val", help="List in ImageSets/Segmentation/.")
@option("--limit", type=click.IntRange(1), help="Use only the first N photos.")
@apply(*KEEP_OPTIONS, *SEARCH_OPTIONS, *MESSAGE_OPTIONS)
def proposals(
    voc_root: Path,
    split: str,
    limit: int | None,
    save: Path | None,
    against: Path | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the share of the objects in a list that proposals find, and the milliseconds per
    photo. An object is found if one of the first N boxes has an IoU of 0.5 (or 0.7) with its box.
    """
    check_kept(save, against, quiet, as_json)
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.diagnostics.kept_figures import Figures, compared, keep
    from deconvnet_cli.evaluation.recall import COUNTS, IOUS, recall
    from deconvnet_cli.reporting import console
    from deconvnet_cli.segmentation.loading import proposal_settings

    tree = open_tree(voc_root)
    names = tree.names(split)[:limit]
    now = Figures("proposals", {"split": split, "photos": len(names), **options})
    before = earlier(against, now, [("ms", "2000")])
    with console.progress(quiet) as progress:
        advance = console.bar(progress, "proposals", len(names))
        found = recall(tree, names, proposal_settings(**options), advance)
    recalls = {str(iou): {str(count): found.shares[iou, count] for count in COUNTS} for iou in IOUS}
    line = {
        "photos": found.photos,
        "objects": found.objects,
        "recall": recalls,
        "ms": {"first 50": round(found.ms[50], 1), "proposals": round(found.ms[2000], 1)},
    }
    keep(save, now, [line])
    if not quiet:
        extra = ("before", "ratio") if against else ()
        rows = []
        for count in map(str, COUNTS):
            cells = [count]
            for iou, shares in recalls.items():
                cells += [f"{shares[count]:.3f}"]
                cells += compared(shares[count], before.get((iou, count)), 3)[: len(extra)]
            rows.append(cells)
        titles = [title for iou in IOUS for title in (f"IoU {iou}", *extra)]
        console.table(("boxes", *titles), rows, to_stderr=as_json)
        text = f"{counted(found.objects, 'object')} in {counted(found.photos, 'photo')}"
        for searched, ms in found.ms.items():
            text += f", {ms:.0f} ms a photo for {searched} boxes"
            was, ratio = compared(ms, before.get(("ms", str(searched))), 0)
            text += f" ({was} before, ratio {ratio})" if was else ""
        console.result(text, to_stderr=as_json)
    if as_json:
        console.json_line(line)
