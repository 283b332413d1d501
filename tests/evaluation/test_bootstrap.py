"""The Poisson bootstrap against an ordinary one that draws images with replacement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import (
    add_image,
    compare,
    contribution,
    empty_sums,
    image_weights,
    interval,
    mean_ious,
    packed,
    unpacked,
)
from deconvnet_cli.evaluation.metrics import metrics_of

Counts = NDArray[np.int64]
CLASSES = 4


def matrices(images: int, seed: int, spoil: float = 1.0) -> Counts:
    """Confusion matrices of synthetic images, some easy, some hard: images x C x C."""
    counts = np.zeros((images, CLASSES, CLASSES), np.int64)
    for number, matrix in enumerate(counts):
        rng = np.random.default_rng([seed, number])  # the truth does not depend on spoil
        wrong = rng.beta(1, 4) * spoil
        pixels = rng.integers(100, 5000, 2)
        labels = (0, int(rng.integers(1, CLASSES)))
        for label, area in zip(labels, pixels, strict=True):
            shares = np.full(CLASSES, wrong / CLASSES)
            shares[label] += 1 - wrong
            matrix[label] = rng.multinomial(area, shares)
    return counts


def poisson(counts: Counts, replicates: int = 1000, seed: int = 0) -> Counts:
    sums = empty_sums(replicates, CLASSES)
    for number, matrix in enumerate(counts):
        add_image(sums, f"image{number}", matrix, seed)
    return sums


def ordinary(counts: Counts, replicates: int = 1000) -> list[float]:
    """Mean IoU of as many images, drawn with replacement, for each replicate."""
    rng = np.random.default_rng(5)
    draws = rng.integers(0, len(counts), (replicates, len(counts)))
    return [metrics_of(counts[draw].sum(axis=0)).mean_iou for draw in draws]


def test_interval_is_that_of_the_ordinary_bootstrap() -> None:
    counts = matrices(200, seed=1)
    low, high = interval(mean_ious(poisson(counts)))
    expected_low, expected_high = np.percentile(ordinary(counts), [2.5, 97.5])
    width = expected_high - expected_low
    assert low < metrics_of(counts.sum(axis=0)).mean_iou < high
    assert abs(low - expected_low) < 0.15 * width
    assert abs(high - expected_high) < 0.15 * width


def test_weights_are_poisson() -> None:
    weights = np.stack([image_weights(f"n{number}", 1000, 0) for number in range(200)])
    drawn = np.bincount(weights.ravel(), minlength=6)[:6] / weights.size
    expected = [math.exp(-1) / math.factorial(count) for count in range(6)]
    assert drawn == pytest.approx(expected, abs=4 * math.sqrt(0.25 / weights.size))
    # Neither the images of a replicate nor the replicates of an image go together.
    assert weights.sum(axis=0).var() == pytest.approx(200, rel=0.2)
    assert weights.sum(axis=1).var() == pytest.approx(1000, rel=0.4)


def test_weights_depend_on_name_and_seed_alone() -> None:
    first = image_weights("2007_000033", 1000, 7)
    assert (first == image_weights("2007_000033", 1000, 7)).all()
    assert (first[:10] == image_weights("2007_000033", 10, 7)).all()
    assert (first != image_weights("2007_000033", 1000, 8)).any()
    assert (first != image_weights("2007_000034", 1000, 7)).any()
    # Kept tallies stay comparable only while these never change.
    assert image_weights("2007_000033", 12, 0).tolist() == [2, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0]


def test_a_replicate_is_the_weighted_sum() -> None:
    counts = matrices(12, seed=2)
    weights = np.stack([image_weights(f"image{number}", 50, 3) for number in range(12)])
    values = mean_ious(poisson(counts, 50, seed=3))
    for replicate in range(50):
        total = (weights[:, replicate, None, None] * counts).sum(axis=0)
        assert values[replicate] == pytest.approx(metrics_of(total).mean_iou)


def test_contribution_by_hand() -> None:
    matrix = np.array([[5, 1], [2, 7]])
    assert contribution(matrix).tolist() == [[5, 7], [6, 9], [7, 8]]


def test_replicates_without_an_image_are_left_out() -> None:
    values = mean_ious(poisson(matrices(1, seed=3)))
    assert np.isnan(values).mean() == pytest.approx(math.exp(-1), abs=0.06)
    low, high = interval(values)
    assert low == pytest.approx(high)
    with pytest.raises(DatasetError, match="evaluate more images"):
        interval(mean_ious(empty_sums(10, CLASSES)))


def test_interval_level() -> None:
    values = np.linspace(0, 1, 101)
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, level=0.5) == pytest.approx((0.25, 0.75))


def test_a_run_does_not_differ_from_itself() -> None:
    sums = poisson(matrices(20, seed=4))
    same = compare(sums, sums.copy())
    assert (same.low, same.high, same.above) == (0.0, 0.0, 0.0)


def test_pairing_sees_what_single_intervals_hide() -> None:
    a, b = (poisson(matrices(60, seed=6, spoil=spoil)) for spoil in (1.0, 1.15))
    result, swapped = compare(a, b), compare(b, a)
    assert 0 < result.low < result.high and result.above > 0.97
    assert (swapped.low, swapped.high) == pytest.approx((-result.high, -result.low))
    assert interval(mean_ious(a))[0] < interval(mean_ious(b))[1]  # the single ones overlap


def test_only_the_same_images_are_compared() -> None:
    counts = matrices(10, seed=7)
    for other in (poisson(counts[:9]), poisson(counts, seed=1), poisson(counts, 900)):
        with pytest.raises(DatasetError, match="one list"):
            compare(poisson(counts), other)


def test_packed_sums_come_back() -> None:
    sums = poisson(matrices(5, seed=8), 30)
    assert (unpacked(packed(sums), 30, CLASSES) == sums).all()
    with pytest.raises(DatasetError, match="shape"):
        unpacked(packed(sums), 31, CLASSES)
