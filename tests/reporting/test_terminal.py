"""The command line on a real pseudo-terminal, narrow, in colours or without, and into pipes."""

from __future__ import annotations

import json
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import warm_python
from PIL import Image

pty, fcntl, termios = map(pytest.importorskip, ("pty", "fcntl", "termios"))  # of Unix

from deconvnet_cli.reporting.terminal import cell_pixels  # noqa: E402

pytestmark = pytest.mark.slow  # the first of these tests waits for three processes

COLUMNS = 40
# Several command lines in one process: it begins only once.
DRIVER = """
import importlib, os, sys
from deconvnet_cli.reporting import console
from deconvnet_cli.cli import cli
from deconvnet_cli.runtime.worker_process import prepare_workers
prepare_workers("deconvnet_cli.batch.preload")  # before this process has any thread
for number, (settings, *arguments) in enumerate({runs!r}):
    os.environ.update(settings)
    importlib.reload(console)  # its console reads the environment once
    sys.stderr.write(f"run {{number}}\\n")
    sys.stderr.flush()
    cli(arguments, standalone_mode=False)
    for name in settings:
        del os.environ[name]
"""
ESCAPES = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")
COLOURS = re.compile(r"\x1b\[[\d;]*(?:[34][0-9])[\d;]*m")


@dataclass
class Terminal:
    """A process on a pseudo-terminal, and what it writes there."""

    process: warm_python.WarmProcess
    master: int

    def runs(self) -> list[str]:
        """What each of its command lines wrote, once all have ended well."""
        text = all_of(self.master)
        assert self.process.wait() == 0, text
        return re.split(r"run \d+\r\n", text)[1:]


def all_of(number: int) -> str:
    """Read a terminal or a pipe until nobody writes there any more."""
    written = b""
    while True:
        try:
            part = os.read(number, 1 << 16)
        except OSError:  # how Linux says so of a terminal
            break
        if not part:
            break
        written += part
    os.close(number)
    return written.decode()


