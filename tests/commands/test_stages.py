"""What a terminal shows while a photo is worked on, and that all files are named."""

from __future__ import annotations

import os
import pty
import re
import time
from pathlib import Path

import pytest
from helpers import warm_python
from helpers.command_line import run_cli
from helpers.photos import pieces

from deconvnet_cli.segmentation.segment import infer, label_photo
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.files import load

PATIENCE = 120.0  # seconds
ESCAPES = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]")
# The command, with a net that takes longer to load than the line takes to be drawn anew.
PROGRAM = """
import time
from deconvnet_cli.segmentation import loading
load_system = loading.load_system
def slowly(*arguments, **options):
    time.sleep(0.3)
    return load_system(*arguments, **options)
loading.load_system = slowly
from deconvnet_cli.cli import main
main()
"""


def on_terminal(*arguments: object) -> list[str]:
    """Run the command on a pseudo-terminal; what it writes, in pieces, without escapes."""
    inner, outer = pty.openpty()
    process = warm_python.start(
        ["-c", PROGRAM, *arguments],
        stdin=outer,
        stderr=outer,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "NO_COLOR": "1"},
    )
    os.close(outer)
    found = []
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            data = os.read(inner, 1 << 16)
        except OSError:  # the other side is closed
            break
        found.append(ESCAPES.sub("", data.decode(errors="replace")))
    assert process.wait(PATIENCE) == 0, found
    os.close(inner)
    return found


@pytest.fixture
def photo(tmp_path) -> Path:
    pieces((120, 90))[0].save(tmp_path / "a.jpg")
    return tmp_path / "a.jpg"


def test_a_terminal_shows_the_stages_of_a_photo(photo, quick, tmp_path):
    target = tmp_path / "a.png"
    shown = "".join(on_terminal("segment", photo, "-o", target, "--preview", "none", *quick))
    assert shown.index("loading the net") < shown.index(f"labels: {target}")
    assert "0:00:0" in shown
    quiet = on_terminal("segment", photo, "-o", target, "--quiet", *quick)
    assert "".join(quiet) == ""


def test_a_terminal_shows_the_stages_of_explain_and_its_files(photo, quick, tmp_path):
    out = tmp_path / "out"
    shown = "".join(on_terminal("explain", photo, "-o", out, *quick))
    assert "loading the net" in shown and "activations" in shown
    assert f"labels: {out / 'labels.png'}" in shown and f"also: {out / 'index.html'}" in shown
    for file in out.iterdir():
        assert str(out / file.name) in re.sub(r"\s+", "", shown).replace("also:", " "), file


def test_other_streams_show_no_stages(photo, quick, tmp_path):
    for command in ("segment", "explain"):
        result = run_cli(command, photo, "-o", f"{tmp_path}/{command}/", *quick)
        assert result.exit_code == 0
        assert "loading" not in result.stderr and "\x1b" not in result.stderr
        for file in (tmp_path / command).iterdir():
            assert str(file) in result.stderr


def test_the_stages_come_in_order_and_count_the_crops(lively_weights):
    told: list[tuple[str, int, int]] = []
    system = alone(load(str(lively_weights)))
    picture = pieces((120, 90))[1]

    def on_step(*step):
        told.append(step)

    inferred = infer(picture, system, SegmentSettings(4, batch_size=2), on_step=on_step)
    label_photo(inferred, picture.size, system.ensemble, CrfSettings(iterations=1), on_step)
    count = inferred.proposals
    crops = [("crops", number, count) for number in range(count + 1)]
    others = [("merging", 0, 0), ("CRF", 0, 0), ("labels", 0, 0)]
    assert told == [("boxes", 0, 0), *crops, *others]
    silent = infer(picture, system, SegmentSettings(4, batch_size=2))
    assert (silent.maps.deconvnet == inferred.maps.deconvnet).all()


def test_each_kind_of_file_is_named(photo, quick, tmp_path):
    """Of all options that write files, each in a run of its own."""
    kinds = (
        ("--overlay",), ("--cutout",), ("--mask", "person"), ("--save-scores",),
        ("--format", "npy"), ("--format", "cvat"), ("--format", "none", "--cutout"),
        *(("--polygons", kind) for kind in ("geojson", "coco", "coco-polygons", "labelme", "yolo")),
    )  # fmt: skip
    for number, options in enumerate(kinds):
        out = tmp_path / str(number)
        result = run_cli("segment", photo, "-o", f"{out}/", *options, *quick)
        assert result.exit_code == 0, result.output
        files = [path for path in out.rglob("*") if path.is_file()]
        assert files and all(str(path) in result.stderr for path in files), (options, files)
