"""``deconvnet evaluate``: metrics of weights, or of label PNGs of any tool, on a VOC tree."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.evaluate_checks import (
    check_outputs,
    check_reading,
    check_running,
)
from deconvnet_cli.commands.shared.grouped_help import (
    GroupedCommand,
    argument,
    file_option,
    message_option,
    option,
)
from deconvnet_cli.commands.shared.option_types import EXISTING_FOLDER, PATH, NewFile
from deconvnet_cli.commands.shared.options import (
    MAX_PIXELS_OPTION,
    MESSAGE_OPTIONS,
    RGB_OPTION,
    SHARD_OPTION,
    WORKERS_OPTION,
    apply,
    check_backend,
    refuse_silence,
    segment_options,
)
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    from deconvnet_cli.segmentation.settings import SegmentOptions

counts_option = partial(option, group="Counts of earlier runs")


@click.command("evaluate", cls=GroupedCommand, common=("voc_root", "split", "table"))
@argument("files", nargs=-1, type=PATH, metavar="[FILE...]")
@option("--voc-root", type=PATH, help="VOC2012/ folder.")
@option("--split", default="val", metavar="NAME", help="List in ImageSets/Segmentation/.")
@option("--table", is_flag=True, help="Evaluate all five rows of the paper's table in one pass.")
@file_option(
    "--predictions",
    type=EXISTING_FOLDER,
    help="Evaluate the label PNGs in this folder instead of running a net.",
)
@file_option("--allow-missing", is_flag=True, help="Leave out photos without a label PNG.")
@file_option(
    "--scores",
    type=EXISTING_FOLDER,
    help="Evaluate the scores that `batch --save-scores` stored in this folder instead of running "
    "a net.",
)
@RGB_OPTION
@file_option("--limit", type=click.IntRange(1), help="Evaluate only the first N photos.")
@file_option(
    "-o",
    "--output",
    type=NewFile("json", "the counts are"),
    help="Write the counts to this JSON file, for --merge and --compare.",
)
@file_option(
    "--report",
    "page",
    type=NewFile("html", "the page is"),
    help="Write an HTML report to this file.",
)
@MAX_PIXELS_OPTION
@counts_option("--merge", is_flag=True, help="Add up the counts in FILEs, shards of one list.")
@counts_option(
    "--compare",
    is_flag=True,
    help="Compare the run in the first FILE with the run in the second, row by row.",
)
@apply(segment_options, WORKERS_OPTION, SHARD_OPTION)
@message_option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV instead of a table.")
@apply(*MESSAGE_OPTIONS)
def command(
    files: tuple[Path, ...],
    voc_root: Path | None,
    split: str,
    limit: int | None,
    shard: str | None,
    predictions: Path | None,
    allow_missing: bool,
    scores: Path | None,
    rgb: bool,
    table: bool,
    merge: bool,
    compare: bool,
    output: Path | None,
    page: Path | None,
    as_csv: bool,
    workers: int | None,
    max_pixels: int,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
) -> None:
    """Evaluate weights, or label PNGs of any tool, on the photos of a VOC list: mean IoU with its
    95 % interval over photos, IoU by class, frequency-weighted IoU, pixel and mean accuracy, and
    Boundary IoU. Void pixels (255) are ignored, and a class that is in no mask and in no prediction
    is left out of the mean. --merge and --compare read FILEs that -o wrote instead.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv both use standard output; give one of them")
    if merge or compare:
        check_reading(merge, compare, output, as_csv)
    else:
        check_running(files, predictions, allow_missing, scores, table, options.system_name)
        if not table:
            check_backend(options)
    kinds = "--json" if compare else "--json, --csv, -o or --report"
    refuse_silence(quiet, [as_json, as_csv, output, page], kinds)
    check_outputs(files, output, page)

    from deconvnet_cli.commands.shared import evaluation_tables
    from deconvnet_cli.commands.shared.evaluate_counts import compared, merged_files
    from deconvnet_cli.commands.shared.evaluate_sources import (
        from_files,
        from_nets,
        from_store,
        tree_and_names,
        usable_files,
    )
    from deconvnet_cli.data.mask_check import require_masks
    from deconvnet_cli.data.voc import CLASSES
    from deconvnet_cli.evaluation.counts import Counts, write_tallies
    from deconvnet_cli.evaluation.paired import comparisons
    from deconvnet_cli.evaluation.scoreboard import count
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.shards import parse_shard, shard_text

    if compare:
        evaluation_tables.compared(compared(files), quiet=quiet, as_json=as_json)
        return
    about: dict[str, Any] = {}
    if merge:
        tallies, classes, about = merged_files(files, quiet)
    else:
        part = None if shard is None else parse_shard(shard)
        tree, names = tree_and_names(voc_root, split, limit, part, rgb=rgb)
        classes = tree.classes
        if table and classes != CLASSES:
            raise UsageError(
                f"--table: the paper's rows are for VOC's classes, and {tree.root} has others; "
                "leave it out"
            )
        if predictions is not None:
            pngs = usable_files(predictions, tree, names, allow_missing)
            names, predict = list(pngs), from_files(pngs, tree)
            about = {"predictions": {"folder": str(predictions)}}
        else:
            from deconvnet_cli.runtime.devices import at_a_time, one_core_a_photo

            one_core_a_photo()
            workers = at_a_time(workers)
            with console.progress(quiet) as progress:
                # Hours of work follow, so wrong masks are named first.
                require_masks(tree, names, console.bar(progress, "reading masks", len(names)))
            if scores is not None:
                predict, about = from_store(scores, tree, names, table, max_pixels, options)
            else:
                predict, about = from_nets(tree, table, max_pixels, options)
        of_list = {"split": split, "images": len(names), "shard": shard_text(part)}
        about = {"list": of_list, **about}
        with console.progress(quiet) as progress:
            advance = console.bar(progress, "evaluate", len(names))
            board = count(tree, names, predict, workers or 1, advance)
        tallies = board.tallies
    if output is not None:
        write_tallies(output, Counts(tallies, classes, about))
    results = {name: tally.result() for name, tally in tallies.items()}
    answers = comparisons(tallies)
    evaluation_tables.results(
        results, answers, classes=classes, quiet=quiet, as_json=as_json, as_csv=as_csv
    )
    if page is not None:
        from deconvnet_cli.evaluation.page import page_of
        from deconvnet_cli.storage.files import write_whole

        # Names of files may have bytes that are not UTF-8.
        text = page_of(tree, board, about, max_pixels)
        write_whole(page, text.encode("utf-8", "backslashreplace"))
    for path, what in ((output, "the counts, for --merge and --compare"), (page, "the report")):
        if path is not None and not quiet:
            console.say(f"{path}: {what}")
