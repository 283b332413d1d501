"""Annotated objects, and how much boxes overlap, against counting by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deconvnet_cli.data.boxes import overlap
from deconvnet_cli.data.objects import find_objects, read_photo_and_mask
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.errors import DatasetError

CAT = 8


@pytest.fixture
def tree(tmp_path: Path) -> VocTree:
    """A photo of two cats that touch: one component, two instances."""
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject"):
        (tmp_path / folder).mkdir(parents=True)
    mask, instances = np.zeros((2, 100, 120), np.uint8)
    mask[20:80, 10:100] = CAT
    mask[20:80, 100:104] = instances[20:80, 100:104] = IGNORE
    instances[20:80, 10:50] = 1
    instances[20:80, 50:100] = 2
    pixels = np.full((100, 120, 3), 230, np.uint8)
    pixels[20:80, 10:50] = (200, 40, 40)
    pixels[20:80, 50:100] = (30, 30, 160)
    Image.fromarray(pixels).save(tmp_path / "JPEGImages/a.jpg", quality=95)
    Image.fromarray(mask).save(tmp_path / "SegmentationClass/a.png")
    Image.fromarray(instances).save(tmp_path / "SegmentationObject/a.png")
    return VocTree(tmp_path)


def test_instances_part_what_components_join(tree: VocTree):
    assert [(item.label, item.box) for item in find_objects(tree, ["a"])] == [
        (CAT, (10, 20, 50, 80)),
        (CAT, (50, 20, 100, 80)),
    ]
    (tree.root / "SegmentationObject/a.png").unlink()
    assert [item.box for item in find_objects(tree, ["a"])] == [(10, 20, 100, 80)]


def test_instances_of_another_size_are_named(tree: VocTree):
    path = tree.root / "SegmentationObject/a.png"
    Image.new("L", (5, 5)).save(path)
    with pytest.raises(DatasetError, match=r"SegmentationObject/a\.png.*its photo has"):
        find_objects(tree, ["a"])


def test_a_mask_of_another_size_is_named(tree: VocTree):
    Image.new("L", (9, 9)).save(tree.mask("a"))
    with pytest.raises(DatasetError, match=r"a\.png: 9x9.*120x100"):
        find_objects(tree, ["a"])


def test_overlap_counted_by_pixels():
    rng = np.random.default_rng(0)
    boxes = np.sort(rng.integers(0, 30, (20, 2, 2)), axis=1).transpose(0, 1, 2).reshape(20, 4)
    boxes[:, 2:] += 1
    other = (5, 6, 20, 25)

    def pixels(box) -> np.ndarray:
        area = np.zeros((40, 40), bool)
        area[box[1] : box[3], box[0] : box[2]] = True
        return area

    counted = [
        (pixels(box) & pixels(other)).sum() / (pixels(box) | pixels(other)).sum() for box in boxes
    ]
    np.testing.assert_allclose(overlap(boxes.astype(np.int32), other), counted)


def test_photos_are_turned_as_everywhere_else(tmp_path):
    """EXIF orientation 6: a viewer turns the file's 40 x 24 pixels to 24 x 40, as ``segment``."""
    tree = VocTree(tmp_path)
    for folder in ("JPEGImages", "SegmentationClass"):
        (tmp_path / folder).mkdir()
    photo = Image.new("RGB", (40, 24))
    photo.paste((255, 0, 0), (0, 0, 20, 24))
    exif = photo.getexif()
    exif[0x0112] = 6
    photo.save(tree.image("a"), exif=exif, quality=95)
    mask = np.zeros((40, 24), np.uint8)
    mask[:20] = 8  # the left half of the file is the upper half of what is shown
    Image.fromarray(mask).save(tree.mask("a"))
    (found,) = find_objects(tree, ["a"])
    assert found.box == (0, 0, 24, 20)
    shown, labels = read_photo_and_mask(tree, "a")
    red = np.asarray(shown)[..., 0] > 128
    assert (red == (labels == 8)).mean() > 0.95


@pytest.fixture
def annotated(tmp_path: Path) -> VocTree:
    """A photo of 40 x 24 pixels of a cat that fills columns 5 to 34 and rows 4 to 19."""
    tree = VocTree(tmp_path)
    for folder in ("JPEGImages", "SegmentationClass", "Annotations"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 24)).save(tree.image("a"))
    mask = np.zeros((24, 40), np.uint8)
    mask[4:20, 5:35] = 8
    Image.fromarray(mask).save(tree.mask("a"))
    return tree


def annotate(tree: VocTree, *boxes: tuple[float, ...]) -> None:
    """Write the boxes of cats as VOC does: from 1, the last pixel within."""
    objects = "".join(
        "<object><name>cat</name><bndbox>"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for x0, y0, x1, y1 in boxes
    )
    (tree.root / "Annotations/a.xml").write_text(f"<annotation>{objects}</annotation>")


def test_boxes_of_annotations_part_what_touches(annotated: VocTree):
    """Two cats side by side are one component of the mask, and two boxes of the annotation."""
    assert len(find_objects(annotated, ["a"])) == 1
    annotate(annotated, (6, 5, 20, 20), (21, 5, 35, 20))
    found = find_objects(annotated, ["a"])
    assert [item.box for item in found] == [(5, 4, 20, 20), (20, 4, 35, 20)]
    assert {item.label for item in found} == {8}


def test_boxes_end_at_the_edges_of_the_photo(annotated: VocTree):
    annotate(annotated, (-9, 0, 20, 20), (21, 5, 1e9, 25))
    assert [item.box for item in find_objects(annotated, ["a"])] == [
        (0, 0, 20, 20),
        (20, 4, 40, 24),
    ]


@pytest.mark.parametrize(
    "box", [(-30, -20, -2, -3), (41, 5, 50, 20), (1, 25, 40, 30), (1e9, 1e9, 2e9, 2e9)]
)
def test_boxes_outside_of_the_photo_are_refused(annotated: VocTree, box):
    """Negative sides, as slices, would count from the other edge, and find the cat."""
    annotate(annotated, (6, 5, 20, 20), box)
    with pytest.raises(DatasetError, match=r"a\.xml: an object's box \(.*outside.* 40x24 pixels"):
        find_objects(annotated, ["a"])
