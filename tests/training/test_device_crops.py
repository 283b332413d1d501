"""Crops of whole batches against those that Pillow and OpenCV make one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.training.device_crops import collate, cut_crops, cut_soft_labels
from deconvnet_cli.training.photo_store import PhotoFiles, PhotoStore, load_photos
from deconvnet_cli.training.samples import (
    CropPlan,
    change_colours,
    cut_crop,
    part_of,
)
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.soft_labels import SoftLabels, cut_soft, write_soft

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
        soft = (shares * 255).round().astype(np.uint8)
        write_soft(folder / f"{file.stem}.npz", SoftLabels(soft, classes=("a", "b", "c")))
    return folder


@pytest.fixture(scope="module")
def store(voc, teacher) -> PhotoStore:
    return load_photos(PhotoFiles(VocTree(voc), teacher), ["p0", "p1", "p2", "p3"])


def drawn(store: PhotoStore, count: int, seed: int = 0, **changes: object) -> list[CropPlan]:
    """Boxes of any size in the photos, over their edges too, larger and smaller than the crop."""
    generator = np.random.default_rng(seed)
    names = list(store.index)
    plans = []
    for number in range(count):
        name = names[number % len(names)]
        centre = np.array(store.size(name)) * generator.uniform(0, 1, 2)
        sides = np.exp(generator.uniform(np.log(6), np.log(160), 2))
        corners = np.concatenate((centre - sides / 2, centre + sides / 2)).round()
        left, top = generator.integers(0, SIDE - SIZE + 1, 2).tolist()
        box = tuple(corners.astype(int).tolist())
        plan = CropPlan(name, box, left, top, None, bool(generator.random() < 0.5), None)
        plans.append(replace(plan, **changes))
    return plans


def cut_batch(store: PhotoStore, plans: list[CropPlan]) -> tuple[torch.Tensor, torch.Tensor]:
    return cut_crops(store, collate(store, plans, SIDE, SIZE))


def one_at_a_time(store: PhotoStore, plan: CropPlan) -> tuple[np.ndarray, np.ndarray]:
    """The crop and the labels by Pillow."""
    settings = TrainSettings(resize=SIDE, size=SIZE)
    crop, labels = cut_crop(store, plan, settings, soft=False)
    return crop.permute(1, 2, 0).numpy().astype(int), labels.numpy()


def test_a_hundred_crops_are_pillows_up_to_rounding(store):
    plans = drawn(store, 100)
    crops, labels = cut_batch(store, plans)
    assert crops.shape == (100, 3, SIZE, SIZE) and crops.dtype == torch.uint8
    differing, relabelled = [], []
    for number, plan in enumerate(plans):
        crop, mask = one_at_a_time(store, plan)
        far = np.abs(crops[number].permute(1, 2, 0).numpy().astype(int) - crop)
        # Both round twice, after each direction, so a value may be off by two, but hardly any is.
        assert far.max() <= 2 and (far == 2).mean() < 0.002, plan.box
        differing.append((far > 0).mean())
        # Pillow adds up steps, so where a pixel's centre falls between two it may take the other.
        relabelled.append((labels[number].numpy() != mask).mean())
    assert np.mean(differing) < 0.05 and np.mean(relabelled) < 0.001 and max(relabelled) < 0.1


def test_colours_change_as_they_do_one_at_a_time(store):
    factors = np.random.default_rng(1).uniform(0.7, 1.3, (20, 3)).tolist()
    plans = drawn(store, 20)
    crops, _ = cut_batch(store, plans)
    coloured = [replace(plan, colours=tuple(f)) for plan, f in zip(plans, factors, strict=True)]
    changed, _ = cut_batch(store, coloured)
    for number in range(20):
        crop = np.ascontiguousarray(crops[number].permute(1, 2, 0).numpy())
        wanted = change_colours(crop, tuple(factors[number]))
        far = np.abs(changed[number].permute(1, 2, 0).numpy().astype(int) - wanted)
        assert far.max() <= 1 and (far > 0).mean() < 0.25  # OpenCV rounds its factors


def test_one_class_alone_is_labelled(store):
    plans = drawn(store, 8)
    one = [replace(plan, label=(3, 12)[number // 4]) for number, plan in enumerate(plans)]
    _, some = cut_batch(store, one)
    _, every = cut_batch(store, plans)
    for number, plan in enumerate(one):
        expected = np.where(np.isin(every[number], (plan.label, 255)), every[number], 0)
        np.testing.assert_array_equal(some[number].numpy(), expected)


def test_soft_labels_are_those_cut_one_at_a_time(store):
    plans = drawn(store, 40, seed=2)
    found = cut_soft_labels(store, collate(store, plans, SIDE, SIZE), 11)
    assert found.shape == (40, 3, 11, 11)
    for number, plan in enumerate(plans):
        part = part_of(plan.box, plan.left / SIDE, plan.top / SIDE, SIZE / SIDE)
        wanted = cut_soft(store.soft_labels(plan.name), *store.size(plan.name), part, 11)
        wanted = wanted.flip(2) if plan.mirrored else wanted
        torch.testing.assert_close(found[number], wanted, atol=1e-4, rtol=0)


def test_a_box_beside_the_photo_is_black_and_ignored(store):
    plans = drawn(store, 2)
    boxes = ((-60, -60, -10, -10), (500, 5, 540, 30))
    crops, labels = cut_batch(
        store, [replace(plan, box=box) for plan, box in zip(plans, boxes, strict=True)]
    )
    assert not crops.any() and bool((labels == 255).all())
