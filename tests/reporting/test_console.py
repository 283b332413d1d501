"""Tables on terminals of any width, and where there is none: whole, whatever is in them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from deconvnet_cli.reporting import console as report
from deconvnet_cli.reporting.numerals import effort

COLUMNS = ("name", "mIoU", "95 %", "pixel", "from")
ROWS = [
    ("DeconvNet + CRF", "0.7398", "0.668-0.792", "0.9542", "all of the photos, and none else"),
    ("[b]other", "", "0.661-0.788", "0.9514", ""),
]


def shown(monkeypatch: pytest.MonkeyPatch, width: int, *, terminal: bool) -> list[str]:
    """The lines of the table."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False
    )
    monkeypatch.setattr(report, "console", console)
    report.table(COLUMNS, ROWS, numbers=True, to_stderr=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 72, 80, 200])
def test_nothing_is_cut_off_on_a_terminal(monkeypatch, width):
    lines = shown(monkeypatch, width, terminal=True)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).split()
    for cell in (cell for row in ROWS for cell in row[:4] if cell):
        for word in cell.split():
            assert any(word in said for said in words), word
    assert [word for word in ROWS[0][4].split() if word not in words] == []
    assert (len(lines) == 3) == (width >= 80)


def test_numbers_stand_under_each_other(monkeypatch):
    head, first, second = shown(monkeypatch, 200, terminal=True)
    for column, value in (("pixel", "0.9542"), ("95 %", "0.668-0.792")):
        assert head.index(column) + len(column) == first.index(value) + len(value)
    assert second.index("0.9514") == first.index("0.9542")


def test_a_row_is_a_line_where_no_terminal_is(monkeypatch):
    lines = shown(monkeypatch, 40, terminal=False)
    assert [line.split()[0] for line in lines] == ["name", "DeconvNet", "[b]other"]
    assert ROWS[0][4] in lines[1]


def test_results_in_a_pipe_are_whole_lines_in_its_encoding(monkeypatch):
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", pipe)
    report.table(("name", "text"), [("na\u00efve", "x" * 300), ("b", "\x1b[31m")])
    report.result("[b]\u00e9 " + "y" * 300)
    lines = pipe.buffer.getvalue().decode("ascii").splitlines()
    assert [line.split() for line in lines] == [
        ["name", "text"], ["na\\xefve", "x" * 300], ["b", "\\x1b[31m"], ["[b]\\xe9", "y" * 300],
    ]  # fmt: skip


def test_one_box_is_no_boxes() -> None:
    ms = {"net": 900.0, "labels": 130.0}
    said = [effort({"proposals": count, "ms": ms}) for count in (0, 1, 2)]
    assert said == ["0 boxes, 1.0 s", "1 box, 1.0 s", "2 boxes, 1.0 s"]
