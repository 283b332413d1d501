"""Boundary IoU against distances measured pixel by pixel."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.boundary import boundary_areas
from deconvnet_cli.evaluation.metrics import each_iou

Labels = NDArray[np.uint8]


def region_by_hand(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Mask pixels whose nearest pixel outside, in the larger of rows and columns, is near."""
    outside = np.argwhere(~np.pad(mask, 1)) - 1  # one pixel beyond the image is enough
    region = np.zeros_like(mask)
    for pixel in np.argwhere(mask):
        region[tuple(pixel)] = np.abs(outside - pixel).max(axis=1).min() <= distance
    return region


def areas_by_hand(truth: Labels, prediction: Labels, classes: int, distance: int) -> list[list]:
    counted = truth != 255
    areas: list[list[int]] = [[], [], []]
    for label in range(classes):
        first = region_by_hand((truth == label) & counted, distance)
        second = region_by_hand((prediction == label) & counted, distance)
        areas[0].append(int((first & second).sum()))
        areas[1].append(int(first.sum()))
        areas[2].append(int(second.sum()))
    return areas


def blobs(rng: np.random.Generator, height: int, width: int, classes: int) -> Labels:
    """Rectangles on background, some of them cut by the border."""
    labels = np.zeros((height, width), np.uint8)
    for label in rng.integers(0, classes, 6):
        y, x = rng.integers(-6, height), rng.integers(-6, width)
        high, wide = rng.integers(4, 20, 2)
        labels[max(y, 0) : max(y + high, 0), max(x, 0) : max(x + wide, 0)] = label
    return labels


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ratio", [0.02, 0.06])
def test_random_maps_with_void(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    truth, prediction = (blobs(rng, 33, 47, 4) for _ in range(2))
    truth[rng.random(truth.shape) < 0.005] = 255
    truth[20:23, 5:30] = 255
    distance = max(1, round(ratio * math.sqrt(33**2 + 47**2)))
    assert distance == (1 if ratio == 0.02 else 3)
    ours = boundary_areas(truth, prediction, classes=4, ratio=ratio)
    assert ours.tolist() == areas_by_hand(truth, prediction, 4, distance)


def test_is_the_published_erosion() -> None:
    # As in the authors' code: padded by a zero, eroded d times by 3 x 3.
    rng = np.random.default_rng(1)
    mask = cv2.resize(blobs(rng, 40, 60, 2), (300, 200), interpolation=cv2.INTER_NEAREST)
    distance = round(0.02 * math.sqrt(200**2 + 300**2))
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    expected = int((mask - eroded).sum())
    assert 0 < expected < mask.sum()
    assert boundary_areas(mask, mask, classes=2)[:, 1].tolist() == [expected] * 3


def test_image_border_is_an_edge() -> None:
    full = np.full((30, 40), 3, np.uint8)  # diagonal 50: one pixel wide
    rim = 30 * 40 - 28 * 38
    assert boundary_areas(full, full)[:, 3].tolist() == [rim] * 3


def test_perfect_prediction_scores_one_whatever_it_says_in_void() -> None:
    truth = np.zeros((40, 60), np.uint8)
    truth[8:32, 10:50] = 5
    truth[7, 9:51] = truth[32, 9:51] = truth[7:33, 9] = truth[7:33, 50] = 255
    inner = np.where(truth == 255, np.uint8(5), truth)
    other = np.where(truth == 255, np.uint8(9), truth)
    for prediction in (truth, inner, other):
        ious = each_iou(boundary_areas(truth, prediction))
        assert [index for index, value in enumerate(ious) if value is not None] == [0, 5]
        assert ious[0] == ious[5] == 1.0


def test_large_objects_are_judged_by_their_outline() -> None:
    truth, prediction = np.zeros((2, 100, 100), np.uint8)
    truth[10:90, 10:90] = 1
    prediction[13:87, 13:87] = 1  # 3 pixels short all round: the region is 3 wide
    areas = boundary_areas(truth, prediction)[:, 1]
    assert areas.tolist() == [0, 80**2 - 74**2, 74**2 - 68**2]


def test_a_class_of_one_map_has_no_intersection() -> None:
    truth = np.zeros((20, 20), np.uint8)
    prediction = truth.copy()
    prediction[5:7, 5:7] = 2
    assert boundary_areas(truth, prediction)[:, 2].tolist() == [0, 0, 4]
    assert each_iou(boundary_areas(truth, prediction))[1:3] == (None, 0.0)


def test_inputs_stay_as_they_are_and_sizes_must_agree() -> None:
    truth = np.array([[1, 255], [1, 2]], np.uint8)
    prediction = np.array([[1, 1], [2, 2]], np.uint8)
    before = truth.copy(), prediction.copy()
    boundary_areas(truth, prediction)
    assert (truth == before[0]).all() and (prediction == before[1]).all()
    with pytest.raises(DatasetError, match="2x2 and 1x2"):
        boundary_areas(truth, prediction[:, :1])
