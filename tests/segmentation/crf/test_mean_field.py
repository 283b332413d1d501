"""The dense CRF in torch: its lattice against sums by hand, and all of it against pydensecrf."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.crf import mean_field, pydensecrf
from deconvnet_cli.segmentation.crf.permutohedral import Lattice, simplices
from deconvnet_cli.segmentation.crf.refine import refine
from deconvnet_cli.segmentation.settings import CrfSettings


def photo_and_guess(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Chelsea, 225 x 150, and blurry probabilities of 21 labels: the cat, 6 pixels off its place,
    a wrong label beside it, and others that win nowhere."""
    size = (225, 150)
    image = np.asarray(Image.open(data / "chelsea.jpg").convert("RGB").resize(size))
    labels = np.asarray(Image.open(data / "chelsea-labels.png").resize(size, Image.NEAREST))
    labels = np.roll(np.where(labels > 0, 8, 0), (6, 6), (0, 1))
    labels[:60, 150:] = 12
    scores = np.random.default_rng(0).uniform(0, 0.2, (21, *labels.shape)).astype(np.float32)
    for label in (0, 8, 12):
        mask = Image.fromarray(np.uint8(labels == label) * 255)
        scores[label] += np.asarray(mask.filter(ImageFilter.GaussianBlur(6))) / 255 * 3
    probabilities = np.exp(scores) / np.exp(scores).sum(0)
    return image, probabilities.astype(np.float32)


def test_vertices_are_weighted_to_give_the_point() -> None:
    features = torch.randn(3, 50)
    found = simplices(features)
    torch.testing.assert_close(found.weights.sum(0), torch.ones(50))
    assert (found.weights > -1e-5).all()
    assert (found.corner.sum(0) == 0).all()
    assert (found.rank.sort(0).values == torch.arange(4)[:, None]).all()
    # Vertex r is the corner plus r everywhere, less 4 for the r coordinates of last rank.
    remainder = torch.arange(4)[:, None, None]
    vertices = 4 * found.corner + remainder - 4 * (found.rank > 3 - remainder)
    assert (vertices.sum(1) == 0).all()
    point = (vertices * found.weights[:, None]).sum(0)
    turns = torch.linalg.lstsq(features.T, point.T).solution  # the point is linear in the features
    torch.testing.assert_close(features.T @ turns, point.T, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_lattice_is_near_the_gaussian_sum(dimensions: int) -> None:
    generator = torch.Generator().manual_seed(dimensions)
    # Close enough together that the lattice has no holes, as where a photo is smooth.
    features = torch.rand(dimensions, 3000, generator=generator) * 2
    values = torch.rand(2, 3000, generator=generator)
    distances = torch.cdist(features.T, features.T)
    weights = torch.exp(-0.5 * distances.square())
    exact = values @ weights / weights.sum(0)
    lattice = Lattice(features)
    near = lattice.filter(values) / lattice.filter(torch.ones(1, 3000))
    assert (near - exact).abs().mean() < 0.01
    assert (near - exact).abs().max() < 0.05
    assert exact.std() < values.std() / 5  # it does smooth


def test_scaled_points_give_and_get_more() -> None:
    features, values, factor = torch.randn(2, 40), torch.rand(1, 40), torch.rand(40)
    expected = Lattice(features).filter(values * factor) * factor
    lattice = Lattice(features)
    lattice.scale(factor)
    torch.testing.assert_close(lattice.filter(values), expected)


def test_points_too_far_apart() -> None:
    with pytest.raises(UsageError, match="too narrow"):
        Lattice(torch.tensor([[0.0, 1e6]]).expand(5, 2))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (33, 70)])