def start(folder: Path, runs: list[list[object]], **environment: str) -> Terminal:
    """Command lines, each after a dict of its own variables, on a terminal of 40 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, COLUMNS, 0, 0))
    process = warm_python.start(
        ["-c", DRIVER.format(runs=runs)], cwd=folder, env=variables(environment), stdin=slave,
        stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    return Terminal(process, master)


def variables(more: dict[str, str]) -> dict[str, str]:
    """This environment without what it says of a terminal."""
    terminal = ("TERM", "COLOR", "NO_COLOR", "TMUX", "KITTY", "LC_", "LANG", "PYTHONIO", "COLUMNS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(terminal)}
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def written(tmp_path_factory, lively_weights, data):
    """What all of them wrote: two terminals and a pair of pipes, at the same time."""
    folder = tmp_path_factory.mktemp("terminal")
    with Image.open(data / "astronaut.jpg") as photo:
        for name in ("a", "b", "c"):
            photo.resize((120, 90)).save(folder / f"{name}.jpg")
    (folder / "photos").mkdir()
    for name in ("a", "b", "c"):
        (folder / "photos" / f"{name}.jpg").write_bytes((folder / f"{name}.jpg").read_bytes())
    quick = ["--weights", str(lively_weights), "--proposals", "3", "--precision", "fp32"]
    segment = ["segment", "a.jpg", "b.jpg", "-o", "out/", *quick]

    def batch(output: str) -> list[str]:
        return ["batch", "photos", "-o", output, "--workers", "1", *quick]

    true = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    colour = start(
        folder,
        [
            [{}, *segment],
            [{"NO_COLOR": "1"}, *segment],
            [{"KITTY_WINDOW_ID": "1"}, *segment, "--json"],
            [{"KITTY_WINDOW_ID": "1"}, *segment, "--quiet"],
            [{"FORCE_COLOR": "1"}, *batch("colour")],
            [{"NO_COLOR": "1"}, *batch("plain")],
        ],
        LC_ALL="C.UTF-8",
        **true,
    )
    ascii_only = start(
        folder, [[{}, *segment], [{}, *batch("ascii")]], LC_ALL="C", PYTHONIOENCODING="ascii",
        **true,
    )  # fmt: skip
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    runs = [
        [{}, *segment, "--json", "--quiet"],
        [{}, *batch("piped"), "--json", "--quiet"],
        [{}, *segment, "--quiet"],
        [{"KITTY_WINDOW_ID": "1", "FORCE_COLOR": "1"}, *segment, "--preview", "kitty"],
    ]
    pipes = warm_python.start(
        ["-c", DRIVER.format(runs=runs)], cwd=folder, env=variables(true), stdout=out_end,
        stderr=err_end,
    )  # fmt: skip
    os.close(out_end)
    os.close(err_end)
    with ThreadPoolExecutor() as readers:  # a terminal that nobody reads holds its process up
        texts = readers.map(Terminal.runs, (colour, ascii_only))
        stdout, stderr = readers.map(all_of, (out, err))
        found = dict(zip(("colour", "ascii"), texts, strict=True))
    assert pipes.wait() == 0, stderr
    return found | {"stdout": [stdout], "stderr": re.split(r"run \d+\n", stderr)[1:]}


def visible(text: str) -> list[str]:
    """Lines as a reader has them in the end, without colours."""
    return [
        line.split("\r")[-1] for line in ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    ]


def test_a_table_and_half_blocks(written):
    lines = visible(written["colour"][0])
    assert [line for line in lines if line.endswith(".jpg")] == ["a.jpg", "b.jpg"]
    start = lines.index("a.jpg")
    drawn = [line for line in lines[start : lines.index("b.jpg")] if "▀" in line]
    assert len(drawn) == 7  # 19 columns of a photo of 4 : 3 are 14.25 halves high
    assert {len(line) for line in drawn} == {39}
    assert "class" in lines[start + 8] and "confidence" in lines[start + 8]
    assert any("labels: out/a.png" in line for line in lines)
    assert any(re.fullmatch(r"3 boxes, \d+\.\d s", line) for line in lines)
    assert "\x1b[48;2;" in written["colour"][0]


@pytest.mark.parametrize("which", ["colour", "ascii"])
def test_nothing_is_wider_than_the_terminal(written, which):
    for text in written[which]:
        for line in re.split(r"[\r\n]+", ESCAPES.sub("", re.sub(r"\{.*\}", "", text))):
            assert len(line) <= COLUMNS, line


def test_without_colour(written):
    for text in (written["colour"][1], written["colour"][5]):
        assert not COLOURS.search(text)
        assert "▀" not in text
    assert COLOURS.search(written["colour"][0]) and COLOURS.search(written["colour"][4])
    lines = visible(written["colour"][1])
    assert "labels: out/b.png" in lines and not any(line.startswith(" ") for line in lines)


def test_json_on_a_terminal_has_no_picture(written):
    assert "\x1b_G" not in written["colour"][2]
    lines = [line for line in visible(written["colour"][2]) if line.startswith("{")]
    assert [json.loads(line)["image"] for line in lines] == ["a.jpg", "b.jpg"]


def test_quiet_on_a_terminal_writes_nothing(written):
    assert written["colour"][3] == ""


def test_ascii(written):
    """Nothing but ASCII, and no escapes of what is not in their place."""
    for text in written["ascii"]:
        assert text.isascii()
        assert "\\u" not in text and "\\N" not in text
    lines = visible(written["ascii"][0])
    assert any("confidence" in line for line in lines) and "labels: out/a.png" in lines
    assert re.search(r"batch -+", ESCAPES.sub("", written["ascii"][1]))


@pytest.mark.parametrize("which, number", [("colour", 4), ("colour", 5), ("ascii", 1)])
def test_progress_says_pace_and_time(written, which, number):
    lines = visible(written[which][number])
    (last,) = (line for line in lines if line.startswith("batch"))
    assert re.search(r" 3/3 \d+\.\d\d/s 0:00:\d\d$", last), last
    assert lines[-2].endswith("3 made, 0 there already")


def test_pipes_get_json_lines_and_nothing_else(written):
    lines = [json.loads(line) for line in written["stdout"][0].splitlines()]
    names = [Path(line["image"]).name for line in lines]
    assert names == ["a.jpg", "b.jpg", "a.jpg", "b.jpg", "c.jpg"]
    for line in lines:
        assert set(line["confidence"]) == set(line["classes"])
        assert all(0 < value <= 1 for value in line["confidence"].values())
    assert written["stderr"][:3] == ["", "", ""]


def test_a_pipe_gets_a_line_a_photo(written):
    """What a script may read; no picture even if one is asked for, and colours forced."""
    lines = written["stderr"][3].splitlines()
    assert len(lines) == 2
    for name, line in zip("ab", lines, strict=True):
        start = re.escape(f"{name}.jpg -> out/{name}.png: ")
        assert re.fullmatch(start + r"\w+ \d+%(, \w+ (\d+|<1)%)* \(3 boxes, \d+\.\d s\)", line), (
            line
        )


def test_the_size_of_a_cell():
    master, slave = pty.openpty()
    try:
        for size, cell in (((24, 80, 800, 480), (10, 20)), ((24, 80, 0, 0), (8, 16))):
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size))
            assert cell_pixels(slave) == cell
    finally:
        os.close(master)
        os.close(slave)
    with open(os.devnull) as nothing:
        assert cell_pixels(nothing.fileno()) == (8, 16)
