"""Masks and photos of an export: which belong together, and what has no partner is said."""

import os
import shutil
import sys

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.exports import (
    NAMES,
    coco_export,
    cvat_export,
    grey_export,
    labelme_export,
    names_in,
    read_labels,
    roboflow_export,
    truth,
)

from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.datasets.pairs import files_below
from deconvnet_cli.errors import DatasetError


def move(folder, name, place):
    (folder / place).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).rename(folder / place)


def test_masks_of_any_case_and_in_subfolders_are_taken(tmp_path):
    source = cvat_export(tmp_path / "cvat")
    move(source / "SegmentationClass", "one.png", "one.PNG")
    move(source / "SegmentationClass", "two.png", "day 1/two.png")
    move(source / "JPEGImages", "two.jpg", "day 1/two.jpg")
    move(source / "JPEGImages", "three.jpg", "elsewhere/three.jpg")
    export = open_export(source)
    assert sorted(export.names) == sorted(NAMES) and not export.unmasked
    for number, name in enumerate(NAMES[:3]):
        np.testing.assert_array_equal(export.read(name).mask, truth(number))


def test_roboflows_masks_of_any_case_and_in_subfolders_keep_their_split(deconvnet, tmp_path):
    source = roboflow_export(tmp_path / "roboflow")
    move(source / "train", "one_mask.png", "one_mask.PNG")
    for name in ("five.jpg", "five_mask.png"):
        move(source / "valid", name, f"more/{name}")
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
    assert names_in(tmp_path / "tree", "train") == sorted(NAMES[:3])
    assert names_in(tmp_path / "tree", "val") == sorted(NAMES[3:])
    (source / "valid/_classes.csv").unlink()
    with pytest.raises(DatasetError, match=r"_mask\.png: no _classes\.csv in its folder"):
        open_export(source)


@pytest.mark.parametrize("export", [cvat_export, roboflow_export, grey_export])
def test_photos_without_a_mask_are_said(deconvnet, tmp_path, export):
    source = export(tmp_path / "export")
    (mask,) = [*source.rglob("two.png"), *source.rglob("two_mask.png")]
    mask.unlink()
    arguments = ["--photos", tmp_path / "export/photos"] if export is grey_export else []
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree", *arguments)
    assert result.exit_code == 1
    assert "1 photo without a mask left out: " in result.stderr and "two.jpg" in result.stderr
    assert "4 photos from" in result.stderr and "1 left out" in result.stderr
    read_labels(tmp_path / "tree/SegmentationClass/one.png")


def test_a_mask_takes_the_photo_at_its_place_or_none(tmp_path):
    source = cvat_export(tmp_path / "cvat")
    photos = source / "JPEGImages"
    (photos / "a").mkdir()
    (photos / "a/one.jpg").write_bytes((photos / "one.jpg").read_bytes())
    assert open_export(source).unmasked == (photos / "a/one.jpg",)  # the other is at its place
    move(photos, "one.jpg", "b/one.jpg")
    with pytest.raises(DatasetError, match=r"a/one\.jpg or .*b/one\.jpg; rename one"):
        open_export(source)
    masks = source / "SegmentationClass"
    (masks / "a").mkdir()
    (masks / "a/one.png").write_bytes((masks / "one.png").read_bytes())
    (photos / "b/one.jpg").unlink()
    with pytest.raises(DatasetError, match=r"one\.jpg, which is that of .*a/one\.png"):
        open_export(source)


TWINS = {"one": ("one", "a/leaf"), "two": ("two", "b/leaf"), "three": ("three", "c_leaf")}
NAMED = ("a_leaf", "b_leaf", "c_leaf")


@pytest.mark.parametrize("kind", [coco_export, labelme_export, cvat_export, grey_export])
def test_photos_of_one_name_in_two_folders_have_their_folders_in_their_names(tmp_path, kind):
    source = kind(tmp_path / "export")
    for path in [path for path in (tmp_path / "export").rglob("*") if path.stem in TWINS]:
        move(path.parent, path.name, TWINS[path.stem][1] + path.suffix)
    for path in (tmp_path / "export").rglob("*.json"):
        for old, new in TWINS.values():
            path.write_text(path.read_text().replace(f'"{old}.jpg', f'"{new}.jpg'))
    if kind is cvat_export:
        lists = {"Train": ["a/leaf", "four"], "Validation": ["b/leaf", '"c_leaf"', "five"]}
        (source / "ImageSets/Segmentation").mkdir(parents=True)
        for name, names in lists.items():
            (source / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(names))
    photos = tmp_path / "export/photos" if kind is grey_export else None
    export = open_export(source, photos=photos)
    assert sorted(export.names) == sorted([*NAMED, "four", "five"]) and not export.unmasked
    for number, name in enumerate(NAMED):
        assert ((export.read(name).mask > 0) == (truth(number) > 0)).all()
    if kind is cvat_export:
        assert export.splits == {"train": ["a_leaf", "four"], "val": ["b_leaf", "c_leaf", "five"]}


def test_files_that_would_have_one_name_still_are_both_named(deconvnet, tmp_path):
    path = coco_export(tmp_path / "coco")
    path.write_text(path.read_text().replace("two.jpg", "one.png"))
    result = deconvnet("dataset", "import", path, "-o", tmp_path / "tree")
    one_error_line(result, 1, "one.jpg and one.png would both be called one", "rename one")