def test_smoothness_is_the_gaussian(size: tuple[int, int]) -> None:
    height, width = size
    kernel = mean_field.Smoothness(height, width, 3.0, torch.device("cpu"))
    kernel.weigh(2.0)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], 1).float()
    weights = torch.exp(-0.5 * torch.cdist(places, places).square() / 9)
    roots = weights.sum(0).sqrt()
    values = torch.rand(2, height * width)
    expected = 2 * ((values / roots) @ weights) / roots
    torch.testing.assert_close(kernel.filter(values), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_the_lattice_blurs_alike_to_both_sides(dimensions: int) -> None:
    """Of points and their mirror images, a value at the origin reaches both of a pair alike."""
    points = torch.rand(dimensions, 400) * 2 - 1
    features = torch.cat((torch.zeros(dimensions, 1), points, -points), 1)
    values = torch.zeros(1, 801)
    values[0, 0] = 1
    here, there = Lattice(features).filter(values)[0, 1:].split(400)
    torch.testing.assert_close(here, there, atol=0.02 * float(here.max()), rtol=0.02)
    assert here.max() > 1.5 * here.min()


def test_each_kernel_has_its_own_reach_and_weight() -> None:
    """Mean field by hand over all pairs of pixels; the lattice comes near the sums of colours."""
    rng = np.random.default_rng(0)
    image = (rng.random((9, 12, 3)) * 6 + 90).astype(np.uint8)
    image[:, 6:] += 20
    probabilities = rng.dirichlet((1, 1, 1), (9, 12)).transpose(2, 0, 1).astype(np.float32)
    probabilities[0, :, :7] += 1  # one column over the edge
    probabilities /= probabilities.sum(0)
    places = np.stack(np.meshgrid(np.arange(9), np.arange(12), indexing="ij"), -1).reshape(-1, 2)

    def kernel(*parts: np.ndarray) -> np.ndarray:
        points = torch.tensor(np.concatenate(parts, 1)).double()
        weights = torch.exp(-0.5 * torch.cdist(points, points).square()).numpy()
        return weights / np.sqrt(np.outer(weights.sum(0), weights.sum(0)))

    def by_hand(crf: CrfSettings) -> np.ndarray:
        colours = image.reshape(-1, 3) / crf.bilateral_colour_sd
        pairs = crf.gaussian_weight * kernel(places / crf.gaussian_sd)
        pairs += crf.bilateral_weight * kernel(places / crf.bilateral_sd, colours)
        unary = np.log(probabilities.reshape(3, -1).clip(1e-5, 1))
        found = probabilities.reshape(3, -1)
        for _ in range(crf.iterations):
            found = np.exp(unary + found @ pairs)
            found /= found.sum(0)
        return found.reshape(probabilities.shape)

    plain = CrfSettings(2.0, 1.0, 20.0, 4.0, 0.0, 2)
    far = replace(plain, gaussian_weight=0.0, bilateral_weight=1.5)
    near = replace(far, bilateral_sd=3.0, bilateral_colour_sd=30.0)
    for crf in (plain, far, near):
        found = refine(image, probabilities, crf)
        assert np.abs(found - by_hand(crf)).max() < (1e-5 if crf is plain else 0.04)
        assert np.abs(found - probabilities).mean() > 0.03


def test_settings_that_share_work_give_what_each_gives_alone(data: Path, monkeypatch) -> None:
    image, probabilities = photo_and_guess(data)
    grid = [
        CrfSettings(bilateral_sd=far, bilateral_weight=weight, iterations=steps, gaussian_sd=near)
        for steps in (3, 1)
        for weight in (3.0, 5.0)
        for far in (20.0, 40.0)
        for near in (3.0, 2.0)
    ]
    alone = [refine(image, probabilities, crf) for crf in grid]
    made = []
    monkeypatch.setattr(mean_field, "Lattice", lambda features: made.append(1) or Lattice(features))
    together = dict(mean_field.refine_each(image, probabilities, grid))
    assert sorted(together) == list(range(len(grid))) and len(made) == 2  # one per bilateral_sd
    for number, expected in enumerate(alone):
        assert np.array_equal(together[number], expected)
    assert len({refined.tobytes() for refined in alone}) == len(grid)


def test_same_labels_as_pydensecrf(data: Path) -> None:
    pytest.importorskip("pydensecrf")
    image, probabilities = photo_and_guess(data)
    ours, theirs = (
        refine(image, probabilities),
        pydensecrf.refine(image, probabilities),
    )
    assert (ours.argmax(0) == theirs.argmax(0)).mean() > 0.99
    assert np.abs(ours - theirs).sum(0).mean() < 0.01
    changed = theirs.argmax(0) != probabilities.argmax(0)
    assert changed.mean() > 0.01  # there was something to do
    assert (ours.argmax(0) == theirs.argmax(0))[changed].mean() > 0.9


def test_shape_type_sum_and_input_left_alone(data: Path) -> None:
    image, probabilities = photo_and_guess(data)
    image.flags.writeable = probabilities.flags.writeable = False
    kept = probabilities.copy()
    refined = refine(image, probabilities)
    assert refined.shape == probabilities.shape
    assert refined.dtype == np.float32
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert refined.min() >= 0
    np.testing.assert_array_equal(probabilities, kept)
    np.testing.assert_array_equal(refined, refine(image, probabilities))


def test_labels_that_win_nowhere_are_left_out(data: Path) -> None:
    image, probabilities = photo_and_guess(data)
    assert mean_field.labels_that_win(probabilities).tolist() == [0, 8, 12]
    refined = refine(image, probabilities)
    assert np.flatnonzero(refined.any(axis=(1, 2))).tolist() == [0, 8, 12]
    few = refine(image, probabilities[[0, 8, 12]])
    np.testing.assert_array_equal(refined[[0, 8, 12]], few)


def test_order_of_labels_is_no_matter(data: Path) -> None:
    image, probabilities = photo_and_guess(data)
    order = np.random.default_rng(1).permutation(21)
    refined = refine(image, probabilities)
    shuffled = refine(image, probabilities[order])
    np.testing.assert_allclose(shuffled, refined[order], atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 70), (70, 1), (2, 2)])
def test_tiny_photos(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    first = generator.random(size, dtype=np.float32)
    refined = refine(image, np.stack([first, 1 - first]))
    assert refined.shape == (2, *size)
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)


def test_flat_colour_goes_with_the_majority() -> None:
    first = np.full((20, 30), 0.7, np.float32)
    first[8:10, 10:13] = 0.4
    refined = refine(np.zeros((20, 30, 3), np.uint8), np.stack([first, 1 - first]))
    assert (refined[0] > 0.99).all()


def test_one_label_and_ties() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    certain = np.stack([np.zeros((2, 3)), np.ones((2, 3))]).astype(np.float32)
    np.testing.assert_array_equal(refine(image, certain), certain)
    even = refine(image, np.full((2, 2, 3), 0.5, np.float32))
    np.testing.assert_allclose(even, 0.5, atol=1e-4)
