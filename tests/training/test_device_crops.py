"""Crops of whole batches against those that Pillow and OpenCV make one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.segmentation.crops import cut, cut_mask
from deconvnet_cli.training.device_crops import CropPlans, cut_crops, cut_soft_labels
from deconvnet_cli.training.photo_store import PhotoStore, load_photos
from deconvnet_cli.training.samples import jitter_colour, part_of
from deconvnet_cli.training.soft_labels import cut_soft, write_soft

SIDE, SIZE = 50, 44


@pytest.fixture(scope="module")
def teacher(voc, tmp_path_factory):
    """Soft labels of the photos of ``voc``, of 3 classes, a cell to 8 pixels."""
    folder = tmp_path_factory.mktemp("soft")
    generator = np.random.default_rng(0)
    for file in (voc / "JPEGImages").iterdir():
        with Image.open(file) as photo:
            grid = -(-photo.height // 8), -(-photo.width // 8)
        shares = generator.dirichlet(np.ones(3), grid).transpose(2, 0, 1)
        write_soft(folder / f"{file.stem}.npz", (shares * 255).round().astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def store(voc, teacher) -> PhotoStore:
    return load_photos(VocTree(voc), ["p0", "p1", "p2", "p3"], teacher)


def plans_of(store: PhotoStore, count: int, seed: int = 0, **changes: object) -> CropPlans:
    """Boxes of any size in the photos, over their edges too, larger and smaller than the crop."""
    generator = np.random.default_rng(seed)
    photos = generator.integers(0, len(store.sizes), count)
    centres = store.sizes[torch.from_numpy(photos)].numpy() * generator.uniform(0, 1, (count, 2))
    sides = np.exp(generator.uniform(np.log(6), np.log(160), (count, 2)))
    corners = np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)
    given = {
        "photos": torch.from_numpy(photos),
        "boxes": torch.from_numpy(corners.round().astype(np.int64)),
        "offsets": torch.from_numpy(generator.integers(0, SIDE - SIZE + 1, (count, 2))),
        "mirrored": torch.from_numpy(generator.random(count) < 0.5),
        "colours": torch.ones(count, 3),
        "labels": torch.full((count,), -1),
        "side": SIDE,
        "size": SIZE,
    }
    return CropPlans(**{**given, **changes})


def one_at_a_time(store: PhotoStore, plans: CropPlans, number: int) -> tuple[np.ndarray, ...]:
    """The crop and the labels by Pillow."""
    name = list(store.index)[int(plans.photos[number])]
    photo, mask = store.photo_and_mask(name)
    box = tuple(plans.boxes[number].tolist())
    left, top = plans.offsets[number].tolist()
    within = slice(top, top + SIZE), slice(left, left + SIZE)
    crop = cut(photo, box, SIDE, SIDE)[within]
    labels = cut_mask(mask, box, SIDE, outside=255)[within]
    if plans.mirrored[number]:
        crop, labels = crop[:, ::-1], labels[:, ::-1]
    return crop, labels


def test_a_hundred_crops_are_pillows_up_to_rounding(store):
    plans = plans_of(store, 100)
    crops, labels = cut_crops(store, plans)
    assert crops.shape == (100, 3, SIZE, SIZE) and crops.dtype == torch.uint8
    differing, relabelled = [], []
    for number in range(100):
        crop, mask = one_at_a_time(store, plans, number)
        far = np.abs(crops[number].permute(1, 2, 0).numpy().astype(int) - crop)
        assert far.max() <= 1, plans.boxes[number]
        differing.append((far > 0).mean())
        # Pillow adds up steps, so where a pixel's centre falls between two it may take the other.
        relabelled.append((labels[number].numpy() != mask).mean())
    assert np.mean(differing) < 0.05 and np.mean(relabelled) < 0.001 and max(relabelled) < 0.1


def test_colours_change_as_they_do_one_at_a_time(store):
    class Drawn:
        """Gives the factors that are asked for."""

        def __init__(self, factors: np.ndarray) -> None:
            self.factors = factors

        def uniform(self, low: float, high: float, count: int) -> np.ndarray:
            return self.factors - 1

    factors = np.random.default_rng(1).uniform(0.7, 1.3, (20, 3))
    plain = plans_of(store, 20)
    changed, _ = cut_crops(store, plans_of(store, 20, colours=torch.from_numpy(factors).float()))
    crops, _ = cut_crops(store, plain)
    for number in range(20):
        crop = np.ascontiguousarray(crops[number].permute(1, 2, 0).numpy())
        wanted = jitter_colour(Drawn(factors[number]), crop, 0.3)
        far = np.abs(changed[number].permute(1, 2, 0).numpy().astype(int) - wanted)
        assert far.max() <= 1 and (far > 0).mean() < 0.25  # OpenCV rounds its factors


def test_one_class_alone_is_labelled(store):
    plans = plans_of(store, 8, photos=torch.arange(8) % 4, labels=torch.tensor([3, 12] * 4))
    whole = plans_of(store, 8, photos=torch.arange(8) % 4)
    _, some = cut_crops(store, plans)
    _, every = cut_crops(store, whole)
    for number in range(8):
        one = int(plans.labels[number])
        expected = np.where(np.isin(every[number], (one, 255)), every[number], 0)
        np.testing.assert_array_equal(some[number].numpy(), expected)


def test_soft_labels_are_those_cut_one_at_a_time(store):
    plans = plans_of(store, 40, seed=2)
    found = cut_soft_labels(store, plans, 11)
    assert found.shape == (40, 3, 11, 11)
    for number in range(40):
        name = list(store.index)[int(plans.photos[number])]
        width, height = store.sizes[plans.photos[number]].tolist()
        left, top = (plans.offsets[number] / SIDE).tolist()
        part = part_of(tuple(plans.boxes[number].tolist()), left, top, SIZE / SIDE)
        wanted = cut_soft(store.soft_labels(name), width, height, part, 11)
        wanted = wanted.flip(2) if plans.mirrored[number] else wanted
        torch.testing.assert_close(found[number], wanted, atol=1e-4, rtol=0)


def test_a_box_beside_the_photo_is_black_and_ignored(store):
    boxes = torch.tensor([[-60, -60, -10, -10], [500, 5, 540, 30]])
    plans = plans_of(store, 2, boxes=boxes, photos=torch.tensor([0, 1]))
    crops, labels = cut_crops(store, plans)
    assert not crops.any() and bool((labels == 255).all())
