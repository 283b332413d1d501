"""Lists of a VOC tree in the forms in which VOC, DeepLab and others write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.data.voc_lists import listed_names
from deconvnet_cli.errors import DatasetError

PHOTOS = {"2007_01": ".jpg", "a b": ".JPG", "c 1": ".png", "dot.ted": ".tif", "ü": ".jpeg"}
PHOTOS["mixed"] = ".Jpg"


@pytest.fixture
def tree(tmp_path):
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    for name, suffix in PHOTOS.items():
        photo = Image.linear_gradient("L").resize((12, 9))
        kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF"}[suffix.lower()]
        with open(tmp_path / "JPEGImages" / f"{name}{suffix}", "wb") as file:
            photo.save(file, kind)
        mask = label_png(np.full((9, 12), 8, np.uint8))
        (tmp_path / "SegmentationClass" / f"{name}.png").write_bytes(mask)
    return tmp_path


def names(tree: Path, content: str | bytes) -> list[str]:
    data = content if isinstance(content, bytes) else content.encode()
    (tree / "ImageSets/Segmentation/val.txt").write_bytes(data)
    return open_tree(tree).names("val")


LINES = {
    "names": "\n".join(PHOTOS),
    "byte order mark": "\ufeff" + "\n".join(PHOTOS),
    "carriage returns": "\r\n".join(PHOTOS) + "\r\n\r\n",
    "blanks at the end": "  \n".join(PHOTOS) + " ",
    "suffixes": "\n".join(name + suffix for name, suffix in PHOTOS.items()),
    "other suffixes": "\n".join(f"{name}.jpg" for name in PHOTOS),
    "paths": "\n".join(f"JPEGImages/{name}{suffix}" for name, suffix in PHOTOS.items()),
    "two columns": "\n".join(
        f"/JPEGImages/{name}.jpg /SegmentationClass/{name}.png" for name in PHOTOS
    ),
    "two plain columns": "\n".join(f"{name}.jpg\t{name}.png" for name in PHOTOS),
    "a class": "\n".join(f"{name}  1" for name in PHOTOS),
    "a difficult class": "\n".join(f"{name}  0" for name in PHOTOS),
}


@pytest.mark.parametrize("content", LINES.values(), ids=LINES)
def test_every_form_gives_the_names(tree, content):
    assert names(tree, content) == list(PHOTOS)


def test_photos_without_the_class_are_passed_over(tree):
    # From the development kit: -1 the class is absent, 1 present, 0 present but difficult.
    assert names(tree, "2007_01 -1\na b  1\nü  0\n") == ["a b", "ü"]
    with pytest.raises(DatasetError, match="marked -1"):
        names(tree, "2007_01 -1\n")


def test_a_name_that_ends_like_a_mark_is_the_photo_that_there_is(tree):
    assert names(tree, "c 1\n") == ["c 1"]
    assert names(tree, "c 1 1\n") == ["c 1"]


def test_masks_of_another_folder_are_refused(tree):
    with pytest.raises(DatasetError, match=r"SegmentationClassAug/2007_01\.png.*link them there"):
        names(tree, "/JPEGImages/2007_01.jpg /SegmentationClassAug/2007_01.png\n")


def test_what_is_missing_is_named(tree):
    for line in ("gone", "gone.jpg", "gone 1", "/JPEGImages/gone.jpg /SegmentationClass/gone.png"):
        with pytest.raises(DatasetError, match=r"gone.*missing"):
            names(tree, f"{line}\n")
    with pytest.raises(DatasetError, match="readable list"):
        names(tree, "2007_01\n".encode("utf-16"))


def test_all_that_is_missing_is_named_at_once(tree, capsys):
    lines = [f"gone{number}" for number in range(12)]
    for name in lines[:-1]:  # these have a photo, the last has a mask
        Image.new("L", (3, 3)).save(tree / "JPEGImages" / f"{name}.Png")
    Image.new("L", (3, 3)).save(tree / "SegmentationClass" / "gone11.png")
    wanted = r"val\.txt: 12 photos or masks cannot be used; 2 more than these 10; .*dataset check"
    with pytest.raises(DatasetError, match=wanted):
        names(tree, "\n".join([*lines, lines[0]]))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 10
    for name, line in zip(lines[:10], said, strict=True):
        assert f"SegmentationClass/{name}.png: missing, but named in" in line
    with pytest.raises(DatasetError, match=r"JPEGImages/gone11\.jpg: missing, but named in"):
        names(tree, "2007_01\ngone11\n")


@pytest.mark.parametrize("lists", [True, False])
def test_one_of_two_photos_of_a_name_is_taken_with_a_word(tree, capsys, lists):
    for name in ("2007_01.Jpg", "c 1.TIF", "c 1.BMP"):
        Image.new("L", (3, 3)).save(tree / "JPEGImages" / name, "PNG")
    found = names(tree, "\n".join(PHOTOS)) if lists else open_tree(tree).names("val")
    assert sorted(found) == sorted(PHOTOS)
    said = [line for line in capsys.readouterr().err.splitlines() if "is taken, " in line]
    first = "JPEGImages/2007_01.jpg: is taken, and not 2007_01.Jpg of the same name"
    assert len(said) == 1 and f"{first} (2 names have several photos); remove one" in said[0]
    assert open_tree(tree).image("c 1").name == "c 1.BMP"


def test_names_in_folders_of_their_own(tree):
    for part in ("JPEGImages", "SegmentationClass"):
        (tree / part / "deep").mkdir()
        Image.new("L", (3, 3)).save(tree / part / "deep" / "x.png")
    assert names(tree, "deep/x\n") == ["deep/x"]
    assert open_tree(tree).image("deep/x") == tree / "JPEGImages/deep/x.png"
    assert open_tree(tree).image("gone/y") == tree / "JPEGImages/gone/y.jpg"


def test_lines_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "list.txt").write_bytes("a\u2028b\nc\x0cd\n".encode())
    assert listed_names(tmp_path / "list.txt", lambda name: True) == ["a\u2028b", "c\x0cd"]


def test_a_tree_without_lists_is_all_its_pairs(tree, capsys):
    (tree / "ImageSets/Segmentation").rmdir()
    (tree / "ImageSets").rmdir()
    Image.new("L", (3, 3)).save(tree / "JPEGImages" / "alone.png")
    assert open_tree(tree).names("val") == sorted(PHOTOS)
    said = capsys.readouterr().err
    assert "all 6 photos with masks are taken; 1 files without the other, such as alone.png" in said


def test_a_tree_reads_each_of_its_lists_once(tree):
    """Training asks for the names several times, and each photo and mask is looked for."""
    path = tree / "ImageSets/Segmentation/val.txt"
    path.write_text("mixed\ndot.ted\n")
    opened = open_tree(tree)
    assert opened.names("val") == ["mixed", "dot.ted"]
    path.write_text("no such photo\n")
    assert opened.names("val") == ["mixed", "dot.ted"]
    with pytest.raises(DatasetError, match="no such photo"):
        open_tree(tree).names("val")
