"""``deconvnet evaluate``: scores of weights, or of any tool's label PNGs, on a VOC tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.options import JSON, QUIET, SEGMENTING, apply, prepare
from deconvnet_cli.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from deconvnet_cli.evaluation import Tally
    from deconvnet_cli.scoreboard import Labels, Scoreboard
    from deconvnet_cli.voc import VocTree

    Predict = Callable[[str, Labels], Mapping[str, Labels]]


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
@apply(*SEGMENTING, QUIET, JSON)
def command(
    files: tuple[Path, ...],
    voc_root: Path | None,
    split: str,
    limit: int | None,
    predictions: Path | None,
    allow_missing: bool,
    scores: Path | None,
    table: bool,
    merge: bool,
    compare: bool,
    output: Path | None,
    page: Path | None,
    as_csv: bool,
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
    if merge and compare:
        raise UsageError("--merge and --compare are two things to do; give one of them")
    if as_json and as_csv:
        raise UsageError("--json and --csv both want standard output; give one of them")
    if files and not (merge or compare):
        raise UsageError(f"{files[0]}: files are for --merge and --compare")
    if page and (merge or compare):
        raise UsageError("--report shows images, so it needs a run: --voc-root")

    from deconvnet_cli import report
    from deconvnet_cli.scoreboard import comparisons, write_tallies

    if compare:
        report.comparison(*compared(files), quiet=quiet, as_json=as_json)
        return
    about: dict[str, Any] = {}
    if merge:
        tallies = merged_files(files)
    else:
        tree, names = listed(voc_root, split, limit)
        if sum((predictions is not None, scores is not None)) == 2:
            raise UsageError("--predictions and --scores are two sources; give one of them")
        if allow_missing and predictions is None:
            raise UsageError("--allow-missing goes with --predictions")
        if predictions is not None:
            if table:
                raise UsageError("--table needs scores, which label PNGs are not; see --scores")
            names = checked(predictions, tree, names, allow_missing)
            predict = from_folder(predictions)
            about = {"predictions": {"folder": str(predictions)}}
        elif scores is not None:
            predict, about = from_store(scores, table, options)
        else:
            predict, about = from_nets(tree, table, options)
        about = {"list": {"split": split, "images": len(names)}, **about}
        board = run(tree, names, predict, quiet)
        tallies = board.tallies
        if page is not None:
            write_page(page, tree, board, about)
    if output is not None:
        write_tallies(output, tallies, about)
    results = {name: tally.result() for name, tally in tallies.items()}
    report.results(results, comparisons(tallies), quiet=quiet, as_json=as_json, as_csv=as_csv)


def listed(root: Path | None, split: str, limit: int | None) -> tuple[VocTree, list[str]]:
    """The tree and the names of the images to score."""
    from deconvnet_cli.voc import open_tree

    if root is None:
        raise UsageError("give --voc-root DIR, or files with --merge or --compare")
    tree = open_tree(root)
    names = tree.names(split)
    if len(set(names)) < len(names):
        raise DatasetError(f"{split}: an image is named twice in this list; name it once")
    return tree, names[:limit]


def checked(folder: Path, tree: VocTree, names: list[str], allow_missing: bool) -> list[str]:
    """The names whose label PNGs can be scored; all problems are said before it fails."""
    from deconvnet_cli import report
    from deconvnet_cli.predictions import problems_of

    problems = problems_of(folder, tree, names)
    lines = list(problems.wrong)
    remedy = ""
    if not allow_missing and problems.missing:
        lines += [f"{folder / name}.png: missing" for name in problems.missing]
        remedy = "; --allow-missing leaves out the missing ones"
    if len(lines) == 1:
        raise DatasetError(lines[0] + remedy)
    if lines:
        report.problems(lines)
        raise DatasetError(
            f"{folder}: {len(lines)} of {len(names)} label PNGs cannot be scored{remedy}"
        )
    left = [name for name in names if name not in set(problems.missing)]
    if not left:
        raise DatasetError(f"{folder}: has no label PNG of this list; they are called NAME.png")
    if problems.missing:
        report.note(f"{len(problems.missing)} of {len(names)} images are missing and left out")
    return left


def from_folder(folder: Path) -> Predict:
    """Label maps from the PNGs of a folder."""
    from deconvnet_cli.predictions import read_prediction

    return lambda name, truth: {"predictions": read_prediction(folder / f"{name}.png", truth)}


def from_nets(
    tree: VocTree, table: bool, options: dict[str, Any]
) -> tuple[Predict, dict[str, Any]]:
    """Label maps from running the nets, and what is to be said about them."""
    if table:
        options = {**options, "system": "edeconvnet", "crf": True}
    nets, settings = prepare(**options)

    from deconvnet_cli.images import read_photo
    from deconvnet_cli.scoreboard import TABLE
    from deconvnet_cli.segmenter import score_photo
    from deconvnet_cli.systems import describe
    from deconvnet_cli.table import label_rows, row_of

    rows = TABLE if table else (row_of(nets.system, crf=settings.crf),)

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        photo = read_photo(tree.image(name))
        scored = score_photo(photo, nets, settings)
        return label_rows(scored, rows, photo.width, photo.height, nets.ensemble)

    return predict, describe(nets, settings)


def from_store(
    folder: Path, table: bool, options: dict[str, Any]
) -> tuple[Predict, dict[str, Any]]:
    """Label maps from stored scores, without a net."""
    from deconvnet_cli.score_store import read_scores, scored_again
    from deconvnet_cli.scoreboard import TABLE
    from deconvnet_cli.table import label_rows, parts_there, row_of

    if table or options["crf"]:
        from deconvnet_cli.crf import require_pydensecrf

        require_pydensecrf()

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        path = folder / f"{name}.npz"
        stored = read_scores(path)
        system = options["system"] or parts_there(stored.maps)
        rows = TABLE if table else (row_of(system, crf=options["crf"]),)
        ensemble = stored.ensemble(options["ensemble"], options["share"])
        scored = scored_again(stored)
        return label_rows(scored, rows, stored.width, stored.height, ensemble, source=path)

    return predict, {"scores": {"folder": str(folder)}}


def run(tree: VocTree, names: list[str], predict: Predict, quiet: bool) -> Scoreboard:
    """Score all, with a progress bar."""
    from deconvnet_cli import report
    from deconvnet_cli.scoreboard import count

    with report.progress(quiet) as progress:
        return count(tree, progress.track(names, description="evaluate"), predict)


def write_page(path: Path, tree: VocTree, board: Scoreboard, about: dict[str, Any]) -> None:
    """The HTML report of a run."""
    from deconvnet_cli.evaluation_page import page_of
    from deconvnet_cli.images import write_whole

    write_whole(path, page_of(tree, board, about).encode())


def merged_files(files: tuple[Path, ...]) -> dict[str, Tally]:
    """The counts of all files, added up."""
    from deconvnet_cli.scoreboard import merged, read_tallies

    if not files:
        raise UsageError("--merge needs files that `evaluate -o FILE` wrote")
    if len({path.resolve() for path in files}) < len(files):
        raise UsageError("--merge: a file is named twice; its images would count twice")
    return merged({path: read_tallies(path) for path in files})


def compared(files: tuple[Path, ...]) -> tuple[str, str, float, Any]:
    """What is compared, the difference in mean IoU, and its bootstrap."""
    from deconvnet_cli.scoreboard import difference, read_tallies

    if len(files) != 2:
        raise UsageError("--compare needs two files that `evaluate -o FILE` wrote")
    # Of a table the last row counts, which is its fullest method.
    (first, one), (second, other) = (list(read_tallies(path).items())[-1] for path in files)
    names = f"{files[0].name} ({first})", f"{files[1].name} ({second})"
    return (*names, *difference(one, other))
