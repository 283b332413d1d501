"""`segment` and `batch` with files for other tools: which are written, named and equal."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers.photos import pixels
from helpers.small_batch import small_photos
from PIL import Image
from pycocotools.coco import COCO

from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.outputs.files import MIN_AREA, Outputs
from deconvnet_cli.outputs.specks import without_specks


@pytest.fixture
def photos(tmp_path) -> Path:
    """Three small photos, one of them in a folder of its own."""
    first, *_ = small_photos(tmp_path / "photos", 3)
    (first.parent / "deep").mkdir()
    first.rename(first.parent / "deep" / first.name)
    return tmp_path / "photos"


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_labels_change_only_by_clean_labels(deconvnet, photos, quick, tmp_path):
    photo = photos / "0001.jpg"
    more = ("--cutout", "--crop", "--mask", "cat", "--polygons", "labelme", "--min-area", "40")
    for name, options in (("a", ()), ("b", more), ("c", ("--clean-labels", "--min-area", "40"))):
        target = tmp_path / f"{name}.png"
        assert deconvnet("segment", photo, "-o", target, *options, *quick).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    labels, cleaned = pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png")
    assert np.array_equal(cleaned, without_specks(labels, 40))
    assert not np.array_equal(cleaned, labels)
    shapes = json.loads((tmp_path / "b.json").read_text())
    assert shapes["imagePath"] == "photos/0001.jpg"


def test_the_summary_has_what_is_large_enough_and_names_every_file(
    deconvnet, photos, quick, tmp_path
):
    photo, target = photos / "0001.jpg", tmp_path / "out" / "a.png"
    target.parent.mkdir()
    options = ("--overlay", "--mask", "cat", "--polygons", "yolo", "--min-area", "0.05", "--json")
    result = deconvnet("segment", photo, "-o", target, *options, *quick)
    line = json.loads(result.stdout)
    labels = without_specks(pixels(target), 0.05)
    assert sum(line["classes"].values()) == pytest.approx(1, abs=1e-3)
    assert len(line["classes"]) == len(np.unique(labels)) and min(line["classes"].values()) > 0.049
    for name in files_in(target.parent):
        assert str(target.parent / name) in result.stderr, name
    assert (target.parent / "data.yaml").is_file()


def test_only_the_cut_out(deconvnet, photos, quick, tmp_path):
    photo = photos / "0001.jpg"
    options = ("-o", f"{tmp_path}/out/", "--format", "none", "--cutout", "--background", "red")
    result = deconvnet("segment", photo, *options, "--json", *quick)
    assert result.exit_code == 0, result.output
    assert files_in(tmp_path / "out") == ["0001.cutout.png"]
    line = json.loads(result.stdout)
    assert line["output"] is None
    assert line["beside"] == [str(tmp_path / "out/0001.cutout.png")]
    with Image.open(tmp_path / "out/0001.cutout.png") as cut, Image.open(photo) as original:
        assert cut.mode == "RGB" and cut.size == original.size


def test_masks_for_cvat_are_imported_as_they_were(deconvnet, photos, quick, tmp_path):
    plain, out = tmp_path / "plain", tmp_path / "out"
    names = [photos / "0001.jpg", photos / "0002.jpg"]
    for options in (("-o", f"{plain}/"), ("-o", f"{out}/", "--format", "cvat")):
        assert deconvnet("segment", *names, *options, *quick).exit_code == 0
    masks = [f"SegmentationClass/{path.stem}.png" for path in names]
    assert files_in(out) == ["ImageSets/Segmentation/default.txt", *masks, "labelmap.txt"]
    export = open_export(out, photos=photos)
    assert export.kind == "CVAT's masks"
    for name in ("0001", "0002"):
        assert np.array_equal(export.read(name).mask, pixels(plain / f"{name}.png"))


def test_a_batch_has_one_coco_file_of_all(deconvnet, photos, quick, tmp_path):
    out = tmp_path / "out"
    options = ("-o", out, "--polygons", "coco", "--workers", 1, *quick)
    result = deconvnet("batch", photos, *options)
    assert result.exit_code == 0 and f"also: {out / 'coco.json'}" in result.stderr
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCO(str(out / "coco.json"))
    names = [image["file_name"] for image in found.imgs.values()]
    assert names == ["0001.jpg", "0002.jpg", "deep/0000.jpg"]
    export = open_export(out / "coco.json", photos=photos)
    assert list(export.names) == ["0000", "0001", "0002"]
    kinds = {category["name"]: category["id"] for category in found.cats.values()}
    table = np.array([kinds.get(name, 0) for name in export.classes], np.uint8)
    for name, path in (("0000", "deep/0000.png"), ("0001", "0001.png")):
        expected = without_specks(pixels(out / path), MIN_AREA)
        assert np.array_equal(table[export.read(name).mask], expected)
    before = (out / "coco.json").read_bytes()
    (out / "coco.json").unlink()
    assert "0 made" in deconvnet("batch", photos, *options).stderr
    assert (out / "coco.json").read_bytes() == before
    # A photo that somebody took out, with its files, is taken out here too.
    for path in (photos / "0002.jpg", out / "0002.png", out / "0002.coco.json"):
        path.unlink()
    result = deconvnet("batch", photos, *options)
    assert result.exit_code == 0
    assert "coco.json: without 0002.png, as it was removed" in result.stderr
    names = [image["file_name"] for image in json.loads((out / "coco.json").read_text())["images"]]
    assert names == ["0001.jpg", "deep/0000.jpg"]


def test_annotations_that_name_the_photo_follow_it(deconvnet, photos, quick, tmp_path, monkeypatch):
    options = ("-o", tmp_path / "out", "--polygons", "labelme", "--workers", 1, *quick)
    assert deconvnet("batch", photos, *options).exit_code == 0
    monkeypatch.chdir(tmp_path)  # the same photos by another path
    assert "0 to do" in deconvnet("batch", "photos", *options, "--dry-run").stderr
    photos.rename(tmp_path / "moved")
    result = deconvnet("batch", tmp_path / "moved", *options, "--dry-run")
    assert result.stdout.count("the photo moved") == 3  # what the run was asked for
    assert "the photo moved" not in result.stderr
    assert "3 made" in deconvnet("batch", tmp_path / "moved", *options).stderr
    shapes = json.loads((tmp_path / "out" / "0001.json").read_text())
    assert shapes["imagePath"] == "../moved/0001.jpg"


def test_shards_are_merged_with_their_files_of_all(deconvnet, photos, quick, tmp_path):
    parts = [tmp_path / "one", tmp_path / "two"]
    for number, part in enumerate(parts, 1):
        shard = ("--shard", f"{number}/2", "--format", "cvat", "--workers", 1)
        assert deconvnet("batch", photos, "-o", part, *shard, *quick).exit_code == 0
        assert not (part / "ImageSets").exists()
    out = tmp_path / "all"
    assert deconvnet("batch", "--merge", *parts, "-o", out).exit_code == 0
    listed = (out / "ImageSets/Segmentation/default.txt").read_text().split()
    assert listed == ["0001", "0002", "deep/0000"]
    assert (out / "labelmap.txt").read_bytes() == (parts[0] / "labelmap.txt").read_bytes()


def test_another_choice_makes_the_files_again(deconvnet, photos, quick, tmp_path):
    out = tmp_path / "out"
    options = ("-o", out, "--cutout", "--workers", 1, *quick)
    for more, made in (((), 3), ((), 0), (("--crop",), 3), (("--crop", "--min-area", "9"), 3)):
        result = deconvnet("batch", photos, *options, *more)
        assert f"{made} made" in result.stderr, (more, result.stderr)
    refused = deconvnet("batch", photos, *options, "--format", "none")
    assert refused.exit_code == 2 and "what is done" in refused.stderr


def test_files_of_earlier_versions_count_as_done():
    for outputs in (
        Outputs(),
        Outputs(min_area=MIN_AREA),
        Outputs(overlay=True, min_area=MIN_AREA),
    ):
        assert outputs.more() == {}
    assert Outputs(overlay=True, min_area=0.0).more() == {"min_area": 0.0}
    assert Outputs(polygons="coco-polygons", min_area=MIN_AREA).more() == {
        "polygons": "coco-polygons"
    }
