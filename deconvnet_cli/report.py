"""All that a person or a program reads: rich on standard error, JSON lines on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import progress as bars
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deconvnet_cli.errors import OutputError, printable

if TYPE_CHECKING:
    from PIL import Image

    from deconvnet_cli.bootstrap import Comparison
    from deconvnet_cli.evaluation import Result
    from deconvnet_cli.segmenter import Segmentation

console = Console(stderr=True, highlight=False)
UNFOLDED = 10_000  # columns: wider than any table here


class PaceColumn(bars.ProgressColumn):
    """Photos (or steps) a second in this run, and the time left; at the end the time it took.

    It is the mean from the start: several photos at a time end together, and of a short while that
    says little.
    """

    def render(self, task: bars.Task) -> Text:
        """``1.04/s 0:03:47``; what an earlier run did, that this one goes on from, is left out."""
        known = task.fields
        begun = known.setdefault("begun", task.completed)
        if task.completed != known.setdefault("seen", begun):
            known["seen"], known["took"] = task.completed, task.elapsed
        if not known.get("took"):
            return Text("")
        pace = (known["seen"] - begun) / known["took"]
        left = (task.remaining or 0) / pace
        seconds = round(known["took"] if task.finished else left)
        return Text(f"{pace:.2f}/s {timedelta(seconds=seconds)}")


def progress(quiet: bool = False) -> bars.Progress:
    """A progress bar with photos a second and the time left, on standard error."""
    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        PaceColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )


def say(text: str) -> None:
    """One line on standard error, as it is: not folded, and nothing in it taken for markup."""
    # soft_wrap: a line that a program may cut apart must not be folded at the terminal's width.
    console.print(Text(printable(text)), soft_wrap=True)


def failure(error: Exception) -> None:
    """One line about what went wrong with one of many."""
    say(f"deconvnet: {error}")


def standard_output(data: bytes) -> None:
    """Write to standard output, at once.

    Raises:
        OutputError: it cannot be written, as on a full disk.
        BrokenPipeError: nobody reads any more.
    """
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # Python would fail once more when it flushes the rest at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from error


def json_line(fields: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own, on standard output."""
    standard_output(json.dumps(fields).encode() + b"\n")


def image_line(
    image: str, target: Path | None, result: Segmentation, classes: tuple[str, ...]
) -> dict[str, Any]:
    """What is said about one segmented photo."""
    from deconvnet_cli.label_map import class_shares

    shares = class_shares(result.labels, classes)
    sure = {classes[label]: round(mean, 4) for label, mean in result.confidence.items()}
    return {
        "image": image,
        "output": "-" if target is None else str(target),
        "classes": shares,
        "confidence": {name: sure[name] for name in shares if name in sure},
        "proposals": result.proposals,
        "ms": result.ms,
    }


def segmented(
    line: Mapping[str, Any],
    classes: Sequence[str],
    photo: Image.Image,
    result: Segmentation,
    wanted: str,
) -> None:
    """The summary of one photo: where its labels are, what is on it, how long it took.

    On a terminal a picture, if it is ``wanted`` (see ``terminal.choose``), and a table.
    """
    if console.file.isatty():
        from deconvnet_cli.preview import about
        from deconvnet_cli.terminal import screen

        shown = screen(console.file, console.encoding, console.width, wanted, os.environ)
        console.file.write(about(shown, line, classes, photo, result.labels))
        console.file.flush()
        return
    shares = ", ".join(f"{name} {share:.0%}" for name, share in line["classes"].items())
    effort = f"{line['proposals']} boxes, {sum(line['ms'].values()) / 1000:.1f} s"
    say(f"{line['image']} -> {line['output']}: {shares} ({effort})")


