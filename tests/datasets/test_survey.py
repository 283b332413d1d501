"""What a survey of a tree counts, against counting by hand, and each fault that it must find."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.exports import HEIGHT, NAMES, WIDTH, labelme_export, shapes_of
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import CLASSES as VOC
from deconvnet_cli.data.voc import VocTree, open_tree
from deconvnet_cli.datasets.contact_sheet import contact_sheet
from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.datasets.survey import survey_tree
from deconvnet_cli.datasets.tree import write_tree

CLASSES = ("background", "disc", "square")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey")
    export = open_export(labelme_export(folder / "labelme"))
    write_tree(export, folder / "tree", 0.4, seed=0)
    return folder / "tree"


@pytest.fixture
def tree(made: Path, tmp_path: Path) -> Path:
    """A tree of five photos that a test may spoil."""
    shutil.copytree(made, tmp_path / "tree")
    return tmp_path / "tree"


def test_counts_are_those_of_the_shapes(tree):
    found = survey_tree(open_tree(tree))
    assert found.classes == CLASSES and not found.problems
    assert [(count.photos, count.objects) for count in found.counts[1:]] == [(5, 5), (5, 5)]
    areas = [
        sum(shapes_of(n)[kind][1][2] * shapes_of(n)[kind][1][3] for n in range(5))
        for kind in (0, 1)
    ]
    assert [count.pixels for count in found.counts[1:]] == areas
    assert found.total_pixels == 5 * WIDTH * HEIGHT
    assert found.sizes == [(WIDTH, HEIGHT)] * 5
    assert found.lists == {"train": 3, "val": 2}


def test_classes_that_train_or_val_lacks_are_a_remark(tree):
    for name in ("one", "two"):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[:9] = 2
        (tree / f"SegmentationClass/{name}.png").write_bytes(label_png(labels))
    for split, names in {"train": NAMES[2:], "val": NAMES[:2], "few": NAMES[:1]}.items():
        write_list(split, *names)(tree)
    found = survey_tree(open_tree(tree))
    assert not found.problems
    assert [line for line in found.remarks if "no photo has" in line] == [
        "val.txt: no photo has disc"
    ]


def replace_mask(labels: np.ndarray) -> Callable[[Path], object]:
    return lambda root: (root / "SegmentationClass/one.png").write_bytes(
        label_png(labels.astype(np.uint8))
    )


def write_list(split: str, *names: str) -> Callable[[Path], object]:
    return lambda root: (root / f"ImageSets/Segmentation/{split}.txt").write_text("\n".join(names))


WHOLE = np.zeros((HEIGHT, WIDTH))
HALF = np.where(np.arange(WIDTH) < 9, 255, 0) * np.ones((HEIGHT, 1))
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mask": (lambda root: (root / "SegmentationClass/one.png").unlink(), "has no mask"),
    "no photo": (lambda root: (root / "JPEGImages/one.jpg").unlink(), "has no photo"),
    "damaged photo": (lambda root: (root / "JPEGImages/one.jpg").write_bytes(b"x"), "one.jpg"),
    "damaged mask": (lambda root: (root / "SegmentationClass/one.png").write_bytes(b""), "one.png"),
    "other size": (replace_mask(WHOLE[:-1]), "80x59 pixels, but its photo has 80x60"),
    "label 3": (replace_mask(WHOLE + 3), "label 3; there are 0 to 2 and 255"),
    "0 and 255": (replace_mask(HALF), "--kind grey"),
    "RGB mask": (
        lambda root: Image.new("RGB", (WIDTH, HEIGHT)).save(root / "SegmentationClass/one.png"),
        "mode RGB",
    ),
    "two photos of a name": (
        lambda root: Image.new("L", (3, 3)).save(root / "JPEGImages/one.Png"),
        "one.jpg: has the same name as one.Png",
    ),
    "in both lists": (write_list("val", *NAMES), "both have"),
    "twice": (write_list("val", "one", "one"), "stand twice"),
    "listed without photo": (write_list("val", "six"), "names without a photo: six;"),
    "no lists": (lambda root: shutil.rmtree(root / "ImageSets"), "has no lists"),
    "a class in no mask": (
        lambda root: (root / "classes.txt").write_text("background\ndisc\nsquare\nstar\n"),
        "star: in no mask",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_alone(tree, fault):
    spoil, words = FAULTS[fault]
    if fault == "twice":
        write_list("train", "two")(tree)
    spoil(tree)
    (problem,) = survey_tree(open_tree(tree)).problems
    assert words in problem


def test_what_need_not_be_mended_is_a_remark(tree):
    replace_mask(WHOLE)(tree)
    shutil.copy(tree / "JPEGImages/two.jpg", tree / "JPEGImages/three.jpg")
    write_list("train", "one", "two")(tree)
    write_list("val", "three")(tree)
    found = survey_tree(open_tree(tree))
    assert not found.problems
    text = "\n".join(found.remarks)
    for words in (
        "nothing but background",
        "the same file as",
        "in no list: ",
        "in 4 photos only",
    ):
        assert words in text


def test_labels_that_are_one_too_high_are_told(tree):
    (tree / "classes.txt").write_text("background\ndisc\nsquare\nstar\n")
    assert "it is label 0" not in "".join(survey_tree(open_tree(tree)).remarks)
    for path in (tree / "SegmentationClass").iterdir():
        Image.fromarray(np.array(Image.open(path)) + 1).save(path)
    (remark,) = [line for line in survey_tree(open_tree(tree)).remarks if "label 0" in line]
    assert remark.startswith("background: in no mask")


def test_names_in_subfolders_are_those_that_train_reads(tree):
    for part, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
        (tree / part / "s").mkdir()
        (tree / part / f"one.{suffix}").rename(tree / part / f"s/one.{suffix}")
    write_list("train", "s/one", "two", "three")(tree)
    write_list("val", "four", "five")(tree)
    assert VocTree(tree, CLASSES).names("train") == ["s/one", "two", "three"]
    found = survey_tree(open_tree(tree))
    assert not found.problems
    assert found.names == ["five", "four", "s/one", "three", "two"]
    assert [(count.photos, count.objects) for count in found.counts[1:]] == [(5, 5), (5, 5)]
    (tree / "SegmentationClass/s/one.png").unlink()
    (problem,) = survey_tree(open_tree(tree)).problems
    assert "has no mask SegmentationClass/s/one.png" in problem
    (tree / "JPEGImages/s/one.jpg").rename(tree / "one.jpg")
    write_list("train", "../one", "two", "three")(tree)
    (problem,) = survey_tree(open_tree(tree)).problems
    assert "train.txt: names without a photo: ../one" in problem


def test_a_tree_without_names_is_taken_for_vocs_and_that_is_said_once(tree):
    (tree / "classes.txt").unlink()
    for path in (tree / "SegmentationClass").iterdir():
        Image.fromarray(np.array(Image.open(path))).save(path)  # in grey, of no class's colours
    (problem,) = survey_tree(open_tree(tree)).problems
    assert f"{tree}: has no classes.txt, so its classes are VOC's" in problem
    assert all(f" {name}" in problem for name in VOC[3:])
    assert not any(f" {name}," in problem for name in VOC[:3])


def test_a_sheet_shows_every_class_in_its_colour(tree):
    names = survey_tree(open_tree(tree)).names
    sheet = contact_sheet(VocTree(tree, CLASSES), names)
    colours = {colour for _, colour in sheet.getcolors(1 << 24)}
    assert {(0xE6, 0x9F, 0), (0x56, 0xB4, 0xE9)} <= colours  # the first two, in the legend
    (tree / "JPEGImages/one.jpg").write_bytes(b"")
    assert contact_sheet(VocTree(tree, CLASSES), names).size == sheet.size


def test_the_devkit_above_the_tree_may_be_named(tree, deconvnet):
    folder = tree.rename(tree.parent / "VOC2012").parent
    result = deconvnet("dataset", "check", folder)
    assert result.exit_code == 0 and "PROBLEM" not in result.stdout
