"""The Poisson bootstrap against an ordinary one that draws images with replacement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import contribution, image_weights, packed, unpacked
from deconvnet_cli.evaluation.intervals import mean_ious
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
    weights = [image_weights(f"image{number}", replicates, seed) for number in range(len(counts))]
    return np.einsum("nr,nkc->rkc", weights, [*map(contribution, counts)])


def ordinary(counts: Counts, replicates: int = 1000) -> list[float]:
    """Mean IoU of as many images, drawn with replacement, for each replicate."""
    rng = np.random.default_rng(5)
    draws = rng.integers(0, len(counts), (replicates, len(counts)))
    return [metrics_of(counts[draw].sum(axis=0)).mean_iou for draw in draws]


def test_replicates_are_those_of_the_ordinary_bootstrap() -> None:
    counts = matrices(200, seed=1)
    low, high = np.percentile(mean_ious(poisson(counts)), [2.5, 97.5])
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


def test_packed_sums_come_back() -> None:
    sums = poisson(matrices(5, seed=8), 30)
    assert (unpacked(packed(sums), 30, CLASSES) == sums).all()
    with pytest.raises(DatasetError, match="shape"):
        unpacked(packed(sums), 31, CLASSES)
