"""The side that counts as a photo's longer side, by areas and proportions."""

from __future__ import annotations

import pytest

from deconvnet_cli.nets.sizes import nominal_side, scaled_down


@pytest.mark.parametrize("size", [(500, 500), (500, 375), (333, 500), (1920, 1080), (500, 200)])
def test_a_photo_up_to_5_to_2_counts_by_its_longer_side(size: tuple[int, int]) -> None:
    assert nominal_side(*size) == max(size)


@pytest.mark.parametrize("size", [(1000, 300), (300, 1000), (3200, 200), (500, 151)])
def test_a_longer_photo_counts_as_one_of_5_to_2_with_its_area(size: tuple[int, int]) -> None:
    side = nominal_side(*size)
    assert side * side / 2.5 == pytest.approx(size[0] * size[1])
    assert nominal_side(2 * size[0], 2 * size[1]) == pytest.approx(2 * side)


def test_the_longest_photos_count_by_a_quarter_of_their_longer_side() -> None:
    assert nominal_side(4000, 1) == 1000
    assert nominal_side(7, 100_000) == 25_000


def test_photos_are_scaled_down_and_never_up() -> None:
    assert scaled_down(3000, 2000, 1024) == (1024, 683)
    assert scaled_down(1024, 1024, 1024) == (1024, 1024)
    assert scaled_down(1024, 10, 1024) == (1024, 10)
    assert scaled_down(9000, 1, 1024) == (4096, 1)
    width, height = scaled_down(8000, 2000, 500)
    assert width == pytest.approx(4 * height, rel=0.01)
    assert width * height == pytest.approx(500 * 200, rel=0.01)