def results(
    rows: Mapping[str, Result],
    answers: Sequence[tuple[str, str, float, Comparison]],
    *,
    quiet: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """What an evaluation says: a table for people, and JSON or CSV for programs."""
    from deconvnet_cli.evaluation import csv_rows, summary
    from deconvnet_cli.scoreboard import REPORTED
    from deconvnet_cli.voc import CLASSES

    lines = [
        {"row": name, **summary(result, CLASSES), "reported": REPORTED.get(name)}
        for name, result in rows.items()
    ]
    if not quiet:
        class_table(rows, CLASSES)
        row_table(rows, REPORTED)
        for answer in answers:
            say(comparison_text(*answer))
    if as_json and len(lines) == 1:
        json_line(lines[0])
    elif as_json:
        json_line({"rows": lines, "comparisons": [comparison_line(*found) for found in answers]})
    if as_csv:
        standard_output(csv_rows(lines).encode())


def class_table(rows: Mapping[str, Result], classes: Sequence[str]) -> None:
    """IoU by class, a column a row of the table; of a single row Boundary IoU as well."""
    table = Table(box=None)
    table.add_column("class")
    columns = {name: result.scores.iou for name, result in rows.items()}
    if len(columns) == 1:
        columns = {"IoU": next(iter(columns.values()))}
        columns["Boundary IoU"] = next(iter(rows.values())).boundary_iou
    for name in columns:
        table.add_column(Text(printable(name)), justify="right", overflow="fold")
    for label, name in enumerate(classes):
        values = (column[label] for column in columns.values())
        table.add_row(name, *("absent" if value is None else f"{value:.3f}" for value in values))
    console.print(table)


def row_table(rows: Mapping[str, Result], reported: Mapping[str, float | None]) -> None:
    """A line a row: mean IoU with its interval and the other means."""
    table = Table(box=None)
    table.add_column("", no_wrap=True)
    known = any(reported.get(name) is not None for name in rows)
    for name in ("mIoU", "95 %", "pixel", "mean", "fwIoU", "bIoU", *(["paper*"] if known else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for name, result in rows.items():
        found = result.scores
        low, high = result.interval
        papers = reported.get(name)
        cells = ["" if papers is None else f"{papers:.1f}"] if known else []
        table.add_row(
            Text(printable(name)),
            f"{found.mean_iou:.4f}",
            f"{low:.3f}-{high:.3f}",
            f"{found.pixel_accuracy:.4f}",
            f"{found.mean_accuracy:.4f}",
            f"{found.frequency_weighted_iou:.4f}",
            f"{result.mean_boundary_iou:.4f}",
            *cells,
        )
    console.print(table)
    last = list(rows.values())[-1]
    text = (
        f"{last.images} images; means over {last.scores.averaged} of {len(last.scores.iou)} "
        "classes (absent ones left out)"
    )
    text += "\npixel, mean: accuracy; fwIoU: frequency-weighted IoU; bIoU: Boundary IoU"
    if known:
        text += "\n* per cent, reported for the paper's own weights on VOC 2012 test: not ours"
    console.print(text)


def comparison_line(first: str, second: str, found: float, by: Comparison) -> dict[str, Any]:
    """A comparison of two runs as plain values."""
    return {
        "first": first,
        "second": second,
        "difference": found,
        "interval": [by.low, by.high],
        "better": by.above,
    }


def comparison_text(first: str, second: str, found: float, by: Comparison) -> str:
    """A comparison of two runs as a sentence."""
    return (
        f"{first} - {second}: {found:+.4f} mean IoU, 95 % interval {by.low:+.4f} to "
        f"{by.high:+.4f}; better in {by.above:.0%} of the paired resamples"
    )


def comparison(
    first: str, second: str, found: float, by: Comparison, *, quiet: bool, as_json: bool
) -> None:
    """One comparison, for people and for programs."""
    if not quiet:
        say(comparison_text(first, second, found, by))
    if as_json:
        json_line(comparison_line(first, second, found, by))


def sweep(ious: Mapping[str, float], *, quiet: bool, as_json: bool) -> None:
    """Mean IoU by settings of the CRF, the best first."""
    order = sorted(ious, key=lambda name: -ious[name])
    if not quiet:
        table(("CRF", "mean IoU"), [(name, f"{ious[name]:.4f}") for name in order])
    if as_json:
        for name in order:
            json_line({"crf": name, "mean_iou": ious[name]})


def problems(lines: Sequence[str]) -> None:
    """What is wrong with each of many files, a line each."""
    for line in lines:
        say(f"deconvnet: {line}")


def note(text: str) -> None:
    """Something a person should know."""
    say(text)


def batch_summary(output: Path, made: int, skipped: int, left: int) -> None:
    """How many label PNGs were made, were there already, and are still to be made."""
    rest = f", {left} left" if left else ""
    say(f"{output}: {made} made, {skipped} there already{rest}")


def batch_failures(failures: list[str]) -> None:
    """The photos that failed, a line each."""
    say(f"deconvnet: {len(failures)} failed:")
    for line in failures:
        say(f"  {line}")


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table on standard error, a line a row where that is no terminal."""
    grid = Table(box=None)
    for column in columns:
        grid.add_column(column, overflow="fold")  # a name that is cut off cannot be looked up
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    # Rich takes 80 columns for what is no terminal, and would fold rows that a program reads.
    (console if console.is_terminal else Console(stderr=True, width=UNFOLDED)).print(grid)
