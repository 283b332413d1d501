"""Every command in the documentation runs; those that cannot run here at least exist."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
from helpers.clips import write_clip
from helpers.exports import coco_export, cvat_export, grey_export
from helpers.paths import ROOT, TESTS
from helpers.warm_command import warm_command
from PIL import Image

from deconvnet_cli.cli import cli
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.storage.hashing import file_sha256
from deconvnet_cli.weights.files import load, store
from deconvnet_cli.weights.shipped import registry

PAGES = sorted((*(ROOT / "docs").glob("*.md"), ROOT / "README.md"))
# "setup" and "test" are the commands that .ci/run takes from the README.
BLOCK = re.compile(
    r"(?:<!-- (?P<why>not run: [^>]+|setup|test) -->\n)?```sh\n(?P<text>.*?)```", re.DOTALL
)


# Of runs that take minutes, and of what tests of ``bench`` and ``train`` have as well.
SHORTER = {
    "--side 320 --count 2": "--side 320 --count 2 --workers 1",
    "--crops 4800": "--crops 4 --batch-size 2 --size 64 --set val_boxes=1 --set statistics=1",
    '--set "val_boxes = 1"': "--set val_boxes=1 --set statistics=1",
}


def blocks(page: Path) -> list[tuple[str | None, str]]:
    """The shell commands of a page, each block with why it is not run, if it is not."""
    text = page.read_text(encoding="utf-8")
    return [(found["why"], found["text"]) for found in BLOCK.finditer(text)]


def commands(text: str) -> list[list[str]]:
    """The arguments of every call of deconvnet in a block."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [found[found.index("deconvnet") + 1 :] for found in words if "deconvnet" in found]


def parse(arguments: list[str]) -> None:
    """Raise click's UsageError unless there are such commands and options."""
    for stop, word in enumerate(arguments):
        if word in ("|", ">", "&&", "<"):
            arguments = arguments[:stop]
            break
    command: click.Command = cli
    context = click.Context(cli, info_name="deconvnet")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(context, arguments[0])
        assert found is not None, f"no command {arguments[0]}"
        command, arguments = found, arguments[1:]
        context = click.Context(command, parent=context)
    if not {"--help", "-h", "--version"} & set(arguments):
        command = copy.copy(command)  # files are not there: only names count
        command.params = [copy.copy(parameter) for parameter in command.params]
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                parameter.type = click.Path()
        command.make_parser(context).parse_args(args=list(arguments))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page):
    for _, text in blocks(page):
        for arguments in commands(text):
            parse(arguments)


def test_no_line_installs_from_an_index_that_lacks_the_package():
    files = (*PAGES, *(ROOT / "deconvnet_cli").rglob("*.py"))
    wrong = re.compile(r"pip install (-\S+ )*[\"']?deconvnet\b(?!-)")
    found = [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))]
    assert found == ["install.md"], "only to say that it finds nothing"


def test_a_command_that_does_not_exist_is_found():
    with pytest.raises(click.UsageError):
        parse(["segment", "--no-such-option", "a.jpg"])
    with pytest.raises(AssertionError):
        parse(["no-such-command"])


@pytest.fixture(scope="session")
def quick_weights(tmp_path_factory) -> Path:
    """A folder with another ``deconvnet_weights``: the shipped nets with few and small crops."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "deconvnet_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    entries = {}
    for name in registry():
        net, card = (weights := load(name)).net, weights.card
        card = replace(card, proposals=min(card.proposals, 3))
        if net_spec(name).whole_photos:
            small = {"size": 64, "whole": 128, "further": ()}
            small["coarse"] = (96,) if card.input.coarse else ()
            card = replace(card, input=replace(card.input, **small))
        else:  # it takes no smaller crops, so it is narrow
            net = build_net(name, narrow := {"width": 1 / 32, "fc": 16}).eval()
            card = replace(card, settings=narrow)
        file = package / f"{name}.safetensors"
        store(file, net, card)
        entries[name] = {"file": file.name, "sha256": file_sha256(file)}
    (package / "registry.json").write_text(json.dumps(entries))
    return folder


@pytest.fixture(scope="session")
def place(tmp_path_factory, voc) -> Path:
    """A folder with what the pages name: photo.jpg, clip.mp4, photos/, VOC2012/ with two photos."""
    place = tmp_path_factory.mktemp("docs")
    with Image.open(ROOT / "tests" / "data" / "chelsea.jpg") as photo:
        small = photo.resize((150, 100))
    small.save(place / "photo.jpg")
    (place / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        small.crop((0, 0, 120, 90)).save(place / "photos" / name)
    shutil.copytree(voc, place / "VOC2012", ignore=shutil.ignore_patterns("p[23].*"))
    lists = place / "VOC2012" / "ImageSets" / "Segmentation"
    shutil.copy(lists / "first.txt", lists / "val.txt")
    coco_export(place / "export")
    painted = cvat_export(place / "painted")
    (painted / "SegmentationClass").rename(painted / "masks")
    (painted / "JPEGImages").rename(painted / "photos")
    (painted / "labelmap.txt").rename(painted / "colours.txt")
    (grey_export(place / "grey").parent / "names.txt").write_text("shape\n")
    write_clip(place / "clip.mp4", [small.crop((0, 0, 120, 90))] * 3)
    return place


@pytest.fixture(scope="session")
def program(tmp_path_factory) -> Iterator[Path]:
    """The command ``deconvnet``, which begins quickly."""
    program = tmp_path_factory.mktemp("bin") / "deconvnet"
    with warm_command(program, environment(ROOT, TESTS, program=program)):
        yield program


def environment(*paths: Path, program: Path) -> dict[str, str]:
    """Return the variables of this process with the program first and these module folders."""
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(map(str, paths))}


@pytest.mark.slow
@pytest.mark.parametrize("page", [
    pytest.param(page, id=page.name, marks=pytest.mark.xdist_group(f"run {page.name}"))
    for page in PAGES
    if page.name != "onnx.md"  # exporting/test_onnx.py runs its commands
])  # fmt: skip
def test_commands_run(page, place, program, quick_weights):
    """The commands of the README are run as they are, with the weights that ship."""
    paths = (ROOT, TESTS) if page.name == "README.md" else (quick_weights, ROOT, TESTS)
    variables = environment(*paths, program=program)
    for why, text in blocks(page):
        if why is not None:
            continue
        for long, short in SHORTER.items():
            text = text.replace(long, short)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=place, env=variables, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
