"""EdgeBoxes through real OpenCV, with what bites in it; and the rules for boxes by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import DependencyError, WeightsError
from deconvnet_cli.segmentation import proposals
from deconvnet_cli.segmentation.edges import gradient_edges, structured_edges
from deconvnet_cli.segmentation.proposals import (
    LEAST_AREA,
    at_most,
    edge_boxes,
    enlarged,
    first_area,
    propose,
)
from deconvnet_cli.segmentation.settings import ProposalSettings


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    image = np.full((240, 320, 3), 30, np.uint8)
    image[y0:y1, x0:x1] = (230, 200, 60)
    return image


def overlap(a, b) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def test_a_b_a_gives_the_boxes_of_a(data):
    a = np.asarray(read_photo(data / "chelsea.jpg"))
    b = np.asarray(read_photo(data / "astronaut.jpg"))
    first, other, again = (propose(image, ProposalSettings()).boxes for image in (a, b, a))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_rectangle_is_found_where_it_is():
    truth = (100, 60, 220, 180)
    boxes, scores = next(edge_boxes(rectangle(*truth), ProposalSettings()))
    assert max(overlap(box, truth) for box in boxes[:10].tolist()) > 0.85
    assert (np.diff(scores) <= 0).all()


def test_boxes_count_from_zero(monkeypatch):
    """OpenCV's (1, 1, w, h) is the box at the very corner; scores come as N x 1 or N."""
    for shape in ((2,), (2, 1)):

        class Finder:
            def getBoundingBoxes(self, edges, angle, shape=shape):
                found = np.array([[1, 1, 50, 40], [11, 21, 5, 6]])
                return found, np.array([0.5, 0.25], np.float32).reshape(shape)

        monkeypatch.setattr(cv2.ximgproc, "createEdgeBoxes", lambda **_: Finder())
        boxes, scores = next(edge_boxes(rectangle(0, 0, 50, 40), ProposalSettings()))
        assert boxes.tolist() == [[0, 0, 50, 40], [10, 20, 15, 26]]
        assert scores.tolist() == [0.5, 0.25]


def test_real_boxes_stay_inside_the_photo(data):
    image = np.asarray(read_photo(data / "chelsea.jpg"))
    boxes, _ = next(edge_boxes(image, ProposalSettings()))
    assert len(boxes) > 500
    assert boxes[:, :2].min() == 0
    assert boxes[:, 2].max() <= image.shape[1] and boxes[:, 3].max() <= image.shape[0]


def test_a_large_photo_is_searched_in_a_smaller_size():
    small = rectangle(100, 60, 220, 180)
    large = np.kron(small, np.ones((4, 4, 1), np.uint8))  # 1280 x 960
    settings = ProposalSettings(search_side=320)
    assert np.array_equal(at_most(large, 320), small)
    expected, scores = next(edge_boxes(small, settings))
    found, other_scores = next(edge_boxes(large, settings))
    assert np.array_equal(found, 4 * expected) and np.array_equal(other_scores, scores)
    assert at_most(small, 320) is small and at_most(small, 400) is small


