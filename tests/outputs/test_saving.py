"""``SegmentationResult.save`` writes the files of ``deconvnet segment``, and refuses as it does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deconvnet_cli import SegmentationResult, Segmenter
from deconvnet_cli.errors import UsageError

SYSTEM = {"proposals": 3, "precision": "fp32"}
# Arguments of save, and the options of the command line that say the same.
SAME = {
    "plain.png": ({}, ()),
    "array.npy": ({"clean_labels": True}, ("--clean-labels",)),
    "all.png": (
        {"overlay": True, "cutout": True, "mask": ["person", "cat"], "polygons": "geojson"},
        ("--overlay", "--cutout", "--mask", "person,cat", "--polygons", "geojson"),
    ),
    "every.png": (
        {"overlay": True, "polygons": "coco", "min_area": 0},
        ("--overlay", "--polygons", "coco", "--min-area", 0),
    ),
    "few.png": (
        {"polygons": "labelme", "format": "none", "min_area": 60, "simplify": 2},
        ("--polygons", "labelme", "--format", "none", "--min-area", 60, "--simplify", 2),
    ),
    "yolo/": ({"polygons": "yolo"}, ("--polygons", "yolo")),
    "cvat/": ({"format": "cvat"}, ("--format", "cvat")),
}


@pytest.fixture(scope="module")
def result(lively_weights, cat) -> SegmentationResult:
    return Segmenter.load(lively_weights, **SYSTEM).segment(cat)


def contents(folder: Path) -> dict[str, bytes]:
    """The content of all files in a folder by their paths."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", SAME)
def test_the_files_are_those_of_the_command_line(
    deconvnet, lively_weights, cat, result, tmp_path, name
):
    arguments, options = SAME[name]
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for folder in (theirs, ours):
        folder.mkdir()
    system = ("--weights", lively_weights, "--proposals", 3, "--precision", "fp32")
    done = deconvnet("segment", cat, "-o", f"{theirs}/{name}", *options, *system)
    assert done.exit_code == 0, done.output
    written = result.save(f"{ours}/{name}", **arguments)
    assert contents(ours) == contents(theirs)
    assert {str(path.relative_to(ours)) for path in written} == contents(ours).keys()


def test_masks_for_cvat_come_one_after_another(result, tmp_path):
    for name in ("a", "b"):
        SegmentationResult(**{**vars(result), "name": f"{name}.jpg"}).save(
            f"{tmp_path}/", format="cvat"
        )
    assert (tmp_path / "ImageSets/Segmentation/default.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("a.jpg", {}, r"a\.jpg: the labels are written as PNG; give a name that ends in \.png"),
        ("a.npy", {"format": "png"}, "its name says npy, but format='png' is given"),
        ("a.png", {"format": "none"}, "format='none' writes files beside the labels alone"),
        ("a.png", {"format": "cvat"}, "format='cvat' writes several files; give a folder: DIR/"),
        ("a.png", {"min_area": -3}, "^min_area=-3: must be a share of the photo"),
        ("a.png", {"min_area": "x"}, "^min_area='x': must be"),
        ("a.png", {"min_area": 1.5}, "^min_area=1.5: must be"),
        ("a.png", {"min_area": float("inf")}, "^min_area='inf': must be"),
        ("a.png", {"polygons": "yolo", "simplify": -1}, "^simplify=-1: must be a number"),
        ("a.png", {"overlay": True, "mask": ("hors",)}, "^mask: no class is called 'hors'"),
        ("a.png", {"overlay": True, "only": ("hors",)}, "^only: no class is called 'hors'"),
        (
            "a.png",
            {"cutout": True, "background": "light blue"},
            "^background='light blue': no colour",
        ),
    ],
)
def test_what_is_refused_leaves_no_file(result, tmp_path, name, arguments, words):
    with pytest.raises(UsageError, match=words):
        result.save(tmp_path / name, **arguments)
    assert not list(tmp_path.iterdir())


def test_the_photo_is_not_replaced(result, cat):
    before = cat.read_bytes()
    with pytest.raises(UsageError, match=r"cat\.png: is the photo itself; give another output$"):
        result.save(cat)
    assert cat.read_bytes() == before
    nameless = SegmentationResult(**{**vars(result), "name": "", "path": None})
    with pytest.raises(UsageError, match="the photo has no name; give a file"):
        nameless.save(cat.parent)


def test_areas_are_checked_everywhere(result):
    for call in (result.shares, result.overlay, result.cutout, result.geojson, result.coco):
        with pytest.raises(UsageError, match=r"^min_area=-3: must be a share"):
            call(min_area=-3)
    every, large = result.geojson(min_area=0), result.geojson(min_area=50)
    least = [min(each["properties"]["area"] for each in found["features"])
             for found in (every, large)]  # fmt: skip
    assert least[0] < 5 and least[1] >= 50
    assert np.array_equal(result.mask("cat"), result.labels == 8)


def test_an_empty_path_is_not_this_folder(result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"the path to save to is empty; give a file"):
        result.save("")
    assert not list(tmp_path.iterdir())
