"""Intervals of the mean IoU: they contain their estimate, and as often as they say the truth."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from helpers.synthetic_photos import CLASSES, Counts, confusions
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.bootstrap import contribution, image_weights
from deconvnet_cli.evaluation.intervals import (
    Bootstrapped,
    Comparison,
    Z,
    compare,
    concentration,
    deviations,
    estimate,
    interval,
    ious,
    mean_ious,
    unbiased,
)


def counted(matrices: Counts, replicates: int = 1000, seed: int = 0) -> Bootstrapped:
    """The sums of the bootstrap over images, and their plain sums."""
    weights = [image_weights(f"image{number}", replicates, seed) for number in range(len(matrices))]
    sums = np.einsum("nr,nkc->rkc", weights, [*map(contribution, matrices)])
    return Bootstrapped(sums, contribution(matrices.sum(axis=0)))


def photos(per_class: int, seed: int, skill: float = 1.0) -> Counts:
    return confusions([*range(1, CLASSES)] * per_class, np.random.default_rng(seed), skill)


def middle(sums: Counts) -> NDArray[np.float64]:
    """The middle 95 % of the replicates."""
    return np.nanquantile(mean_ious(sums), [0.025, 0.975])


def drawn(matrices: Counts, rng: np.random.Generator, replicates: int = 500) -> Bootstrapped:
    """As ``counted``, with other weights each time."""
    parts = np.stack([*map(contribution, matrices)])
    weights = rng.poisson(1, (replicates, len(parts)))
    flat = weights @ parts.reshape(len(parts), -1)
    return Bootstrapped(flat.reshape(-1, *parts.shape[1:]), parts.sum(axis=0))


def test_rare_classes_do_not_push_the_estimate_out() -> None:
    """The case of the paper's table: 20 photos, of most classes one."""
    outside = 0
    for seed in range(12):
        sums, whole = counted(photos(1, seed))
        low, high = interval(Bootstrapped(sums, whole))
        assert low < estimate(whole) < high
        outside += middle(sums)[1] < estimate(whole)
    assert outside >= 2, "the replicates alone exclude it now and then"


def test_coverage_with_two_photos_per_class() -> None:
    rng = np.random.default_rng(3)
    # The value of a large population, from other photos.
    truth = ious(contribution(photos(200, 1000).sum(axis=0)))[0]
    inside = before = 0
    for seed in range(60):
        sums, whole = drawn(photos(2, seed), rng)
        expected = truth[ious(whole)[1]].mean()
        low, high = interval(Bootstrapped(sums, whole))
        inside += low <= expected <= high
        before += middle(sums)[0] <= expected <= middle(sums)[1]
    assert inside >= 53 and before < 45, f"{inside} and {before} of 60"


def test_with_many_photos_it_is_that_of_the_replicates() -> None:
    sums, whole = counted(photos(40, 5))
    low, high = interval(Bootstrapped(sums, whole))
    expected_low, expected_high = middle(sums)
    width = expected_high - expected_low
    assert abs(low - expected_low) < 0.15 * width and abs(high - expected_high) < 0.15 * width


def test_one_photo_tells_little() -> None:
    matrix = np.array([[[700, 200], [100, 500]]])
    low, high = interval(counted(matrix))
    assert low < 0.4 and high > 0.9  # IoU 0.7 and 0.625; a photo of any kind may follow


def test_ends_stay_between_0_and_1() -> None:
    for right in (1, 999):
        matrix = np.array([[[right, 1000 - right], [1000 - right, right]]] * 2)
        low, high = interval(counted(matrix))
        assert 0 <= low < estimate(contribution(matrix.sum(axis=0))) < high <= 1
    assert interval(counted(np.array([[[5, 0], [0, 5]]]))) == (1, 1)
    assert interval(counted(np.array([[[0, 5], [5, 0]]]))) == (0, 0)


def twice_or_never(*whole: list[int]) -> Bootstrapped:
    """One image, which one replicate leaves out and another counts twice."""
    once = np.array(whole)
    return Bootstrapped(np.stack((0 * once, 2 * once)), once)


def test_z_holds_95_percent_of_a_normal_distribution() -> None:
    assert pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-6) == Z


