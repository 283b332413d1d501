"""Polygons and COCO masks: drawn again and decoded by others they are the labels."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.coco import coco, encode_runs, runs
from deconvnet_cli.outputs.polygons import closed, components, geojson, mean_probability

CAT = CLASSES.index("cat")


def label_maps() -> list[np.ndarray]:
    """Noise with all kinds of corners, smoother maps, and edge cases."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(150):
        height, width = random.integers(1, 16, 2)
        values = random.integers(0, random.integers(2, 5), (height, width)).astype(np.uint8)
        found.append(values.repeat(random.integers(1, 4), axis=0))
    found += [np.full((5, 7), 3, np.uint8), np.array([[0, 2]] * 5, np.uint8), np.eye(6, dtype="u1")]
    return found


def drawn(rings, width: int, height: int) -> np.ndarray:
    """Which pixels' centres lie inside of a polygon, by Pillow.

    In twice the size corners have even coordinates and centres odd ones, so that it does not
    matter whether Pillow counts an edge to the inside.
    """
    image = Image.new("L", (2 * width + 1, 2 * height + 1))
    draw = ImageDraw.Draw(image)
    for number, ring in enumerate(rings):
        draw.polygon([(2 * x, 2 * y) for x, y in ring], fill=0 if number else 1)
    return np.array(image)[1::2, 1::2] == 1


def signed_area(ring) -> float:
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def test_polygons_drawn_again_are_the_labels_exactly():
    for labels in label_maps():
        height, width = labels.shape
        again = np.zeros_like(labels)
        for feature in geojson(labels, classes=CLASSES)["features"]:
            inside = drawn(feature["geometry"]["coordinates"], width, height)
            about = feature["properties"]
            assert not again[inside].any()  # no two overlap
            again[inside] = about["label"]
            assert inside.sum() == about["area"]
            assert about["share"] == pytest.approx(about["area"] / labels.size, abs=1e-6)
            assert about["class"] == CLASSES[about["label"]]
            rows, columns = np.nonzero(inside)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert feature["bbox"] == box
        assert np.array_equal(again, labels)


def test_rings_are_closed_simple_turned_as_geojson_wants_and_have_no_needless_point():
    for labels in label_maps():
        for feature in geojson(labels, classes=CLASSES)["features"]:
            outline, *holes = feature["geometry"]["coordinates"]
            assert signed_area(outline) > 0 and all(signed_area(hole) < 0 for hole in holes)
            areas = [signed_area(ring) for ring in (outline, *holes)]
            assert sum(areas) == feature["properties"]["area"]
            for ring in (outline, *holes):
                assert ring[0] == ring[-1] and len(ring) >= 5
                assert len({tuple(point) for point in ring}) == len(ring) - 1
                steps = np.diff(np.array(ring), axis=0)
                assert ((steps == 0).sum(1) == 1).all()  # along the edges of pixels
                level = steps[:, 1] == 0
                assert (level != np.roll(level, 1)).all()  # it turns at each point


def test_a_ring_and_a_dot_by_hand():
    labels = np.zeros((5, 6), np.uint8)
    labels[1:4, 1:4] = 8
    labels[2, 2] = 0
    labels[4, 5] = 12
    cat, dog = geojson(labels, classes=CLASSES, name="a.jpg")["features"]
    outline, hole = cat["geometry"]["coordinates"]
    assert {tuple(point) for point in outline} == {(1, 1), (4, 1), (4, 4), (1, 4)}
    assert {tuple(point) for point in hole} == {(2, 2), (3, 2), (3, 3), (2, 3)}
    assert cat["properties"] == {"class": "cat", "label": 8, "area": 8, "share": 0.266667}
    assert dog["bbox"] == [5, 4, 6, 5] and dog["properties"]["area"] == 1
    assert [cat["id"], dog["id"]] == [1, 2]


@pytest.mark.parametrize("rows, order", [
    (np.eye(3), [(1, 1, (0, 0)), (1, 1, (1, 1)), (1, 1, (2, 2))]),  # corners do not connect
    # The largest of a class comes first, and of equal ones the upper one.
    ([[1, 0, 1, 1], [0] * 4, [2, 2, 0, 1]],
     [(1, 2, (2, 0)), (1, 1, (0, 0)), (1, 1, (3, 2)), (2, 2, (0, 2))]),
    ([[0, 0, 0, 1], [0] * 4, [1, 0, 0, 0]], [(1, 1, (3, 0)), (1, 1, (0, 2))]),
])  # fmt: skip
def test_the_order_of_components(rows, order):
    found = components(np.array(rows, np.uint8), (1, 2))
    assert [(part.label, part.area, part.box[:2]) for part in found] == order


