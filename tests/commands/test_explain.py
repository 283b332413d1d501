"""``deconvnet explain`` as a user meets it: labels as ``segment``'s, files, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.command_line import one_error_line
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.outputs.palettes import colours_of


@pytest.fixture(scope="module")
def cat(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "cat.png"
    read_photo(data / "chelsea.jpg").resize((150, 100)).save(path)
    return path


def explained_files(deconvnet: Any, photo: Path, out: Path, *options: object) -> dict[str, Any]:
    result = deconvnet("explain", photo, "-o", out, "--json", "--quiet", *options)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    line: dict[str, Any] = json.loads(result.stdout)
    assert sorted(line["files"]) == sorted(path.name for path in out.iterdir())
    return line


@pytest.mark.parametrize("crf", [(), ("--crf",)])
@pytest.mark.parametrize("net", [(), ("--net", "edeconvnet")])
def test_labels_are_those_of_segment(deconvnet, cat, both, tmp_path, crf, net):
    options = (*(both if net else (*both[:4], *both[6:])), *net, *crf)
    target = tmp_path / "segment.png"
    assert deconvnet("segment", cat, "-o", target, *options).exit_code == 0
    line = explained_files(deconvnet, cat, tmp_path / "out", *options)
    assert (tmp_path / "out" / "labels.png").read_bytes() == target.read_bytes()
    # The film of the growing map ends with these labels, in the colours of overlays.
    with Image.open(target) as labels, Image.open(tmp_path / "out" / "progress.gif") as film:
        film.seek(film.n_frames - 1)
        expected = colours_of("safe", CLASSES)[np.array(labels)]
        assert np.array_equal(np.array(film.convert("RGB")), expected)
    assert line["proposals"] == 4
    assert 1 <= line["box"]["number"] <= 4


def test_classes_are_those_that_segment_names(deconvnet, cat, lively_weights, tmp_path):
    """Classes of specks alone are in the labels, and neither in the summary nor on the page."""
    options = ("--weights", lively_weights, "--proposals", 3, "--precision", "fp32")
    target = tmp_path / "segment.png"
    theirs = deconvnet("segment", cat, "-o", target, "--json", "--quiet", *options)
    classes = json.loads(theirs.stdout)["classes"]
    line = explained_files(deconvnet, cat, tmp_path / "out", *options)
    assert line["classes"] == classes
    with Image.open(target) as labels:
        assert 1 < len(classes) < len(np.unique(np.array(labels)))
    page = (tmp_path / "out" / "index.html").read_text()
    shares = (f"{name} {100 * share:.1f} %" for name, share in classes.items())
    assert f"{', '.join(shares)}." in page


def test_a_large_photo_is_labelled_in_its_own_size(deconvnet, tiny_weights, data, tmp_path):
    source, target = tmp_path / "large.png", tmp_path / "segment.png"
    with Image.open(data / "chelsea.jpg") as photo:
        photo.resize((1100, 90)).save(source)
    options = ("--weights", tiny_weights, "--proposals", 2, "--crf")
    assert deconvnet("segment", source, "-o", target, *options).exit_code == 0
    explained_files(deconvnet, source, tmp_path / "out", *options)
    assert (tmp_path / "out" / "labels.png").read_bytes() == target.read_bytes()


def test_the_shipped_net_explains_a_cat(deconvnet, data, tmp_path):
    line = explained_files(deconvnet, data / "chelsea.jpg", tmp_path / "out", "--proposals", 3)
    assert line["explained"] == "cat"
    assert line["box"]["number"] in (2, 3) and line["box"]["pixels"] > 0


def test_what_cannot_be_explained(deconvnet, data, tiny_weights, tiny_fcn, tmp_path):
    source = data / "chelsea.jpg"
    for options in (("--net", "fcn8s", "--fcn-weights", tiny_fcn), ("--weights", tiny_fcn)):
        result = deconvnet("explain", source, "-o", tmp_path / "out", *options)
        one_error_line(result, 2, "neither boxes nor unpooling", "--net deconvnet")
    wrong = ("--weights", tiny_weights, "--class", "unicorn")
    result = deconvnet("explain", source, "-o", tmp_path / "out", *wrong)
    one_error_line(result, 2, "--class: no class is called 'unicorn'", "aeroplane")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("x")
    one_error_line(deconvnet("explain", source, "-o", tmp_path / "file"), 2, "not a folder")
    one_error_line(deconvnet("explain", source, "-o", "-"), 2, "not a folder")


def test_the_photo_is_not_overwritten(deconvnet, tiny_weights, tmp_path):
    source = tmp_path / "labels.png"
    Image.radial_gradient("L").resize((60, 40)).save(source)
    before = source.read_bytes()
    result = deconvnet("explain", source, "-o", tmp_path, "--weights", tiny_weights)
    one_error_line(result, 2, "labels.png", "the photo itself")
    assert source.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_standard_input_and_one_pixel(deconvnet, tiny_weights, data, tmp_path):
    result = deconvnet(
        "explain", "-", "-o", tmp_path / "a", "--weights", tiny_weights, "--proposals", 2,
        stdin=(data / "chelsea.jpg").read_bytes(),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Why standard input got its labels" in (tmp_path / "a" / "index.html").read_text()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    dot = explained_files(
        deconvnet, tmp_path / "dot.png", tmp_path / "b", "--weights", tiny_weights
    )
    assert dot["proposals"] == 1


def test_a_class_that_the_photo_does_not_have_is_said_to_be_absent(
    deconvnet, cat, lively_weights, tmp_path
):
    options = ("--weights", lively_weights, "--proposals", 3, "--precision", "fp32")
    deconvnet("segment", cat, "-o", tmp_path / "cat.png", *options)
    with Image.open(tmp_path / "cat.png") as image:
        there = np.unique(np.array(image)).tolist()
    absent = next(name for label, name in enumerate(CLASSES) if label not in there)
    for name in (absent, CLASSES[there[-1]]):
        result = deconvnet("explain", cat, "-o", tmp_path / "out", "--class", name, *options)
        page = (tmp_path / "out" / "index.html").read_text()
        assert (f"cat.png: no {name} found" in result.stderr) == (name == absent)
        assert ("no pixel of the photo is labelled so" in page) == (name == absent)
        assert ("pixels, as " in page) == (name != absent)
