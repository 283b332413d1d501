"""``deconvnet evaluate``: scores of weights, or of any tool's label PNGs, on a VOC tree."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.evaluate_sources import (
    checked,
    from_folder,
    from_nets,
    from_store,
)
from deconvnet_cli.commands.shared.options import (
    JSON,
    MAX_PIXELS,
    QUIET,
    SEGMENTING,
    SHARD,
    WORKERS,
    apply,
    refuse_given,
    refuse_overwriting,
)
from deconvnet_cli.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from deconvnet_cli.commands.shared.evaluate_sources import Predict
    from deconvnet_cli.data.voc import VocTree
    from deconvnet_cli.evaluation.scoreboard import Scoreboard
    from deconvnet_cli.evaluation.tally import Tally

# Parameters that mean something with --merge and --compare; those of running nets; and those of
# what is made of their maps.
READING = frozenset(["files", "merge", "compare", "output", "as_csv", "quiet", "as_json"])
OF_MAPS = frozenset(["system_name", "ensemble", "share", "crf", "crf_backend"])
OF_A_RUN = frozenset(
    [
        "weights",
        "fcn_weights",
        "device",
        "precision",
        "batch_size",
        "rule",
        "proposals",
        "candidates",
        "edges",
    ]
)


@click.command("evaluate")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE...]")
@click.option("--voc-root", type=click.Path(path_type=Path), help="VOC2012/ folder.")
@click.option("--split", default="val", show_default=True, help="List of images.")
@click.option("--limit", type=click.IntRange(1), help="Score the first so many images only.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Score the label PNGs in this folder instead of running a net.",
)
@click.option("--allow-missing", is_flag=True, help="Leave out images without a label PNG.")
@click.option(
    "--scores",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Take scores that `batch --save-scores` kept in this folder instead of running a net.",
)
@click.option("--table", is_flag=True, help="All five rows of the paper's table, in one pass.")
@click.option("--merge", is_flag=True, help="Add up the counts in FILEs: shards of one list.")
@click.option(
    "--compare", is_flag=True, help="Is the run in the first FILE better than the second?"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the counts (JSON), for --merge and --compare.",
)
@click.option(
    "--report", "page", type=click.Path(path_type=Path, dir_okay=False), help="HTML page to write."
)
@click.option("--csv", "as_csv", is_flag=True, help="The rows as CSV on standard output.")
@apply(SHARD, WORKERS, MAX_PIXELS, *SEGMENTING, QUIET, JSON)
@click.pass_context
def command(
    context: click.Context,
    /,
    files: tuple[Path, ...],
    voc_root: Path | None,
    split: str,
    limit: int | None,
    shard: str | None,
    predictions: Path | None,
    allow_missing: bool,
    scores: Path | None,
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
    **options: Any,
) -> None:
    """Score on the images of a VOC list.

    Mean IoU with its 95 % interval over images, IoU by class, frequency-weighted IoU, pixel and
    mean accuracy, Boundary IoU. Void pixels (255) count nowhere; a class that is in no mask and
    in no prediction is left out of the mean. With --merge or --compare, FILEs that -o wrote are
    read instead.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv both want standard output; give one of them")
    if merge or compare:
        check_reading(context, merge, compare, output, as_csv)
    else:
        check_running(
            context, files, predictions, allow_missing, scores, table, options["system_name"]
        )
    check_outputs(files, output, page)

    from deconvnet_cli.commands.shared import evaluation_tables
    from deconvnet_cli.evaluation.scoreboard import comparisons, write_tallies

    if compare:
        evaluation_tables.comparison(*compared(files), quiet=quiet, as_json=as_json)
        return
    about: dict[str, Any] = {}
    if merge:
        tallies = merged_files(files)
        about = {"merged": [str(path) for path in files]}
    else:
        tree, names = listed(voc_root, split, limit, shard)
        if predictions is None:
            from deconvnet_cli.runtime.devices import at_a_time, one_core_a_photo

            one_core_a_photo()
            workers = at_a_time(workers)
        if predictions is not None:
            names = checked(predictions, tree, names, allow_missing)
            predict = from_folder(predictions)
            about = {"predictions": {"folder": str(predictions)}}
        elif scores is not None:
            predict, about = from_store(scores, tree, names, table, max_pixels, options)
        else:
            predict, about = from_nets(tree, table, max_pixels, options)
        about = {"list": {"split": split, "images": len(names), "shard": shard or "all"}, **about}
        board = run(tree, names, predict, workers or 1, quiet)
        tallies = board.tallies
    if output is not None:
        write_tallies(output, tallies, about)
    results = {name: tally.result() for name, tally in tallies.items()}
    answers = comparisons(tallies)
    evaluation_tables.results(results, answers, quiet=quiet, as_json=as_json, as_csv=as_csv)
    if page is not None:
        write_page(page, tree, board, about, max_pixels)


