"""All that a person or a program reads: rich on standard error, JSON lines on standard output."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import progress as bars
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deconvnet_cli.errors import OutputError, printable

if TYPE_CHECKING:
    from PIL import Image

    from deconvnet_cli.segmentation.segment import Segmentation

console = Console(stderr=True, highlight=False)
UNFOLDED = 10_000  # columns: wider than any table here
FOLDED = 20  # columns: the last column of a table is never folded to less


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
    from deconvnet_cli.segmentation.summary import summarise

    named = {"image": image, "output": "-" if target is None else str(target)}
    return {**named, **summarise(result, classes)}


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
        from deconvnet_cli.reporting.preview import about
        from deconvnet_cli.reporting.terminal import screen

        shown = screen(console.file, console.encoding, console.width, wanted, os.environ)
        console.file.write(about(shown, line, classes, photo, result.labels))
        console.file.flush()
        return
    shares = ", ".join(f"{name} {share:.0%}" for name, share in line["classes"].items())
    effort = f"{line['proposals']} boxes, {sum(line['ms'].values()) / 1000:.1f} s"
    say(f"{line['image']} -> {line['output']}: {shares} ({effort})")


def problems(lines: Sequence[str]) -> None:
    """What is wrong with each of many files, a line each."""
    for line in lines:
        say(f"deconvnet: {line}")


def batch_summary(output: Path, made: int, skipped: int, left: int) -> None:
    """How many label PNGs were made, were there already, and are still to be made."""
    rest = f", {left} left" if left else ""
    say(f"{output}: {made} made, {skipped} there already{rest}")


def batch_failures(failures: list[str]) -> None:
    """The photos that failed, a line each."""
    say(f"deconvnet: {len(failures)} failed:")
    for line in failures:
        say(f"  {line}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = False) -> None:
    """A plain table on standard error, a line a row where that is no terminal.

    A terminal that is too narrow for it gets a paragraph a row. The last column may be folded.

    Args:
        numbers: all but the first column have numbers, which stand on the right.
    """
    columns = [printable(column) for column in columns]
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    least = sum(widths[:-1]) + min(widths[-1], FOLDED) + 2 * len(widths)
    if console.is_terminal and least > console.width:
        for first, *others in rows:
            pairs = zip(columns[1:], others, strict=True)
            parts = "; ".join(f"{name} {cell}" for name, cell in pairs if cell)
            console.print(Text(first))
            console.print(Padding(Text(parts), (0, 0, 0, 2)))
        return
    grid = Table(box=None)
    for number, column in enumerate(columns):
        # A name that is cut off cannot be looked up.
        side: Literal["left", "right"] = "right" if numbers and number else "left"
        last = number == len(columns) - 1
        grid.add_column(Text(column), justify=side, overflow="fold", no_wrap=not last)
    for row in rows:
        grid.add_row(*map(Text, row))
    # Rich takes 80 columns for what is no terminal, and would fold rows that a program reads.
    wide = Console(file=console.file, width=UNFOLDED, highlight=False)
    (console if console.is_terminal else wide).print(grid)
