"""How a long run says how far it is where no terminal is, as in the log of a cron job."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.pace import LineProgress


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def log(monkeypatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(console, "console", Console(file=file, highlight=False))
    return file


def run(clock: Clock, steps: int, total: int | None, quiet: bool = False, **fields) -> None:
    """Run steps that take 20 seconds each, after ten that were done before."""
    with console.progress(quiet) as progress:
        progress.get_time, progress.told = clock, clock()
        task = progress.add_task("batch", total=total, completed=10)
        for _ in range(steps):
            clock.seconds += 20
            progress.update(task, advance=1, **fields)


def test_a_line_a_minute(log):
    run(Clock(), 7, 30)
    assert log.getvalue().splitlines() == [
        "batch: 13 of 30, 0.05/s 0:05:40 left",
        "batch: 16 of 30, 0.05/s 0:04:40 left",
    ]


def test_failures_and_no_total(log):
    run(Clock(), 3, None, failed=2)
    assert log.getvalue() == "batch: 13, 2 failed, 0.05/s\n"


def test_short_and_quiet_runs_print_nothing(log):
    run(Clock(), 2, 30)
    run(Clock(), 9, 30, quiet=True)
    assert log.getvalue() == ""


def test_all_bars_advance_so(log):
    clock = Clock()
    with console.progress() as progress:
        progress.get_time, progress.told = clock, clock()
        advance = console.bar(progress, "evaluate", 4)
        clock.seconds += 61
        advance()
    assert log.getvalue().startswith("evaluate: 1 of 4")


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "file, variables",
    [(io.StringIO(), {"FORCE_COLOR": "1"}), (Terminal(), {"TERM": "dumb"})],
    ids=["colours forced on a pipe", "a terminal without codes"],
)
def test_lines_where_no_bar_can_be_redrawn(monkeypatch, file, variables):
    monkeypatch.setattr(console, "console", Console(file=file, highlight=False, _environ=variables))
    assert isinstance(console.progress(), LineProgress)
    with console.stages() as on_step:
        on_step("reading")
    assert file.getvalue() == ""
