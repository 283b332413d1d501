"""Files for other tools: read back by `dataset import` or pycocotools, they are the labels."""

from __future__ import annotations

import json
import ntpath
import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.errors import OutputError, UsageError
from deconvnet_cli.outputs.coco import coco, merged
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import POLYGON_SUFFIXES, Outputs
from deconvnet_cli.outputs.interchange import yolo, yolo_yaml
from deconvnet_cli.outputs.outlines import (
    flat,
    hole_free_outlines,
    simplified_rings,
    without_holes,
    wrong_rings,
)
from deconvnet_cli.outputs.overlay import border_distance
from deconvnet_cli.outputs.polygons import components, rings
from deconvnet_cli.outputs.shared_files import write_class_files, write_cvat_list

CLASSES = ("background", "disc", "ring", "box")
WIDTH, HEIGHT = 120, 90


def scene() -> np.ndarray:
    """A disc inside a ring, which has a hole of background, and a box at the photo's edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(x - 45, y - 45)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[distance < 38] = 2
    labels[distance < 24] = 0
    labels[distance < 12] = 1
    labels[30:90, 100:120] = 3
    return labels


def noise() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    sizes = random.integers(3, 16, (60, 2))
    return [random.integers(0, 3, size).astype(np.uint8).repeat(2, axis=1) for size in sizes]


def edge_distance(labels: np.ndarray) -> np.ndarray:
    """The distance of each pixel to the nearest border or edge of the photo."""
    return border_distance(np.pad(labels, 1, constant_values=9))[1:-1, 1:-1]


def decoded(segmentation: list[list[float]], height: int, width: int) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects(segmentation, height, width)).any(2)


def exported(folder: Path, **options: object) -> Path:
    """The files of the scene, written beside its photo, which ``segment`` would write."""
    folder.mkdir(exist_ok=True)
    photo = Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    photo.save(folder / "a.jpg")
    outputs = Outputs(**options)
    write_outputs(
        photo, scene(), folder / "a.png", outputs, CLASSES, name="a.jpg", source=folder / "a.jpg"
    )
    return folder


def labels_read(source: Path, **options: object) -> np.ndarray:
    """The labels that ``dataset import`` reads, as numbers of ``CLASSES``."""
    export = open_export(source, **options)
    table = np.array([CLASSES.index(name) for name in export.classes], np.uint8)
    return table[export.read("a").mask]


def test_exact_outlines_without_holes_are_the_component():
    for labels in [*noise(), scene()]:
        height, width = labels.shape
        for component in components(labels, (1, 2)):
            drawn = decoded(
                [flat(ring) for ring in hole_free_outlines(component, 0)], height, width
            )
            x0, y0, x1, y1 = component.box
            assert np.array_equal(drawn[y0:y1, x0:x1], component.mask)
            assert drawn.sum() == component.area


@pytest.mark.parametrize("tolerance", [0.5, 1, 3])
def test_points_left_out_are_within_the_tolerance(tolerance):
    for component in components(scene(), (1, 2, 3)):
        exact, fewer = rings(component), simplified_rings(component, tolerance)
        assert sum(map(len, fewer)) < 0.9 * sum(map(len, exact)) or component.label == 3
        for before, after in zip(exact, fewer, strict=True):
            line = np.array(after, np.float32)[:, None]
            far = [abs(cv2.pointPolygonTest(line, (x, y), True)) for x, y in before]
            assert max(far) <= tolerance + 1e-4


@pytest.mark.parametrize("kind", ["coco", "coco-polygons", "labelme"])
@pytest.mark.parametrize("tolerance", [0, 1, 2.5])
def test_what_import_reads_is_what_was_exported(tmp_path, kind, tolerance):
    simplify = None if kind == "coco" else tolerance
    folder = exported(tmp_path, polygons=kind, simplify=simplify)
    source = folder if kind == "labelme" else folder / f"a{POLYGON_SUFFIXES[kind]}"
    found = labels_read(source)
    if kind == "coco" or (kind == "coco-polygons" and tolerance == 0):
        assert np.array_equal(found, scene())
        return
    # LabelMe's drawing adds the pixels on the line itself, which are up to one pixel outside.
    differ = found != scene()
    assert edge_distance(scene())[differ].max(initial=0) <= tolerance + 1
    assert differ.mean() < 0.05


@pytest.mark.parametrize("tolerance", [1, 2])
def test_three_programs_draw_the_outlines_within_the_tolerance(tolerance):
    """pycocotools, Pillow (LabelMe) and OpenCV (YOLO), which draw lines up to a pixel wide."""
    for seed in range(12):
        random = np.random.default_rng(seed).normal(size=(90, 120))
        smooth = cv2.GaussianBlur(random.astype(np.float32), (0, 0), 5)
        labels = (smooth > np.quantile(smooth, 0.35)).astype(np.uint8)
        coco_drawn, opencv = np.zeros_like(labels), np.zeros_like(labels)
        pillow = Image.new("1", (120, 90))
        for component in components(labels, (1,)):
            for ring in hole_free_outlines(component, tolerance):
                assert not wrong_rings([ring])
                coco_drawn |= decoded([flat(ring)], 90, 120).astype(np.uint8)
                points = [(float(x), float(y)) for x, y in ring[:-1]]
                ImageDraw.Draw(pillow).polygon(points, fill=1, outline=1)
                cv2.fillPoly(opencv, [np.array(ring[:-1], np.int32)], 1)
        for drawn in (coco_drawn, pillow, opencv):
            differ = np.array(drawn).astype(bool) != (labels == 1)
            assert edge_distance(labels)[differ].max(initial=0) <= tolerance + 1


def test_cvat_reads_the_same_labels(tmp_path):
    masks = tmp_path / "SegmentationClass"
    exported(tmp_path / "photos")
    masks.mkdir()
    (masks / "a.png").write_bytes((tmp_path / "photos/a.png").read_bytes())
    (written,) = write_class_files(tmp_path, Outputs(format="cvat"), CLASSES)
    write_cvat_list(tmp_path, ["a"])
    assert written.read_text().splitlines()[1] == "background:0,0,0::"
    assert (tmp_path / "ImageSets/Segmentation/default.txt").read_text() == "a\n"
    assert np.array_equal(labels_read(tmp_path, photos=tmp_path / "photos"), scene())


def test_a_mask_of_one_class_is_read_as_grey(tmp_path):
    photos = exported(tmp_path / "photos")
    masks = tmp_path / "masks"
    masks.mkdir()
    (exported(tmp_path / "written", mask=("ring",)) / "a.mask.png").rename(masks / "a.png")
    export = open_export(masks, "grey", photos=photos, classes=["ring"])
    assert np.array_equal(export.read("a").mask == 1, scene() == 2)
    with Image.open(masks / "a.png") as image:
        assert image.mode == "L" and set(np.unique(np.array(image))) == {0, 255}


def test_labelme_names_the_photo_and_keeps_what_lies_inside(tmp_path):
    folder = exported(tmp_path, polygons="labelme")
    content = json.loads((folder / "a.json").read_text())
    assert content["imagePath"] == "a.jpg" and content["imageData"] is None
    assert (content["imageWidth"], content["imageHeight"]) == (WIDTH, HEIGHT)
    names = [(shape["label"], shape["group_id"]) for shape in content["shapes"]]
    assert names == [("ring", 1), ("ring", 1), ("box", None), ("disc", None)]


def test_labelme_names_a_photo_on_another_drive_whole(tmp_path, monkeypatch):
    """On Windows no relative path leads from D: to C:."""
    monkeypatch.setattr(os.path, "relpath", lambda *_: ntpath.relpath("C:\\a.jpg", "D:\\out"))
    content = json.loads((exported(tmp_path, polygons="labelme") / "a.json").read_text())
    assert content["imagePath"] == (tmp_path / "a.jpg").as_posix()


SQUARE = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]


@pytest.mark.parametrize(("found", "wrong"), [
    ([SQUARE], set()),
    ([[[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]]], {0}),  # crosses itself
    ([[[0, 0], [8, 0], [4, 4], [8, 8], [0, 8], [4, 4], [0, 0]]], {0}),  # a corner at a corner
    ([[[0, 0], [8, 0], [8, 8], [4, 0], [0, 8], [0, 0]]], {0}),  # a corner on a side
    ([[[0, 0], [8, 0], [4, 0], [4, 8], [0, 0]]], {0}),  # a side that goes back
    ([SQUARE, [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]], set()),
    ([SQUARE, [[0, 0], [2, 4], [4, 2], [0, 0]]], set()),  # a hole may touch a corner
    ([SQUARE, [[0, 2], [2, 4], [4, 2], [0, 2]]], {0, 1}),  # a hole with a corner on a side
    ([SQUARE, [[6, 2], [6, 4], [9, 4], [9, 2], [6, 2]]], {0, 1}),  # a hole across the outline
    ([SQUARE, [[10, 2], [10, 4], [12, 4], [12, 2], [10, 2]]], {0, 1}),  # a hole outside
    (
        [SQUARE, [[1, 1], [1, 6], [6, 6], [6, 1], [1, 1]], [[2, 2], [2, 3], [3, 2], [2, 2]]],
        {1, 2},
    ),
    (
        [SQUARE, [[1, 1], [1, 4], [4, 4], [4, 1], [1, 1]], [[4, 4], [5, 6], [6, 5], [4, 4]]],
        set(),
    ),
])  # fmt: skip
def test_which_rings_are_wrong(found, wrong):
    assert wrong_rings(found) == wrong
    assert wrong_rings([[[x + 300, -y] for x, y in ring] for ring in found]) == wrong


def winding(found, height, width):
    """Return how often rings go around points of a fine grid that are on none of their sides."""
    turns = np.zeros((4 * height, 4 * width), int)
    x, y = np.arange(4 * width) / 4 + 0.0917, np.arange(4 * height) / 4 + 0.0713
    for (x0, y0), (x1, y1) in (side for ring in found for side in pairwise(ring)):
        rows = np.flatnonzero((y > min(y0, y1)) & (y < max(y0, y1)))
        if len(rows):
            at = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
            turns[rows] += (1 if y1 > y0 else -1) * (x < at[:, None])
    return turns


@pytest.mark.parametrize("tolerance", [1, 2, 5])
def test_simplified_outlines_and_holes_do_not_overlap(tolerance):
    """Rings in the right directions go once around what is inside, and never around the rest."""
    for seed in range(6):
        random = np.random.default_rng(seed).normal(size=(60, 80)).astype(np.float32)
        smooth = cv2.GaussianBlur(random, (0, 0), 2.5)
        labels = (abs(smooth) < np.quantile(abs(smooth), 0.45)).astype(np.uint8)  # narrow bands
        for component in components(labels, (1,)):
            for found in [
                simplified_rings(component, tolerance),
                *([ring] for ring in hole_free_outlines(component, tolerance)),
            ]:
                assert set(np.unique(winding(found, 60, 80))) <= {0, 1}


def test_many_holes_in_a_row_take_few_levels_of_calls():
    """1200 holes need 1200 lines, but Python's stack has a place for 1000 calls."""
    labels = np.ones((3, 2401), np.uint8)
    labels[1, 1::2] = 0
    (component,) = components(labels, (1,))
    parts = without_holes(component)
    assert len(parts) > 1200 and all(len(rings(part)) == 1 for part, _ in parts)
    assert max(len(cuts) for _, cuts in parts) <= 12  # the logarithm of 1200, and one more
    assert sum(part.area for part, _ in parts) == component.area