def test_objects_as_high_as_a_panorama_get_boxes(data):
    cat = np.asarray(read_photo(data / "chelsea.jpg"))
    panorama = np.concatenate([cat, cat[:, ::-1]] * 3, axis=1)
    boxes = propose(panorama, ProposalSettings(count=20)).boxes
    centres = (boxes[1:, 0] + boxes[1:, 2]) / 2
    assert set((centres // cat.shape[1]).astype(int)) == set(range(6)), "some in each part"


@pytest.mark.parametrize("shape", [(200, 300), (1, 1), (3, 2), (1, 500), (17, 17)])
def test_without_edges_the_whole_photo_is_the_one_box(shape):
    found = propose(np.full((*shape, 3), 90, np.uint8), ProposalSettings())
    assert found.boxes.tolist() == [[0, 0, shape[1], shape[0]]]


def test_none_instead_of_arrays(monkeypatch):
    class Finder:
        def getBoundingBoxes(self, edges, angle):
            return None, None

    monkeypatch.setattr(cv2.ximgproc, "createEdgeBoxes", lambda **_: Finder())
    assert len(propose(rectangle(9, 9, 90, 90), ProposalSettings()).boxes) == 1


def test_enlargement_by_hand():
    boxes = np.array([[10, 20, 20, 60], [0, 0, 100, 50], [0, 0, 7, 5]], np.int32)
    # 10 x 40 about (15, 40) -> 12 x 48; 100 x 50 about (50, 25) -> 120 x 60, over the edge;
    # 7 x 5 about (3.5, 2.5) -> -0.7 to 7.7 and -0.5 to 5.5, of which halves are rounded up.
    assert enlarged(boxes, 1.2).tolist() == [[9, 16, 21, 64], [-10, -5, 110, 55], [-1, 0, 8, 6]]


def with_boxes(monkeypatch, boxes) -> None:
    found = np.array(boxes, np.int32), np.linspace(1, 0.1, len(boxes), dtype=np.float32)
    monkeypatch.setattr(proposals, "edge_boxes", lambda *_: iter([found]))


def test_small_boxes_are_skipped_and_do_not_count(monkeypatch):
    plain = ProposalSettings(enlarge=1.0, count=3)
    boxes = [
        [0, 0, 111, 300], [0, 0, 112, 112], [5, 5, 300, 100], [1, 1, 200, 200], [2, 2, 300, 300],
    ]  # fmt: skip
    with_boxes(monkeypatch, boxes)
    found = propose(np.zeros((400, 500, 3), np.uint8), plain)
    assert found.boxes.tolist() == [[0, 0, 500, 400], boxes[1], boxes[3]]
    # A photo of half the size has half the limit.
    with_boxes(monkeypatch, [[0, 0, 55, 80], [0, 0, 56, 80]])
    found = propose(np.zeros((250, 200, 3), np.uint8), plain)
    assert found.boxes.tolist() == [[0, 0, 200, 250], [0, 0, 56, 80]]


def test_the_search_starts_at_the_first_size_that_can_be_kept():
    """By hand: 112 / 1.2 pixels of side, from which moving both sides by 7 / 33 is taken off."""
    plain = ProposalSettings()
    least = 112 / 1.2 / (1 + 2 * 0.35 / 1.65)
    areas = [LEAST_AREA / 0.65**size for size in range(12)]
    assert first_area(plain, 500) == pytest.approx(min(a for a in areas if a >= least**2))
    assert first_area(plain, 1000) == pytest.approx(min(a for a in areas if a >= 4 * least**2))
    assert first_area(replace(plain, min_side=0.0), 500) == LEAST_AREA


@pytest.mark.parametrize("name", ["chelsea", "astronaut"])
def test_boxes_left_out_of_the_search_are_not_missed(data, name):
    """Against all boxes of EdgeBoxes, of which the small ones are taken out by hand."""
    image = np.asarray(read_photo(data / f"{name}.jpg"))
    plain = ProposalSettings(count=21)
    everything = propose(image, replace(plain, min_side=0.0, count=2000)).boxes
    sides = (everything[:, 2:] - everything[:, :2]).min(1)
    wanted = everything[sides >= 112 * max(image.shape) / 500][:21]
    found = propose(image, plain).boxes
    assert len({*map(tuple, found)} & {*map(tuple, wanted)}) >= 20


@pytest.mark.parametrize(("count", "searches"), [(3, [0.05]), (4, [0.05, 0.01]), (51, [0.01])])
def test_few_boxes_are_searched_for_quickly_at_first(monkeypatch, count, searches):
    """Two boxes of a quick search and the whole photo are enough for three, not for four."""
    asked = []

    def found(image, settings, least_scores):
        for least in least_scores:
            asked.append(least)
            boxes = [[9, 9, 200 + x, 200] for x in range(2 if least == 0.05 else 3)]
            yield np.array(boxes, np.int32), np.ones(len(boxes), np.float32)

    monkeypatch.setattr(proposals, "edge_boxes", found)
    boxes = propose(np.zeros((400, 500, 3), np.uint8), ProposalSettings(count=count)).boxes
    assert asked == searches
    assert len(boxes) == (3 if count == 3 else 4)


def test_edges_are_found_once_for_both_searches(data, monkeypatch):
    image = np.asarray(read_photo(data / "chelsea.jpg"))
    plain = ProposalSettings(quick_score=0.9)  # few boxes reach it, so a second search follows
    expected = propose(image, replace(plain, quick_count=0)).boxes
    found = []
    edges = proposals.gradient_edges
    monkeypatch.setattr(proposals, "gradient_edges", lambda at: found.append(at) or edges(at))
    assert np.array_equal(propose(image, plain).boxes, expected)
    assert len(found) == 1


def test_duplicates_are_dropped(monkeypatch):
    same = [10, 10, 200, 200]
    with_boxes(monkeypatch, [same, [0, 0, 500, 400], same, [20, 20, 300, 300]])
    found = propose(np.zeros((400, 500, 3), np.uint8), ProposalSettings(enlarge=1.0))
    assert found.boxes.tolist() == [[0, 0, 500, 400], same, [20, 20, 300, 300]]


def test_one_box_is_the_whole_photo(data):
    image = np.asarray(read_photo(data / "chelsea.jpg"))
    assert propose(image, ProposalSettings(count=1)).boxes.tolist() == [[0, 0, 451, 300]]


@pytest.mark.parametrize("turn", range(4))
def test_edges_of_steps_are_thin_and_stay(turn):
    step = np.full((64, 64, 3), 20, np.uint8)
    step[:, 32:] = 220
    thin, _ = gradient_edges(np.rot90(step, turn).copy())
    across = thin if turn % 2 == 0 else thin.T
    assert ((across[8:-8] > 0.1).sum(axis=1) <= 2).all()
    assert (across[8:-8].max(axis=1) > 0.5).all()


def test_an_opencv_without_ximgproc(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(DependencyError, match="opencv-contrib-python"):
        propose(rectangle(9, 9, 90, 90), ProposalSettings())


def test_a_model_that_is_none(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.yml"):
        structured_edges(rectangle(9, 9, 90, 90), tmp_path / "gone.yml")
    (tmp_path / "text.yml").write_text("not a model")
    with pytest.raises(WeightsError, match=r"text\.yml"):
        structured_edges(rectangle(9, 9, 90, 90), tmp_path / "text.yml")


def write_forest(path: Path) -> None:
    """Write a model of one tree that calls the middle of a patch an edge where the colours change.

    OpenCV's own file is too large to be here. The root looks at the gradient in the middle of a
    patch: channel 3, after the three of the colours, at row 8 and column 8 of 16 x 16.
    """
    options = {
        "stride": 2,
        "shrinkNumber": 2,
        "patchSize": 32,
        "patchInnerSize": 16,
        "numberOfGradientOrientations": 4,
        "gradientSmoothingRadius": 0,
        "regFeatureSmoothingRadius": 2,
        "ssFeatureSmoothingRadius": 8,
        "gradientNormalizationRadius": 4,
        "selfsimilarityGridSize": 5,
        "numberOfTrees": 1,
        "numberOfTreesToEvaluate": 1,
    }
    bins = [z * 256 + y * 16 + x for z in range(13) for y in (7, 8) for x in (7, 8)]
    tree = {
        "childs": [2, 0, 0],
        "featureIds": [3 * 256 + 8 * 16 + 8, 0, 0],
        "thresholds": [0.7, 0.0, 0.0],
        "edgeBoundaries": [0, 0, 0, len(bins)],
        "edgeBins": bins,
    }
    lines = ["%YAML:1.0", "---", "options:"]
    lines += [f"   {name}: {value}" for name, value in options.items()]
    for name, values in tree.items():
        lines += [f"{name}:", f"   - {values}"]
    path.write_text("\n".join(lines) + "\n")


def test_structured_edges_lie_on_the_outline_and_give_its_box(tmp_path):
    write_forest(model := tmp_path / "model.yml")
    image = np.full((160, 200, 3), 20, np.uint8)
    cv2.ellipse(image, (100, 80), (60, 40), 20, 0, 360, (220, 200, 60), -1)
    rows, columns = np.nonzero((image != 20).any(axis=2))
    truth = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    outline = cv2.Canny(image, 50, 150) > 0
    from_outline = cv2.distanceTransform((~outline).astype(np.uint8), cv2.DIST_L2, 5)

    edges, orientation = structured_edges(image, model)

    assert edges.shape == orientation.shape == (160, 200)
    assert 0.1 < edges.max() <= 1
    assert from_outline[edges > 0].max() <= 5
    boxes = propose(image, ProposalSettings(count=10, structured_model=model)).boxes
    assert max(overlap(box, truth) for box in boxes[1:].tolist()) > 0.5
