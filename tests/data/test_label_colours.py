"""Masks whose palettes programs have reordered, masks in colours, and binary masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.label_colours import instances_of
from deconvnet_cli.data.label_png import label_png, read_mask, read_png
from deconvnet_cli.data.mask_check import require_masks
from deconvnet_cli.data.objects import find_objects, photos_of_classes
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.errors import DatasetError

OWN = ("background", "disc", "square", "triangle")
LABELS = np.array([[0, 2, 3, 255], [0, 0, 2, 255]], np.uint8)


def shuffled(labels: np.ndarray, classes: Sequence[str], seed: int, padded: bool) -> Image.Image:
    """Return a palette image of the same colours with the used ones in a random order."""
    pixels = palette_for(classes)[labels]
    used = np.unique(pixels.reshape(-1, 3), axis=0)
    order = np.random.default_rng(seed).permutation(used)
    indices = (pixels[..., None, :] == order).all(-1).argmax(-1).astype(np.uint8)
    image = Image.fromarray(indices, mode="L")
    image.putpalette([*order.flatten().tolist(), *([0] * 30 if padded else [])])
    return image


@pytest.mark.parametrize("classes", [CLASSES, OWN])
@pytest.mark.parametrize("seed", range(6))
def test_a_reordered_palette_is_read_by_its_colours(tmp_path: Path, classes, seed: int):
    path = tmp_path / "a.png"
    shuffled(LABELS, classes, seed, padded=seed % 2 == 0).save(path)
    assert (read_mask(path, classes) == LABELS).all()
    Image.open(path).convert("RGB").quantize(9).save(path)  # another program's order
    assert (read_mask(path, classes) == LABELS).all()


def test_own_classes_in_vocs_colours(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(label_png(LABELS, CLASSES))  # as labelme writes all classes
    assert (read_mask(path, OWN) == LABELS).all()
    shuffled(LABELS, CLASSES, 3, padded=False).save(path)
    assert (read_mask(path, OWN) == LABELS).all()


@pytest.mark.parametrize("shades", [[0, 85, 170, 255], [0, 1, 2, 3], [0] * 4])
def test_palettes_without_colours_keep_their_indices(tmp_path: Path, shades):
    labels = LABELS.copy()
    labels[labels == 255] = 1
    image = Image.fromarray(labels, mode="L")
    image.putpalette([value for shade in shades for value in (shade,) * 3])
    image.save(tmp_path / "a.png")
    assert (read_mask(tmp_path / "a.png", OWN) == labels).all()


@pytest.mark.parametrize("values", [[2, 0], [3, 255, 1], [2], [1, 2, 3, 0, 255]])
def test_a_grey_mask_that_was_shrunk_to_a_palette(tmp_path: Path, values):
    """oxipng turns few greys into a palette in any order; a program without PNG would see greys."""
    indices = np.arange(len(values), dtype=np.uint8)[None]
    image = Image.fromarray(indices, mode="L")
    image.putpalette([part for value in values for part in (value,) * 3])
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        greys = np.array(saved.convert("L"))
    assert greys.tolist() == [values]
    assert (read_mask(tmp_path / "a.png", OWN) == greys).all()
    assert (instances_of(read_png(tmp_path / "a.png")) == greys).all()


def test_void_may_be_white_and_palettes_end_early(tmp_path: Path):
    colours = palette_for(CLASSES)[:21].flatten().tolist()
    for rest in ([], [0] * 3 * 235, [255] * 3 * 235):
        image = Image.fromarray(LABELS, mode="L")
        image.putpalette(colours + rest)
        image.save(tmp_path / "a.png")
        assert (read_mask(tmp_path / "a.png") == LABELS).all()


def test_other_colours_are_refused(tmp_path: Path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="L")
    image.putpalette([0, 0, 0, 1, 2, 3])
    image.save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png: its palette .*#010203 at 1; .*--colours"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("colours", [CLASSES, OWN])
def test_masks_in_colours(tmp_path: Path, mode: str, colours):
    path = tmp_path / "a.png"
    Image.fromarray(palette_for(colours)[LABELS]).convert(mode).save(path)
    assert (read_mask(path, OWN, rgb=True) == LABELS).all()
    with pytest.raises(DatasetError, match=rf"mode {mode}, in the classes' colours.*--rgb"):
        read_mask(path, OWN)
    Image.new(mode, (2, 2), (1, 2, 3)).save(path)
    with pytest.raises(DatasetError, match=r"#010203.*--colours TABLE"):
        read_mask(path, OWN, rgb=True)


def test_the_first_label_without_a_class_is_refused(tmp_path: Path):
    grey(255, len(CLASSES)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png: label 21;"):
        read_mask(tmp_path / "a.png")


def test_a_label_whose_class_was_taken_out_is_named(tmp_path: Path):
    """So is it with this tool's own masks, whose palette then has a colour more."""
    path = tmp_path / "a.png"
    path.write_bytes(label_png(LABELS, OWN))
    with pytest.raises(DatasetError, match=r"label 3; labels are 0\.\.2 and 255; name its class"):
        read_mask(path, OWN[:3])
    with pytest.raises(DatasetError, match="other colours than VOC's classes, as #56b4e9 at 2"):
        read_mask(path)


