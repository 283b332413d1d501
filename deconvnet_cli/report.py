"""All that a person or a program reads: rich on standard error, JSON lines on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from deconvnet_cli.errors import OutputError

if TYPE_CHECKING:
    from deconvnet_cli.metrics import Scores
    from deconvnet_cli.segmenter import Segmentation

console = Console(stderr=True, highlight=False)
UNFOLDED = 10_000  # columns: wider than any table here


def progress(quiet: bool = False) -> Progress:
    """A progress bar with an estimate of the time left, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )


def failure(error: Exception) -> None:
    """One line about what went wrong with one of many."""
    click.echo(f"deconvnet: {error}", err=True)


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
    from deconvnet_cli.segmenter import class_shares

    return {
        "image": image,
        "output": "-" if target is None else str(target),
        "classes": class_shares(result.labels, classes),
        "proposals": result.proposals,
        "ms": result.ms,
    }


def segmented(line: Mapping[str, Any]) -> None:
    """The summary of one photo: where its labels are, what is on it, how long it took."""
    classes = ", ".join(f"{name} {share:.0%}" for name, share in line["classes"].items())
    effort = f"{line['proposals']} boxes, {sum(line['ms'].values()) / 1000:.1f} s"
    # soft_wrap: a line that a program may cut apart must not be folded at the terminal's width.
    console.print(
        f"{line['image']} -> {line['output']}: {classes} ({effort})",
        markup=False,
        soft_wrap=True,
    )


def scores_table(scores: Scores, classes: tuple[str, ...], images: int) -> None:
    """IoU by class, mean IoU with the number of classes it averages, pixel accuracy."""
    table = Table("class", "IoU", box=None)
    for name, value in zip(classes, scores.iou, strict=True):
        table.add_row(name, "absent" if value is None else f"{value:.3f}")
    console.print(table)
    console.print(
        f"mean IoU {scores.mean_iou:.4f} over {scores.averaged} of {len(classes)} classes "
        f"(absent ones left out), pixel accuracy {scores.pixel_accuracy:.4f}, {images} images"
    )


def batch_summary(output: Path, made: int, skipped: int) -> None:
    """How many label PNGs were made and how many were there already."""
    console.print(f"{output}: {made} made, {skipped} there already", markup=False, soft_wrap=True)


def batch_failures(failures: list[str]) -> None:
    """The photos that failed, a line each."""
    click.echo(f"deconvnet: {len(failures)} failed:", err=True)
    for line in failures:
        click.echo(f"  {line}", err=True)


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """A plain table on standard error, a line a row where that is no terminal."""
    grid = Table(box=None)
    for column in columns:
        grid.add_column(column, overflow="fold")  # a name that is cut off cannot be looked up
    for row in rows:
        grid.add_row(*row)
    # Rich takes 80 columns for what is no terminal, and would fold rows that a program reads.
    (console if console.is_terminal else Console(stderr=True, width=UNFOLDED)).print(grid)