def check_reading(
    context: click.Context, merge: bool, compare: bool, output: Path | None, as_csv: bool
) -> None:
    """Raise UsageError unless the options fit a command that reads FILEs."""
    if merge and compare:
        raise UsageError("--merge and --compare are two things to do; give one of them")
    others = context.params.keys() - READING
    refuse_given(context, others, "--merge and --compare read files of counts")
    if compare and (output is not None or as_csv):
        raise UsageError("--compare writes no counts; leave out -o and --csv")


def check_running(
    context: click.Context,
    files: tuple[Path, ...],
    predictions: Path | None,
    allow_missing: bool,
    scores: Path | None,
    table: bool,
    system_name: str | None,
) -> None:
    """Raise UsageError unless the options fit a run."""
    if files:
        raise UsageError(f"{files[0]}: files are for --merge and --compare")
    if predictions is not None and scores is not None:
        raise UsageError("--predictions and --scores are two sources; give one of them")
    if allow_missing and predictions is None:
        raise UsageError("--allow-missing goes with --predictions")
    if table and predictions is not None:
        raise UsageError("--table needs scores, which label PNGs are not; see --scores")
    if scores is not None:
        refuse_given(context, OF_A_RUN, "--scores are of nets that were run before")
    if predictions is not None:
        refuse_given(context, OF_A_RUN | OF_MAPS, "--predictions are scored as they are")
    if table and system_name not in (None, "edeconvnet"):
        raise UsageError(f"--table has rows of all nets; leave out --net {system_name}")


def check_outputs(files: tuple[Path, ...], output: Path | None, page: Path | None) -> None:
    """Raise UsageError, before hours of work, if a file cannot be written where it is wanted."""
    for target in (output, page):
        if target is not None and not target.absolute().parent.is_dir():
            raise UsageError(f"{target.parent}: no such folder; make it, or give another output")
    if output is not None:
        if page is not None and realpath(output) == realpath(page):
            raise UsageError(f"{output}: -o and --report are two files; give them two names")
        for file in files:
            refuse_overwriting(file, output, "one of the files to add up")


def listed(
    root: Path | None, split: str, limit: int | None, shard: str | None
) -> tuple[VocTree, list[str]]:
    """The tree and the names of the images to score."""
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.runtime.shards import parse_shard, shard_of

    if root is None:
        raise UsageError("give --voc-root DIR, or files with --merge or --compare")
    tree = open_tree(root)
    names = tree.names(split)
    if len(set(names)) < len(names):
        raise DatasetError(f"{split}: an image is named twice in this list; name it once")
    return tree, shard_of(names[:limit], None if shard is None else parse_shard(shard))


def run(tree: VocTree, names: list[str], predict: Predict, workers: int, quiet: bool) -> Scoreboard:
    """Score all, with a progress bar."""
    from deconvnet_cli.evaluation.scoreboard import count
    from deconvnet_cli.reporting import console

    with console.progress(quiet) as progress:
        return count(tree, progress.track(names, description="evaluate"), predict, workers)


def write_page(
    path: Path, tree: VocTree, board: Scoreboard, about: dict[str, Any], max_pixels: int
) -> None:
    """The HTML report of a run."""
    from deconvnet_cli.evaluation.page import page_of
    from deconvnet_cli.storage.files import write_whole

    # Names of files may be of bytes that are not UTF-8.
    write_whole(path, page_of(tree, board, about, max_pixels).encode("utf-8", "backslashreplace"))


def merged_files(files: tuple[Path, ...]) -> dict[str, Tally]:
    """The counts of all files, added up."""
    from deconvnet_cli.evaluation.scoreboard import merged, read_tallies

    if not files:
        raise UsageError("--merge needs files that `evaluate -o FILE` wrote")
    if len({realpath(path) for path in files}) < len(files):
        raise UsageError("--merge: a file is named twice; its images would count twice")
    return merged({path: read_tallies(path) for path in files})


def compared(files: tuple[Path, ...]) -> tuple[str, str, float, Any]:
    """What is compared, the difference in mean IoU, and its bootstrap."""
    from deconvnet_cli.evaluation.scoreboard import difference, read_tallies

    if len(files) != 2:
        raise UsageError("--compare needs two files that `evaluate -o FILE` wrote")
    # Of a table the last row counts, which is its fullest method.
    (first, one), (second, other) = (list(read_tallies(path).items())[-1] for path in files)
    names = f"{files[0].name} ({first})", f"{files[1].name} ({second})"
    return (*names, *difference(one, other))