@pytest.mark.parametrize("size", [(6, 5), (5, 4)])
def test_a_png_of_another_height_or_width(tmp_path: Path, size):
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    assert read_png(tmp_path / "a.png", (6, 4)).size == (6, 4)
    with pytest.raises(DatasetError, match="6x4 pixels"):
        read_png(tmp_path / "a.png", size)


def test_instances_keep_their_background(tmp_path: Path):
    path = tmp_path / "a.png"
    shuffled(LABELS, CLASSES, 5, padded=False).save(path)
    assert (instances_of(read_png(path)) == LABELS).all()


def tree_of(root: Path, masks: dict[str, Image.Image]) -> VocTree:
    (root / "JPEGImages").mkdir()
    (root / "SegmentationClass").mkdir()
    for name, mask in masks.items():
        Image.new("RGB", mask.size).save(root / f"JPEGImages/{name}.png")
        mask.save(root / f"SegmentationClass/{name}.png")
    return VocTree(root, OWN)


def grey(*values: int) -> Image.Image:
    return Image.fromarray(np.array([values], np.uint8))


def test_all_bad_masks_are_named_at_once(tmp_path: Path, capsys):
    masks = {f"m{number:02}": grey(0, 90 + number) for number in range(12)}
    tree = tree_of(tmp_path, masks | {"good": grey(0, 1)})
    for check in (require_masks, find_objects):
        with pytest.raises(DatasetError, match=r"12 photos or masks .*2 more than these 10"):
            check(tree, [*masks, "good"])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 10 and "m00.png: label 90" in said[0] and "m09.png: label 99" in said[9]
    with pytest.raises(DatasetError, match=r"m05\.png: label 95"):
        require_masks(tree, ["m05", "good"])


def test_masks_of_0_and_255_alone(tmp_path: Path, capsys):
    tree = tree_of(tmp_path, {"a": grey(0, 255), "b": grey(255, 0), "c": grey(0, 2)})
    for check in (require_masks, find_objects):
        with pytest.raises(DatasetError, match=r"a\.png: has 0 and 255 alone.* \(2 .*--kind grey"):
            check(tree, ["a", "b"])
    assert len(find_objects(tree, ["a", "c"])) == 1
    assert "a.png: has 0 and 255 alone, and 255 is ignored; if" in capsys.readouterr().err
    grey(0, 255).convert("1").save(tree.mask("a"))  # what a program that shrinks PNGs makes of it
    with pytest.raises(DatasetError, match=r"a\.png: mode 1.*--kind grey"):
        require_masks(tree, ["a"])


def test_photos_of_each_class(tmp_path: Path):
    tree = tree_of(tmp_path, {"a": grey(0, 1, 0, 1), "b": grey(1, 2), "c": grey(0, 2)})
    objects = find_objects(tree, ["a", "b"])
    line = "classes: disc 2 photos, square 1; in no photo: triangle"
    assert photos_of_classes(objects, OWN) == line
    assert photos_of_classes(objects[:1], OWN).startswith("classes: disc 1 photo; in no photo")