def test_on_a_mac_names_that_differ_by_case_are_one_name(tmp_path, monkeypatch):
    """One photo would replace the other in the tree, without a word."""
    masks = grey_export(tmp_path)
    for folder in (masks, tmp_path / "photos"):
        suffix = next(folder.iterdir()).suffix
        move(folder, f"one{suffix}", f"a/leaf{suffix}")
        move(folder, f"two{suffix}", f"b/Leaf{suffix}")
    names = [*NAMES[2:]]
    export = open_export(masks, photos=tmp_path / "photos")
    assert sorted(export.names) == sorted(["leaf", "Leaf", *names])
    monkeypatch.setattr(sys, "platform", "darwin")
    export = open_export(masks, photos=tmp_path / "photos")
    assert sorted(export.names) == sorted(["a_leaf", "b_Leaf", *names])
    for folder in (masks, tmp_path / "photos"):
        suffix = next(path.suffix for path in folder.iterdir() if path.suffix)
        move(folder, f"b/Leaf{suffix}", f"a/Leaf{suffix}")
    with pytest.raises(DatasetError, match="would both be called a_"):
        open_export(masks, photos=tmp_path / "photos")


@pytest.mark.parametrize("kind", [coco_export, labelme_export])
def test_one_photo_is_not_that_of_two_annotations(tmp_path, kind):
    source = kind(tmp_path / "export")
    for path in (tmp_path / "export").rglob("*.json"):
        path.write_text(path.read_text().replace('"two.jpg', '"a/one.jpg'))
    export = open_export(source)
    with pytest.raises(DatasetError, match=r"would be .*one\.jpg, which .* is already"):
        for name in export.names:
            export.read(name)


def test_photos_that_are_not_there_have_a_remedy(deconvnet, tmp_path):
    source = cvat_export(tmp_path / "cvat")
    move(source, "JPEGImages", "../photos")
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    one_error_line(result, 1, "JPEGImages: no such folder", "--photos DIR")
    arguments = (source, "-o", tmp_path / "tree", "--photos", tmp_path / "nope")
    result = deconvnet("dataset", "import", *arguments)
    one_error_line(result, 1, "nope: no such folder", "check --photos")


@pytest.mark.parametrize("path", ["../../photos/{}", "..\\\\photos\\\\{}", "{}", "C:\\\\a\\\\{}"])
def test_photos_of_labelme_may_lie_in_folders_elsewhere(tmp_path, path):
    """As LabelMe writes them to a folder of their own, and this tool too."""
    source = labelme_export(tmp_path / "labelme")
    for name, place in zip(NAMES, ("train", "train", "val", "val", "."), strict=True):
        move(tmp_path, f"labelme/{name}.jpg", f"photos/{place}/{name}.jpg")
        move(tmp_path, f"labelme/{name}.json", f"labelme/{place}/{name}.json")
        file = source / place / f"{name}.json"
        below = f"{place}/{name}.jpg" if path.startswith("..") else f"{name}.jpg"
        file.write_text(file.read_text().replace(f"{name}.jpg", path.format(below)))
    (tmp_path / "photos/one.jpg").write_bytes(b"another")
    export = open_export(source, photos=tmp_path / "photos")
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(export.read(name).mask, truth(number))


def test_masks_may_lie_around_their_photos_or_within(tmp_path):
    masks = grey_export(tmp_path)
    within = open_export(masks, photos=tmp_path)
    assert len(within.names) == len(NAMES)
    for path in masks.iterdir():
        path.rename(tmp_path / path.name)
    around = open_export(tmp_path, "grey", photos=tmp_path / "photos")
    assert len(around.names) == len(NAMES)


@pytest.mark.parametrize("end", ["_mask", ".jpg", " - Copy_seg 1"])
def test_masks_may_have_an_ending_that_photos_lack(tmp_path, end):
    masks = grey_export(tmp_path)
    for path in list(masks.iterdir()):
        path.rename(masks / f"{path.stem}{end}.png")
    export = open_export(masks, photos=tmp_path / "photos")
    assert sorted(export.names) == sorted(NAMES) and not export.unmasked
    np.testing.assert_array_equal(export.read("one").mask, truth(0) > 0)
    (tmp_path / "photos/three.jpg").unlink()
    with pytest.raises(DatasetError, match=r"three.*\.png: .*photos has no photo called three;"):
        open_export(masks, photos=tmp_path / "photos")
    (masks / f"one{end}.png").rename(masks / "one_other.png")
    with pytest.raises(DatasetError, match=r"has no photo called .*; name a mask as its photo"):
        open_export(masks, photos=tmp_path / "photos")


def test_the_ending_of_masks_is_no_longer_than_it_need_be(tmp_path):
    masks = grey_export(tmp_path)
    for path in list(masks.iterdir()):
        path.rename(masks / f"{path.stem}_1_mask.png")
        photo = tmp_path / f"photos/{path.stem}.jpg"
        shutil.copy(photo, photo.with_stem(f"{path.stem}_1"))
    export = open_export(masks, photos=tmp_path / "photos")
    assert sorted(export.names) == sorted(f"{name}_1" for name in NAMES)
    assert sorted(path.stem for path in export.unmasked) == sorted(NAMES)


def test_masks_in_folders_alone_are_known_by_their_photos(tmp_path):
    masks = grey_export(tmp_path)
    for path in list(masks.iterdir()):
        move(masks, path.name, f"day 1/{path.name}")
    assert sorted(open_export(masks, photos=tmp_path / "photos").names) == sorted(NAMES)


def test_links_are_followed_once_and_hidden_files_are_none(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "tree/.cache").mkdir(parents=True)
    for place in ("real/a.PNG", "tree/.cache/b.png", "tree/.c.png", "tree/d.txt"):
        (tmp_path / place).touch()
    os.symlink(tmp_path / "real", tmp_path / "tree/linked")
    os.symlink(tmp_path / "tree", tmp_path / "tree/back")
    assert files_below(tmp_path / "tree", (".png",)) == [tmp_path / "tree/linked/a.PNG"]