@pytest.mark.parametrize("side", [200, 256, 300, 60_000])
@pytest.mark.parametrize("backwards", [False, True])
def test_large_outlines_turn_as_small_ones(side, backwards):
    """The sides or areas do not fit in 8, 16 or 32 bits."""
    points = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.int32)
    assert signed_area(closed(points[::-1] if backwards else points, outline=True)) == side**2


def test_run_lengths_are_those_of_pycocotools():
    for labels in label_maps():
        height, width = labels.shape
        for part in components(labels, (1, 2, 3)):
            whole = np.zeros(labels.shape, np.uint8)
            x0, y0, x1, y1 = part.box
            whole[y0:y1, x0:x1] = part.mask
            lengths = runs(part, height, width)
            theirs = coco_mask.encode(np.asfortranarray(whole))
            assert encode_runs(lengths) == theirs["counts"].decode()
            plain = coco_mask.frPyObjects(
                {"size": [height, width], "counts": lengths}, height, width
            )
            assert np.array_equal(coco_mask.decode(plain), whole)


def test_long_runs_and_differences_of_any_size_survive():
    for lengths in ([0, 1, 5000, 3, 70000, 1], [100000, 31, 16, 15, 1 << 20, 1, 17, 1]):
        total = sum(lengths)
        text = {"size": [total, 1], "counts": encode_runs(lengths).encode()}
        values = np.arange(len(lengths)) % 2
        assert np.array_equal(coco_mask.decode(text)[:, 0], values.repeat(lengths))


def test_pycocotools_reads_the_annotations(tmp_path):
    labels = label_maps()[3].repeat(4, axis=1)
    path = tmp_path / "a.coco.json"
    path.write_text(json.dumps(coco(labels, classes=CLASSES, name="a.jpg")))
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(path)
    height, width = labels.shape
    assert read.loadImgs(1) == [{"id": 1, "file_name": "a.jpg", "width": width, "height": height}]
    assert {part["name"]: part["id"] for part in read.loadCats(read.getCatIds())} == {
        name: label for label, name in enumerate(CLASSES) if label
    }
    again = np.zeros_like(labels)
    for annotation in read.loadAnns(read.getAnnIds(imgIds=1, iscrowd=False)):
        mask = read.annToMask(annotation)
        again += mask * np.uint8(annotation["category_id"])
        assert coco_mask.area(annotation["segmentation"]) == annotation["area"] == mask.sum()
        assert coco_mask.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert "score" not in annotation
    assert again.any() and np.array_equal(again, labels)


def test_scores_are_the_mean_probability_of_the_class():
    labels = np.zeros((4, 6), np.uint8)
    labels[:2, :2] = CAT
    probabilities = np.random.default_rng(0).random((21, 4, 6), dtype=np.float32)
    expected = probabilities[CAT, :2, :2].mean()
    (feature,) = geojson(labels, classes=CLASSES, probabilities=probabilities)["features"]
    (annotation,) = coco(labels, classes=CLASSES, probabilities=probabilities)["annotations"]
    assert feature["properties"]["score"] == pytest.approx(expected, abs=1e-4)
    assert annotation["score"] == feature["properties"]["score"]
    large = labels.repeat(3, 0).repeat(3, 1)  # of a photo whose scores are of a smaller copy
    (part,) = components(large, (CAT,))
    assert mean_probability(part, large.shape, probabilities) == annotation["score"]


def test_scores_are_over_the_pixels_of_the_component_alone():
    labels = np.array([[CAT, 0], [CAT, CAT]], np.uint8)
    probabilities = np.zeros((21, 2, 2), np.float32)
    probabilities[CAT] = [[0.2, 1], [0.4, 0.6]]
    (part,) = components(labels, (CAT,))
    assert mean_probability(part, labels.shape, probabilities) == 0.4


def test_only_some_classes():
    labels = np.array([[8, 8, 0, 12]], np.uint8)
    assert [f["bbox"] for f in geojson(labels, classes=CLASSES, only=["dog"])["features"]] == [
        [3, 0, 4, 1]
    ]
    found = coco(labels, classes=CLASSES, only=("background",))
    assert [part["category_id"] for part in found["annotations"]] == [0]
    assert found["categories"][0]["name"] == "background"
    with pytest.raises(UsageError, match="did you mean dog"):
        geojson(labels, classes=CLASSES, only=["dogg"])
