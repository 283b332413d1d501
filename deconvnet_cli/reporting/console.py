"""Print what people and programs read.

The result of a command goes to standard output: a table, a finding or JSON lines. Progress,
warnings and summaries go to standard error.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import progress as bars
from rich.cells import cell_len
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deconvnet_cli.errors import printable
from deconvnet_cli.reporting.numerals import effort
from deconvnet_cli.reporting.pace import LineProgress, PaceColumn

if TYPE_CHECKING:
    from PIL import Image

    from deconvnet_cli.segmentation.inference import OnStep
    from deconvnet_cli.segmentation.segment import Segmentation

console = Console(stderr=True, highlight=False)
results = Console(highlight=False)  # standard output
PIPE_WIDTH = 10_000  # columns: wider than any table here
NARROWEST = 20  # columns: the last column of a table is never folded to less


def progress(quiet: bool = False) -> bars.Progress:
    """Return a progress bar on standard error, with photos a second and the time left.

    Where standard error cannot redraw a bar, a plain line says the same now and then.
    """
    if not (quiet or _redraws()):
        return LineProgress(say)
    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        PaceColumn(),
        console=console,
        disable=quiet,
    )


def _redraws() -> bool:
    # Neither in a pipe on which FORCE_COLOR forces colours, nor with TERM=dumb.
    return console.file.isatty() and not console.is_dumb_terminal


def bar(display: bars.Progress, description: str, total: float | None) -> Callable[[], None]:
    """Begin a bar of a progress display, and return a function that advances it by one step."""
    return partial(display.advance, display.add_task(description, total=total))


@contextlib.contextmanager
def stages(quiet: bool = False, prefix: str = "") -> Iterator[OnStep]:
    """Yield a function that shows the stage of the work in one line on a terminal.

    The line begins with ``prefix``, has the seconds since the start, and is gone at the end. The
    function takes the stage, and how many of how many are done; a total of 0 leaves these out.
    """
    spinner = "dots" if console.encoding.lower().startswith("utf") else "line"  # in ASCII
    display = bars.Progress(
        bars.SpinnerColumn(spinner),
        bars.TextColumn("{task.description}", markup=False),
        bars.TimeElapsedColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,  # it may carry labels
        disable=quiet or not _redraws(),
    )
    with display:
        task = display.add_task(prefix)

        def on_step(stage: str, done: int = 0, total: int = 0) -> None:
            counted = f" {done} of {total}" if total else ""
            display.update(task, description=f"{prefix}{stage}{counted}")

        yield on_step


def bytes_progress() -> bars.Progress:
    """Return a progress bar on standard error for a download."""
    return bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=console,
        disable=not _redraws(),
        transient=True,
    )


def say(text: str) -> None:
    """Print one line on standard error, unfolded and without reading markup in it."""
    # soft_wrap: a line that a program may cut apart must not be folded at the terminal's width.
    console.print(Text(printable(text)), soft_wrap=True)


def several_files(paths: Sequence[Path], done: str) -> None:
    """Print the first and the last of some files, and how many were ``done``; nothing for none."""
    if paths:
        ends = dict.fromkeys((str(paths[0]), str(paths[-1])))
        say(f"{' to '.join(ends)}: {len(paths)} {done}")


def failure(error: Exception | str) -> None:
    """Print one line about an error that does not end the command."""
    say(f"deconvnet: {error}")


def standard_output(data: bytes) -> None:
    """Write to standard output and flush it.

    Raises:
        OutputError: Standard output is closed or cannot be written, as on a full disk.
        BrokenPipeError: The reader has gone.
    """
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def json_line(fields: Mapping[str, Any]) -> None:
    """Write one JSON object as a line on standard output."""
    standard_output(json.dumps(fields).encode() + b"\n")


def segmented(
    line: Mapping[str, Any],
    classes: Sequence[str],
    photo: Image.Image,
    result: Segmentation,
    wanted: str,
) -> None:
    """Print the summary of one photo: where its labels are, its classes, and the time it took.

    A terminal gets a table, and a picture of the kind that is ``wanted`` (see
    ``terminal.choose``).
    """
    if console.file.isatty():
        from deconvnet_cli.reporting.preview import about
        from deconvnet_cli.reporting.terminal import screen

        shown = screen(console.file, console.encoding, console.width, wanted, os.environ)
        console.file.write(about(shown, line, classes, photo, result.labels))
        console.file.flush()
        return
    from deconvnet_cli.outputs.legend import per_cent

    shares = ", ".join(f"{name} {per_cent(share)}" for name, share in line["classes"].items())
    files = ", ".join(filter(None, (line["output"], *line.get("beside", ()))))
    say(f"{line['image']} -> {files}: {shares} ({effort(line)})")


def batch_failures(failures: list[str]) -> None:
    """Print the photos that failed, one line each."""
    say(f"deconvnet: {len(failures)} failed:")
    for line in failures:
        say(f"  {line}")


def result(text: str, *, to_stderr: bool = False) -> None:
    """Print one line of a command's result, unfolded.

    It goes to standard output, or ``to_stderr`` where JSON or CSV is on standard output.
    """
    if to_stderr:
        say(text)
    else:
        _write_result(printable(text) + "\n")


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: bool = False,
    to_stderr: bool = False,
) -> None:
    """Print a plain table where :func:`result` prints.

    A pipe or a file gets one line per row, whole. A terminal that is too narrow gets a paragraph
    per row; there, the last column may be folded. With ``numbers`` all columns but the first are
    aligned on the right.
    """
    target = console if to_stderr else results
    columns = [printable(column) for column in columns]
    rows = [[printable(cell) for cell in row] for row in rows]
    content: Table | Group = _grid(columns, rows, numbers)
    if not target.is_terminal:
        # Rich assumes 80 columns here, and would fold rows that a program reads.
        target = Console(file=target.file, width=PIPE_WIDTH, highlight=False)
    widths = [max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)]
    if sum(widths[:-1]) + min(widths[-1], NARROWEST) + 2 * len(widths) > target.width:
        content = _paragraphs(columns, rows)
    if to_stderr:
        target.print(content)
        return
    with target.capture() as captured:
        target.print(content)
    _write_result(captured.get())


def _write_result(text: str) -> None:
    standard_output(text.encode(sys.stdout.encoding, "backslashreplace"))


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool) -> Table:
    grid = Table(box=None)
    for number, column in enumerate(columns):
        side: Literal["left", "right"] = "right" if numbers and number else "left"
        # Names must not be cut off, or nobody could look them up.
        last = number == len(columns) - 1
        grid.add_column(Text(column), justify=side, overflow="fold", no_wrap=not last)
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _paragraphs(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Group:
    parts: list[Text | Padding] = []
    for first, *others in rows:
        pairs = zip(columns[1:], others, strict=True)
        text = "; ".join(f"{name} {cell}" for name, cell in pairs if cell)
        parts += [Text(first), Padding(Text(text), (0, 0, 0, 2))]
    return Group(*parts)