def test_an_estimate_without_its_bias_stays_between_0_and_1() -> None:
    """Mean IoUs of 0.9 and about 0.1: twice the one minus the other is 1.7, or -0.7."""
    good = np.array([[[9, 9], [10, 10], [9, 9]], [[18, 18], [20, 20], [18, 18]]])
    bad = np.array([[[1, 1], [5, 5], [5, 5]], [[2, 2], [15, 15], [13, 13]]])
    low, high = interval(Bootstrapped(bad, good[0]))
    assert low < 0.9 < high <= 1
    low, high = interval(Bootstrapped(good, bad[0]))
    assert 0 <= low < 1 / 9 < high


def test_a_mean_close_to_0_does_not_overflow() -> None:
    low, high = interval(twice_or_never([1, 1], [10**6, 10**6], [10**6, 10**6]))
    assert 0 <= low < high <= 1


def test_a_difference_is_at_most_1() -> None:
    right = twice_or_never([50, 50], [50, 50], [50, 50])
    wrong = twice_or_never([0, 0], [50, 50], [50, 50])
    assert compare(right, wrong).high == 1
    assert compare(wrong, right).low == -1


def test_the_bias_with_and_without_classes_that_are_only_predicted() -> None:
    """The second class is not in the truth: its IoU of 0 counts in the first mean alone."""
    whole = np.array([[4, 0], [8, 0], [6, 2]])
    run = Bootstrapped(np.array([[[2, 0], [8, 0], [6, 2]]]), whole)
    # The first class: 4 of 10 pixels, and 2 of 12.
    assert unbiased(run) == pytest.approx([2 * 0.2 - 1 / 12, 2 * 0.4 - 1 / 6])


def test_nothing_counted() -> None:
    empty = counted(np.zeros((1, 3, 3), np.int64))
    with pytest.raises(DatasetError, match="no pixel"):
        interval(empty)
    with pytest.raises(DatasetError, match="no pixel"):
        compare(empty, empty)


def test_deviations_are_the_derivative() -> None:
    """Against the change of the IoU when each image weighs a little more."""
    matrices = photos(2, 7)[:9]
    sums, whole = counted(matrices, 50)
    little = 1e-6
    nudged = whole + little * (sums - whole)
    expected = (ious(nudged)[0] - ious(whole)[0]) / little
    assert deviations(Bootstrapped(sums, whole)) == pytest.approx(expected, abs=1e-4)


def test_concentration_of_equal_images() -> None:
    """Class 1 is in one image, class 2 in four of equal area, class 3 in none."""
    matrices = np.zeros((5, 4, 4), np.int64)
    matrices[:, 0, 0] = 10
    matrices[0, 1, 1] = matrices[1:, 2, 2] = 50
    found = concentration(counted(matrices, 10_000))
    assert found == pytest.approx([1 / 5, 1, 1 / 4, 0], abs=0.03)


def test_a_run_does_not_differ_from_itself() -> None:
    run = counted(photos(1, 4))
    assert compare(run, run) == Comparison(0.0, 0.0, 0.0, 0.0)


def test_pairing_sees_what_single_intervals_hide() -> None:
    a, b = (counted(photos(4, 6, skill)) for skill in (1.25, 1.0))
    result, swapped = compare(a, b), compare(b, a)
    assert 0 < result.low < estimate(a[1]) - estimate(b[1]) < result.high and result.above > 0.97
    assert (swapped.low, swapped.high) == pytest.approx((-result.high, -result.low))
    assert interval(a)[0] < interval(b)[1]  # the single ones overlap


def test_a_difference_seen_in_one_photo_proves_nothing() -> None:
    """The replicates of one image are all alike, so they alone would be certain."""
    a, b = (counted(np.array([[[100 - n, n], [n, 70 - n]]])) for n in (10, 20))
    assert estimate(a[1]) > estimate(b[1]) and compare(a, b).low < 0 < compare(a, b).high


def test_only_the_same_images_are_compared() -> None:
    matrices = photos(1, 7)
    run = counted(matrices)
    for other in (counted(matrices[:9]), counted(matrices, seed=1), counted(matrices, 900)):
        with pytest.raises(DatasetError, match="one list"):
            compare(run, other)