def test_yolo_numbers_classes_without_the_background(tmp_path):
    text = yolo(scene(), classes=CLASSES, tolerance=0)
    again = np.zeros((HEIGHT, WIDTH), np.uint8)
    for line in sorted(text.splitlines()):
        number, *places = line.split()
        points = np.array(places, float).reshape(-1, 2)
        assert points.min() >= 0 and points.max() <= 1
        ring = [np.rint(points * (WIDTH, HEIGHT)).ravel().tolist()]
        again[decoded(ring, HEIGHT, WIDTH)] = int(number) + 1
    assert np.array_equal(again, scene())
    assert yolo_yaml(CLASSES).splitlines()[3:] == [
        "names:", '  0: "disc"', '  1: "ring"', '  2: "box"',
    ]  # fmt: skip
    assert yolo_yaml(CLASSES, ["background"]).splitlines()[4] == '  0: "background"'


def test_another_file_is_not_written_over(tmp_path):
    outputs = Outputs(polygons="yolo")
    assert write_class_files(tmp_path, outputs, CLASSES) == [tmp_path / "data.yaml"]
    write_class_files(tmp_path, outputs, CLASSES)
    with pytest.raises(OutputError, match="is there with other content"):
        write_class_files(tmp_path, outputs, CLASSES[:3])


def test_many_photos_in_one_coco_file_have_unique_ids():
    parts = [
        (name, coco(scene(), classes=CLASSES, polygons=True, name="x.jpg"))
        for name in ("a/x.jpg", "b/x.jpg")
    ]
    found = merged(parts)
    assert [image["id"] for image in found["images"]] == [1, 2]
    assert [image["file_name"] for image in found["images"]] == ["a/x.jpg", "b/x.jpg"]
    assert [part["id"] for part in found["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [part["image_id"] for part in found["annotations"]] == [1, 1, 1, 2, 2, 2]
    assert [part["name"] for part in found["categories"]] == list(CLASSES[1:])


@pytest.mark.parametrize("name", ["ratio 1:2", "#1"])
def test_names_that_cvat_cannot_read_are_refused(name):
    """Datumaro, which CVAT reads with, cuts lines at colons and passes over those with #."""
    with pytest.raises(UsageError, match="--format cvat: CVAT cannot read the class name"):
        Outputs(format="cvat").check(("background", "cat's", name))
    Outputs(format="cvat").check(CLASSES)
    Outputs(polygons="yolo").check(("background", name))
