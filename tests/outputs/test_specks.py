"""Specks take the label around them: masks by hand, and properties on noise."""

from __future__ import annotations

import numpy as np
import pytest

from deconvnet_cli.outputs import specks
from deconvnet_cli.outputs.polygons import components
from deconvnet_cli.outputs.specks import without_specks


def grid(*rows: str) -> np.ndarray:
    return np.array([[int(digit) for digit in row] for row in rows], np.uint8)


def test_a_speck_takes_the_label_around_it():
    labels = grid("000000", "030110", "000110", "000000")
    without = grid("000000", "000110", "000110", "000000")
    for least in (2, 4, 0.1, 4 / 24):  # pixels, or a share of the 24
        np.testing.assert_array_equal(without_specks(labels, least), without)
    for least in (0, 1, 1 / 24):
        np.testing.assert_array_equal(without_specks(labels, least), labels)
    assert not without_specks(labels, 5).any()


def test_a_hole_is_filled_and_a_corner_does_not_connect():
    ring = grid("11111", "11011", "11111", "11110")
    assert without_specks(ring, 2).all()
    diagonal = grid("20000", "02000", "00000", "00000")
    assert not without_specks(diagonal, 2).any()


def test_between_two_labels_the_longer_border_decides():
    labels = grid("111222", "111322", "111222", "111222")
    assert without_specks(labels, 3)[1, 3] == 2
    equal = grid("2231155", "2231155")
    assert without_specks(equal, 4)[:, 2].tolist() == [1, 1]  # the smaller label


def test_specks_beside_each_other_go_to_what_is_large():
    """The 4 touches only the 3, which is a speck itself, and follows it."""
    labels = grid("0000000", "0033300", "0034300", "0033300", "0000000")
    assert not without_specks(labels, 9).any()
    assert np.unique(without_specks(labels, 8)).tolist() == [0, 3]


def test_a_map_of_specks_alone_becomes_the_largest():
    assert without_specks(grid("1112", "3342"), 100).tolist() == [[1, 1, 1, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize("seed", range(20))
def test_no_speck_is_left_and_what_is_large_stays(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, random.integers(1, 25, 2)).astype(np.uint8)
    labels = labels.repeat(2, axis=0).repeat(random.integers(1, 4), axis=1)
    least = int(random.integers(2, 30))
    after = without_specks(labels, least)
    everything = range(3)
    large = [part for part in components(labels, everything) if part.area >= least]
    for part in large:
        x0, y0, x1, y1 = part.box
        assert (after[y0:y1, x0:x1][part.mask] == part.label).all()
    if large:
        assert min(part.area for part in components(after, everything)) >= least
    np.testing.assert_array_equal(without_specks(after, least if large else 1), after)


@pytest.mark.parametrize("seed", range(9, 14))
def test_no_speck_is_left_of_noise(seed, monkeypatch):
    """The nearest label of a pixel may be that of a part with which it is not connected."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, (12, 15)).astype(np.uint8).repeat(6, axis=0).repeat(6, axis=1)
    noisy = random.random(labels.shape) < 0.35
    labels[noisy] = random.integers(3, 9, np.count_nonzero(noisy))
    assert len(list(components(labels, range(9)))) > 500
    monkeypatch.setattr(specks, "MOST_PARTS", 500)
    after = specks.without_specks(labels, 20)
    assert min(part.area for part in components(after, range(9))) >= 20


def test_noise_takes_the_nearest_label(monkeypatch):
    """Two halves under noise: with too many parts to look at, each keeps its side."""
    labels = np.repeat(np.array([[1, 2]], np.uint8), 32, axis=1).repeat(40, axis=0)
    noisy = labels.copy()
    noisy[5:35:3, 5:60:3] = 7
    monkeypatch.setattr(specks, "MOST_PARTS", 10)
    np.testing.assert_array_equal(specks.without_specks(noisy, 20), labels)
