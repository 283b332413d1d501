"""The VOC devkit reader, and ``evaluate`` on a small tree made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.label_png import label_png, read_mask
from deconvnet_cli.data.voc import CLASSES, open_tree, palette
from deconvnet_cli.errors import DatasetError


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, label in enumerate((8, 15, 12)):
        pixels = rng.integers(0, 255, (48, 64, 3), np.uint8)
        mask = np.zeros((48, 64), np.uint8)
        mask[10:40, 12:50] = label
        mask[9, 12:50] = 255
        Image.fromarray(pixels).save(root / "JPEGImages" / f"p{number}.jpg")
        (root / "SegmentationClass" / f"p{number}.png").write_bytes(label_png(mask))
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("p0\np1\np2\n")
    return root


def test_palette_is_vocs():
    # From the VOC 2012 development kit's documentation.
    known = {0: (0, 0, 0), 1: (128, 0, 0), 8: (64, 0, 0), 15: (192, 128, 128), 20: (0, 64, 128)}
    assert {label: tuple(palette()[label]) for label in known} == known
    assert tuple(palette()[255]) == (224, 224, 192)
    assert len(np.unique(palette(), axis=0)) == 256


def test_either_folder_will_do(tree):
    assert open_tree(tree).root == open_tree(tree.parent).root == tree


def test_own_masks_score_one(deconvnet, tree):
    result = deconvnet(
        "evaluate", "--voc-root", tree, "--predictions", tree / "SegmentationClass", "--json"
    )
    # Predictions with 255 where the truth has 255 too would be the rim: those count nowhere.
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout)
    assert (line["mean_iou"], line["pixel_accuracy"], line["averaged"]) == (1.0, 1.0, 4)
    assert line["iou"]["cat"] == 1.0 and line["iou"]["bus"] is None
    assert "over 4 of 21 classes" in result.stderr


def test_a_net_is_scored(deconvnet, tree, tiny_weights):
    result = deconvnet("evaluate", "--voc-root", tree, "--weights", tiny_weights, "--json")
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout)
    assert line["images"] == 3 and set(line["iou"]) == set(CLASSES)
    assert 0 <= line["mean_iou"] < 0.5


def test_what_is_missing_is_named(deconvnet, tree):
    result = deconvnet("evaluate", "--voc-root", tree / "JPEGImages")
    assert result.exit_code == 1 and "not a VOC tree" in result.stderr
    result = deconvnet("evaluate", "--voc-root", tree, "--split", "test")
    assert result.exit_code == 1 and "test.txt" in result.stderr and "val" in result.stderr
    (tree / "SegmentationClass" / "p1.png").unlink()
    result = deconvnet("evaluate", "--voc-root", tree)
    assert result.exit_code == 1 and "p1.png" in result.stderr


def test_bad_masks_are_named(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    with pytest.raises(DatasetError, match=r"rgb\.png.*mode RGB"):
        read_mask(tmp_path / "rgb.png")
    Image.new("L", (4, 4), 77).save(tmp_path / "odd.png")
    with pytest.raises(DatasetError, match=r"odd\.png.*label 77"):
        read_mask(tmp_path / "odd.png")
    (tmp_path / "text.png").write_text("x")
    with pytest.raises(DatasetError, match=r"text\.png"):
        read_mask(tmp_path / "text.png")
