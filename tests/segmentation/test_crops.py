"""Cutting boxes and merging their scores, against plain numpy loops and formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from deconvnet_cli.choices import MERGES
from deconvnet_cli.segmentation.crops import cut, cut_mask, cut_on_device
from deconvnet_cli.segmentation.merge import (
    CONTEXT_MAX,
    FLOOR,
    MAX_SHARE,
    MEAN_SHARE,
    Canvas,
    classes_that_matter,
)

SIZE = 6


def placed(scores: np.ndarray, box: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """A crop's map on the canvas, for a box whose size is the crop's: no resizing. NaN outside."""
    canvas = np.full((scores.shape[0], height, width), np.nan)
    x0, y0, _, _ = box
    for channel in range(scores.shape[0]):
        for row in range(scores.shape[1]):
            for column in range(scores.shape[2]):
                y, x = y0 + row, x0 + column
                if 0 <= y < height and 0 <= x < width:
                    canvas[channel, y, x] = scores[channel, row, column]
    return canvas


@pytest.mark.parametrize("rule", ["max", "max-probability", "mean-probability"])
def test_merge_is_the_loop_written_by_hand(rule):
    rng = np.random.default_rng(1)
    height, width, boxes = 9, 11, [(0, 0), (-3, 2), (7, 5), (4, -2), (2, 2), (40, 40)]
    canvas = Canvas(4, height, width, rule)
    layers = []
    for x0, y0 in boxes:
        box = (x0, y0, x0 + SIZE, y0 + SIZE)
        scores = rng.normal(0, 2, (4, SIZE, SIZE)).astype(np.float32)
        canvas.add(torch.from_numpy(scores), box)
        values = scores.astype(np.float64)
        if rule != "max":
            values = np.exp(values) / np.exp(values).sum(0)
        layers.append(placed(values, box, height, width))
    expected = np.zeros((4, height, width))
    for channel, y, x in np.ndindex(expected.shape):
        seen = [layer[channel, y, x] for layer in layers if not np.isnan(layer[channel, y, x])]
        if rule == "mean-probability":
            expected[channel, y, x] = sum(seen) / len(seen) if seen else 0
        else:
            expected[channel, y, x] = max([0.0, *seen])
    np.testing.assert_allclose(canvas.merged_map().numpy(), expected, atol=1e-6)


def test_context_weighs_the_whole_photo_against_the_mean_of_the_crops():
    canvas = Canvas(2, 4, 4, "context")
    whole, mirrored, left, middle = torch.randn(4, 2, 4, 4).unbind()
    canvas.add(whole, (0, 0, 4, 4))
    canvas.add(mirrored, (0, 0, 4, 4))
    canvas.add(left, (-2, 0, 2, 4))
    canvas.add(middle, (1, 0, 5, 4))
    at = [scores.softmax(0) for scores in (whole, left, middle)]
    at[0] = (at[0] + mirrored.softmax(0)) / 2

    def expected(column: int, crops: torch.Tensor) -> torch.Tensor:
        return (1 - MEAN_SHARE) * at[0][:, :, column] + MEAN_SHARE * crops

    merged = canvas.merged_map()
    # Column 0 is seen by the left crop's column 2; column 1 by its column 3 and the other's 0.
    torch.testing.assert_close(merged[:, :, 0], expected(0, at[1][:, :, 2]))
    both = (at[1][:, :, 3] + at[2][:, :, 0]) / 2
    torch.testing.assert_close(merged[:, :, 1], expected(1, both))
    torch.testing.assert_close(merged[:, :, 3], expected(3, at[2][:, :, 2]))
    alone = Canvas(2, 4, 4, "context")
    alone.add(whole, (0, 0, 4, 4))
    torch.testing.assert_close(alone.merged_map(), whole.softmax(0))


def test_the_maximum_in_context_is_the_loop_written_by_hand():
    """Each crop's probabilities are first mixed with the whole photo's, which counts itself too."""
    torch.manual_seed(2)
    canvas = Canvas(3, 6, 7, CONTEXT_MAX)
    whole, mirrored = torch.randn(2, 3, 6, 7).unbind()
    canvas.add(whole, (0, 0, 7, 6))
    canvas.add(mirrored, (0, 0, 7, 6))
    alone = ((whole.softmax(0) + mirrored.softmax(0)) / 2).double().numpy()
    np.testing.assert_allclose(canvas.merged_map().numpy(), alone, atol=1e-6)
    layers = []
    for x0, y0 in ((0, 0), (-2, 1), (3, 2), (1, -3)):
        logits = 3 * torch.randn(3, SIZE, SIZE)
        box = (x0, y0, x0 + SIZE, y0 + SIZE)
        canvas.add(logits, box)
        layers.append(placed(logits.softmax(0).double().numpy(), box, 6, 7))
    expected = np.zeros_like(alone)
    for label, y, x in np.ndindex(expected.shape):
        said = [layer[label, y, x] for layer in layers if not np.isnan(layer[label, y, x])]
        own = alone[label, y, x]
        mixed = [MAX_SHARE * value + (1 - MAX_SHARE) * own for value in said]
        expected[label, y, x] = max([own, *mixed])
    np.testing.assert_allclose(canvas.merged_map().numpy(), expected, atol=1e-6)


def test_a_crop_up_to_the_far_corner_is_not_the_whole_photo():
    canvas = Canvas(2, 6, 7, "context")
    canvas.add(torch.zeros(2, 6, 7), (0, 0, 7, 6))
    canvas.add(torch.zeros(2, 4, 4), (3, 2, 7, 6))
    assert canvas.wholes == 1 and canvas.covered.sum() == 16


def test_scores_go_back_to_the_size_of_their_box():
    canvas = Canvas(1, 8, 20, "max")
    ramp = torch.arange(4.0).expand(1, 4, 4)
    canvas.add(ramp, (4, 0, 12, 8))
    # Pixel centre x of 8 pixels lies at (x + 0.5) / 2 - 0.5 of 4, held at the rim.
    expected = [min(max((x + 0.5) / 2 - 0.5, 0), 3) for x in range(8)]
    assert canvas.merged_map()[0, 3, 4:12].tolist() == pytest.approx(expected)
    assert canvas.merged_map()[0, :, :4].abs().sum() == 0


@pytest.mark.parametrize("size", [(40, 50), (16, 16), (40, 9), (9, 40), (9, 9)])
def test_crops_go_back_as_an_antialiased_photo_would(size):
    torch.manual_seed(0)
    scores = torch.randn(3, 16, 16)
    canvas = Canvas(3, *size, "max")
    merged = canvas.add(scores, (0, 0, size[1], size[0])).values
    expected = F.interpolate(scores[None], size=size, mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(merged, expected, atol=1e-5, rtol=0)


def blob(classes: tuple[int, ...]) -> torch.Tensor:
    """Logits of 12 classes, 16 x 16, like those of a net: smooth, and only some are ever high."""
    rough = torch.randn(12, 4, 4) - 9
    rough[list(classes)] += 9 + 3 * torch.randn(len(classes), 4, 4)
    return F.interpolate(rough[None], size=(16, 16), mode="bilinear")[0]


@pytest.mark.parametrize("rule", ["max-probability", "mean-probability", "context", CONTEXT_MAX])
def test_classes_left_out_of_a_crop_hardly_change_the_map(rule):
    """Against all classes of all crops, merged by plain torch in one go; boxes on whole pixels."""
    torch.manual_seed(3)
    canvas, boxes = Canvas(12, 40, 60, rule), [(0, 0, 60, 40), (4, 6, 40, 30), (20, 2, 56, 38)]
    layers, left_out = [], 0
    for box, classes in zip(boxes, ((0, 3, 5), (0, 3), (0, 5, 7)), strict=True):
        logits = blob(classes)
        left_out += 12 - len(canvas.add(logits, box).classes)
        x0, y0, x1, y1 = box
        layer = torch.full((12, 40, 60), torch.nan)
        layer[:, y0:y1, x0:x1] = F.interpolate(
            logits.softmax(0)[None], size=(y1 - y0, x1 - x0), mode="bilinear", antialias=True
        )[0]
        layers.append(layer)
    assert left_out >= 12  # of 36
    if rule == "max-probability":
        expected = torch.stack(layers).nan_to_num(0).amax(0)
    elif rule == "mean-probability":
        expected = torch.stack(layers).nanmean(0)
    elif rule == CONTEXT_MAX:
        crops = torch.stack(layers[1:]).nan_to_num(0).amax(0)
        expected = layers[0] + MAX_SHARE * (crops - layers[0]).clamp_min(0)
    else:
        crops = torch.stack(layers[1:]).nanmean(0)
        mixed = MEAN_SHARE * crops + (1 - MEAN_SHARE) * layers[0]
        expected = torch.where(crops.isnan(), layers[0], mixed)
    found = canvas.merged_map()
    assert (found - expected).abs().max() < 9 * FLOOR
    assert (found.argmax(0) == expected.argmax(0)).float().mean() > 0.999


def test_a_class_matters_if_it_comes_near_the_best_somewhere():
    logits = torch.zeros(4, 8, 8)
    logits[1] = -20
    logits[2] = math.log(FLOOR) - 0.1
    logits[3] = -20
    logits[3, 4, 5] = math.log(FLOOR) + 0.1  # a row that is looked at
    assert classes_that_matter(logits) == [0, 3]
    assert classes_that_matter(logits.fill_(torch.nan)) == []
    canvas = Canvas(4, 8, 8, "context")
    canvas.add(logits, (0, 0, 8, 8))
    canvas.add(logits, (0, 0, 6, 6))
    assert canvas.merged_map().abs().sum() == 0


@pytest.mark.parametrize("rule", MERGES)
def test_every_third_row_and_column_of_the_map(rule):
    torch.manual_seed(0)
    canvas = Canvas(3, 20, 30, rule)
    for box in ((0, 0, 30, 20), (3, 2, 17, 11), (-5, 8, 12, 25)):
        canvas.add(torch.randn(3, 8, 8), box)
    assert torch.equal(canvas.merged_map(step=3), canvas.merged_map()[:, ::3, ::3])


def test_a_crop_over_the_edge_is_black_there():
    crop = cut(Image.new("RGB", (10, 10), "white"), (-10, 0, 10, 20), 20, 20)
    assert crop[:10, 10:].min() == 255
    assert crop[:, :10].max() == 0 and crop[10:].max() == 0


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # one in two: any honest shrinking by 8 gives an even grey
    crop = cut(Image.fromarray(stripes), (0, 0, 64, 64), 8, 8)
    assert abs(crop[:, 1:-1].astype(int) - 127).max() <= 3


@pytest.mark.parametrize("box", [
    (3, 5, 61, 48), (-20, -8, 50, 40), (10, 10, 97, 90), (0, 0, 64, 50), (70, 5, 80, 9),
    (5, -20, 20, -5), (-20, 5, -5, 20),
])  # fmt: skip
def test_what_a_gpu_cuts_is_what_pillow_cuts_but_for_rounding(box):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 64, 3), dtype=np.uint8)
    of_pillow = cut(Image.fromarray(pixels), box, 40, 32).astype(int)
    found = cut_on_device(torch.from_numpy(pixels).permute(2, 0, 1).float(), box, 40, 32)
    assert found.dtype == torch.float32 and found.shape == (3, 32, 40)
    differences = found.permute(1, 2, 0).numpy() - of_pillow
    assert abs(differences).max() <= 1 and abs(differences.mean()) < 0.1


def test_mask_crops_hold_nothing_but_its_labels():
    mask = np.array([[0, 15], [3, 255]], np.uint8)
    crop = cut_mask(mask, (-1, 0, 2, 2), 6, outside=255)
    assert crop[0].tolist() == [255, 255, 0, 0, 15, 15]
    assert crop[5].tolist() == [255, 255, 3, 3, 255, 255]
