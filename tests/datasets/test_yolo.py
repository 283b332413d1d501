"""YOLO's segmentation texts made into VOC trees."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.exports import names_in, read_labels, truth, yolo_export
from PIL import Image

from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.outputs.interchange import yolo_yaml


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return yolo_export(tmp_path / "yolo")


def test_splits_lists_of_names_and_photos_without_a_text(deconvnet, source, tmp_path):
    """As Roboflow writes them: names as a list, and texts about the export at the root."""
    (source / "data.yaml").write_text("train: ../train/images\nnames: ['disc', 'square']\n")
    (source / "README.roboflow.txt").write_text("exported on a Monday")
    (source / "train/labels/two.txt").unlink()
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0 and "5 photos from YOLO's texts, 0 left out" in result.stderr
    assert "no photo is called so: README.roboflow.txt" in result.stderr
    assert names_in(tmp_path / "tree", "train") == ["one", "three", "two"]
    assert names_in(tmp_path / "tree", "val") == ["five", "four"]
    assert not read_labels(tmp_path / "tree/SegmentationClass/two.png").any()
    objects = read_labels(tmp_path / "tree/SegmentationObject/one.png")
    np.testing.assert_array_equal(objects, truth(0))


@pytest.mark.parametrize("start", ["./", "../datasets/yolo/", "C:\\data\\"])
def test_lists_of_paths_are_splits(deconvnet, source, tmp_path, start):
    """As data.yaml may name them: ``train: train.txt``."""
    for split in ("train", "valid"):
        for kind in ("images", "labels"):
            (source / kind).mkdir(exist_ok=True)
            for path in (source / split / kind).iterdir():
                path.rename(source / kind / path.name)
        shutil.rmtree(source / split)
    lists = {"train2017": ("four", "two"), "val_list": ("five", "one")}
    for name, photos in lists.items():
        (source / f"{name}.txt").write_text("".join(f"{start}images/{p}.jpg\n" for p in photos))
    (source / "test notes.txt").write_bytes("größe\n/\n".encode("latin-1"))
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert names_in(tmp_path / "tree", "train") == ["four", "two"]
    assert names_in(tmp_path / "tree", "val") == ["five", "one"]
    assert "no photo is called so: test notes.txt" in result.stderr
    assert "in no list of the export: three" in result.stderr


def test_a_folder_of_a_split_may_have_a_year(source):
    for old, new in (("train", "train2017"), ("valid", "val2017")):
        (source / old).rename(source / new)
    splits = open_export(source).splits
    assert sorted(splits["train"]) == ["one", "three", "two"] and len(splits["val"]) == 2


def test_a_yaml_file_elsewhere_is_told_to_be_moved(deconvnet, source, tmp_path):
    (tmp_path / "configuration").mkdir()
    moved = (source / "data.yaml").rename(tmp_path / "configuration/data.yaml")
    result = deconvnet("dataset", "import", moved, "-o", tmp_path / "tree")
    one_error_line(result, 1, str(moved), "no texts", "move it to the folder that has images")


def test_what_segment_writes_comes_back(source, tmp_path):
    """Up to a pixel at the outlines, which Pillow draws too."""
    (tmp_path / "out").mkdir()
    labels, names = np.zeros((60, 80), np.uint8), ("background", "leaf", "stone")
    labels[10:40, 5:30], labels[25:50, 45:70], labels[5:15, 50:60] = 1, 2, 1
    chosen = Outputs(overlay=True, polygons="yolo")
    write_outputs(Image.new("RGB", (80, 60)), labels, tmp_path / "out/one.png", chosen, names)
    (tmp_path / "out/data.yaml").write_text(yolo_yaml(names))
    for other in ("two", "three"):
        (source / f"train/images/{other}.jpg").unlink()
    with pytest.raises(DatasetError, match="give --photos DIR"):
        open_export(tmp_path / "out")
    export = open_export(tmp_path / "out", photos=source / "train/images")
    assert export.classes == names and export.names == ("one",)
    mask = export.read("one").mask
    inside = cv2.erode(labels, np.ones((3, 3))) == cv2.dilate(labels, np.ones((3, 3)))
    np.testing.assert_array_equal(mask[inside], labels[inside])


@pytest.mark.parametrize(("text", "words"), [
    ("0 0.5 0.5 0.2 0.2", ("line 1 is a box", "export segmentation, not detection")),
    ("0 0.1 0.1 0.5 0.1 0.5", ("line 1 has 6 numbers", "no polygon")),
    ("\n7 0.1 0.1 0.5 0.1 0.5 0.5", ("line 2 has class 7, which has no name",)),
    ("disc 0.1 0.1 0.5 0.1 0.5 0.5", ("not a text of YOLO's", "disc")),
    ("0 8 6 40 6 40 30", ("line 1 has points outside the photo",)),  # pixels, not shares
    ("0 0.1 0.1 nan 0.1 0.5 0.5", ("line 1 has points outside the photo",)),
])  # fmt: skip
def test_a_text_that_is_wrong_is_named_and_the_others_are_taken(
    deconvnet, source, tmp_path, text, words
):
    path = source / "train/labels/two.txt"
    path.write_text(text)
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree", "--quiet")
    one_error_line(result, 1, str(path), *words)
    assert sorted(names_in(tmp_path / "tree", "train")) == ["one", "three"]


def test_files_as_editors_and_people_write_them(source):
    """A byte order mark before the text, and names that YAML takes for other values."""
    text = source / "train/labels/one.txt"
    text.write_bytes(b"\xef\xbb\xbf" + text.read_bytes())
    (source / "data.yaml").write_text("names:\n  0: no\n  1: 007\n")
    export = open_export(source)
    assert export.classes == ("background", "no", "007")
    np.testing.assert_array_equal(export.read("one").objects, truth(0))


def test_classes_in_a_text_beside_images_and_labels(deconvnet, source, tmp_path):
    """As Label Studio writes them."""
    (source / "data.yaml").unlink()
    (source / "classes.txt").write_text("disc\nsquare\n")
    for kind in ("images", "labels"):
        (source / "train" / kind).rename(source / kind)
    shutil.rmtree(source / "valid")
    for path in (source, source / "classes.txt"):
        result = deconvnet("dataset", "import", path, "-o", tmp_path / f"tree-{path.name}")
        assert result.exit_code == 0 and "no photo is called so" not in result.stderr
    labels = read_labels(tmp_path / "tree-yolo/SegmentationClass/one.png")
    np.testing.assert_array_equal(labels, truth(0))


def test_an_export_that_cannot_be_read_is_refused(deconvnet, source, tmp_path):
    def refused(*words: str) -> None:
        result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
        one_error_line(result, 1, *words)
        assert not (tmp_path / "tree").exists()

    for text in ("nc: 2", "names: disc", "names: [[disc], square]", "names: {.inf: disc}"):
        (source / "data.yaml").write_text(text)
        refused("data.yaml", "has no list of names")
    (source / "more.yaml").touch()
    refused("has 2 YAML files; name the one")
    (source / "more.yaml").unlink()
    (source / "data.yaml").write_text("names: [disc, square]")
    (source / "train/images/two.jpg").unlink()
    refused("train/labels/two.txt", "has no photo called two")
    for path in source.rglob("*.txt"):
        path.write_text("0 0.5 0.5 0.2 0.2")
    (source / "train/labels/two.txt").unlink()
    refused("is a box")
