"""Masks in other orders, colours and places, as the commands see them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from helpers.shapes import CLASSES, shapes_tree
from PIL import Image

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.label_png import read_mask, read_png


def in_colours(folder: Path) -> None:
    """Make all masks of a folder RGB."""
    for path in folder.glob("*.png"):
        labels = np.array(read_png(path))
        Image.fromarray(palette_for(CLASSES)[labels]).save(path)


def test_evaluate_takes_rgb_masks_and_predictions_if_asked(deconvnet, tmp_path: Path):
    tree = shapes_tree(tmp_path / "tree", train=1, val=2, size=(48, 40))
    masks = tree / "SegmentationClass"
    in_colours(masks)
    arguments = ("evaluate", "--voc-root", tree, "--predictions", masks, "--json")
    refused = deconvnet(*arguments)
    assert refused.exit_code == 1 and "2 photos or masks cannot be used" in refused.stderr
    assert refused.stderr.count("have these read by --rgb") == 2
    taken = deconvnet(*arguments, "--rgb")
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["mean_iou"] == 1.0


def test_evaluate_names_bad_masks_before_it_runs_a_net(deconvnet, tmp_path: Path):
    tree = shapes_tree(tmp_path / "tree", train=1, val=2, size=(48, 40))
    for name in ("s1", "s2"):
        Image.new("L", (48, 40), 99).save(tree / f"SegmentationClass/{name}.png")
    result = deconvnet("evaluate", "--voc-root", tree, "--weights", "deconvnet-mobilenet")
    assert result.exit_code == 1
    assert "s1.png: label 99" in result.stderr and "s2.png: label 99" in result.stderr


def test_check_takes_every_kind_of_photo_and_list(deconvnet, tmp_path: Path):
    tree = shapes_tree(tmp_path / "tree", train=5, val=3, size=(48, 40))
    for name, suffix in (("s0", "png"), ("s1", "TIF"), ("s2", "webp")):
        photo = tree / f"JPEGImages/{name}.jpg"
        Image.open(photo).save(photo.with_suffix(f".{suffix}"), lossless=True)
        photo.unlink()
    pairs = [f"/JPEGImages/s{n}.jpg /SegmentationClass/s{n}.png" for n in range(5)]
    (tree / "ImageSets/Segmentation/train.txt").write_text("\n".join(pairs))
    sheet = tmp_path / "sheet.png"
    result = deconvnet("dataset", "check", tree, "--json", "--sheet", sheet)
    line = json.loads(result.stdout)
    assert (line["photos"], line["lists"], line["problems"]) == (8, {"train": 5, "val": 3}, [])
    tiles = np.array(Image.open(sheet).convert("RGB"))
    assert not (tiles[:, :, None] == (200, 200, 200)).all(-1).mean() > 0.01  # no grey tile
    in_colours(tree / "SegmentationClass")
    assert deconvnet("dataset", "check", tree).exit_code == 1
    again = deconvnet("dataset", "check", tree, "--json", "--rgb")
    assert json.loads(again.stdout)["classes"] == line["classes"]


def test_train_says_how_many_photos_have_each_class_and_which_classes_count(deconvnet, tmp_path):
    tree = shapes_tree(tmp_path / "tree", train=3, val=1, size=(48, 40))
    in_colours(tree / "SegmentationClass")
    (tmp_path / "own.txt").write_text("disc\nsquare\nstar\n")
    arguments = (
        "train", "--voc-root", tree, "--out", tmp_path / "run", "--no-frozen", "--crops", "2",
        "--batch-size", "2", "--size", "32", "--device", "cpu", "--set", "precision = 'fp32'",
        "--set", "statistics = 1", "--set",
        'net_settings = \'{"head": 16, "bridge": [16, 64], "decode4": [16, 32], "decode3": [24], '
        '"decode2": [32]}\'',
    )  # fmt: skip
    assert deconvnet(*arguments).exit_code == 1
    made = deconvnet(*arguments, "--rgb", "--classes", tmp_path / "own.txt")
    assert made.exit_code == 0, made.output
    photos = {
        label: sum((np.array(mask) == label).any() for mask in masks_of(tree, ("s0", "s1", "s2")))
        for label in (1, 2, 3)
    }
    assert f"classes: disc {photos[1]} photos, square {photos[2]}, star {photos[3]}" in made.stderr
    assert "classes.txt: not used" in made.stderr and "'star' in one and 'triangle'" in made.stderr
    refused = deconvnet(*arguments, "--rgb", "--classes", tmp_path / "own.txt", "--from", "a.st")
    assert refused.exit_code == 2 and "begun with --from = nothing" in refused.stderr
    longer = (*arguments, "--rgb", "--classes", tmp_path / "own.txt", "--crops", "4")
    assert deconvnet(*longer).exit_code == 0
    lines = (tmp_path / "run/settings.toml").read_text().splitlines()
    assert "crops = 4" in lines


def masks_of(tree: Path, names: tuple[str, ...]) -> list[np.ndarray]:
    return [read_mask(tree / f"SegmentationClass/{name}.png", CLASSES, rgb=True) for name in names]
