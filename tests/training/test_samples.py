"""Training samples are what they say they are, and depend on their number alone."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.data.objects import ObjectBox, find_objects, list_names, read_photo_and_mask
from deconvnet_cli.data.voc import IGNORE, VocTree, open_tree
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.training import samples
from deconvnet_cli.training.photo_store import PhotoFiles
from deconvnet_cli.training.samples import (
    CropDataset,
    CropPlan,
    change_colours,
    cut_crop,
    draw_box,
    draw_colours,
)
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.soft_labels import SoftLabels, soft_path, write_soft

CAT, DOG = 8, 12


@pytest.fixture
def tree(tmp_path: Path) -> VocTree:
    """Two 64x48 photos: a cat at the left of one, two dogs and a rim in the other."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    cat, dogs = np.zeros((2, 48, 64), np.uint8)
    cat[10:40, 4:30] = CAT
    dogs[4:20, 4:20] = dogs[24:44, 30:60] = DOG
    dogs[4:20, 20:24] = IGNORE
    for name, mask in (("cat", cat), ("dogs", dogs)):
        Image.fromarray(mask).save(tmp_path / f"SegmentationClass/{name}.png")
        # The photo shows its own labels, so that a crop can be checked against its labels.
        Image.fromarray(np.repeat(mask[:, :, None], 3, 2)).save(
            tmp_path / f"JPEGImages/{name}.jpg", quality=100
        )
        (tmp_path / f"ImageSets/Segmentation/{name}s.txt").write_text(f"{name}\n")
    return open_tree(tmp_path)


def drawn(box: Box, whole: float, anywhere: float) -> np.ndarray:
    """2000 boxes of stage 0 for an object of a 1000x800 photo: the columns x0, y0, x1 and y1."""
    rng = np.random.default_rng(0)
    item, how = ObjectBox("a", CAT, box), TrainSettings(whole=whole, size=224)
    with patch.object(samples, "ANYWHERE", anywhere):
        return np.array([draw_box(rng, item, 1000, 800, how) for _ in range(2000)]).T


def test_windows_show_an_object_at_different_sizes_inside_the_photo():
    left, top, right, bottom = drawn((900, 500, 940, 620), whole=0, anywhere=1)
    assert min(left.min(), top.min()) >= 0 and right.max() <= 1000 and bottom.max() <= 800
    assert left.max() <= 940 and 900 <= right.min() < 910
    assert top.max() <= 620 and 500 <= bottom.min() < 510
    across, down = right - left, bottom - top
    zoom = 224 / np.sqrt(across * down)
    assert np.median(zoom) == pytest.approx(np.sqrt(0.8 * 1.8), rel=0.02)  # log-uniform
    assert (zoom.min(), zoom.max()) == pytest.approx((0.8, 1.8), rel=0.01)
    shapes = across / down
    assert (shapes.min(), shapes.max()) == pytest.approx((0.8, 1.25), abs=0.02)
    # A top lies below the object's with 60 / d, where the sides d are log-uniform in 124 to 280.
    assert (top > 500).mean() == pytest.approx(0.33, abs=0.03)


def test_a_box_around_a_thin_object_is_at_most_three_times_as_long_as_wide():
    left, top, right, bottom = drawn((500, 100, 510, 400), whole=0, anywhere=0)
    across, down = right - left, bottom - top
    assert down.min() >= 300 and down.max() > 590
    assert across.min() >= 100 and (3 * across >= down - 3).all()
    left, top, right, bottom = drawn((100, 500, 400, 510), whole=0, anywhere=0)
    assert (3 * (bottom - top) >= right - left - 3).all()


def test_boxes_around_a_small_object_are_shifted_to_all_sides():
    left, top, right, bottom = drawn((500, 400, 505, 405), whole=0, anywhere=0)
    assert set(right - left) == set(bottom - top) == {100}
    for shift in ((left + right) / 2 - 502.5, (top + bottom) / 2 - 402.5):
        assert abs(shift).max() <= 16 and abs(shift.mean()) < 1  # 0.15 of 100, and rounding
        assert shift.std() == pytest.approx(15 / np.sqrt(3), rel=0.05)


def test_the_shares_of_whole_photos_windows_and_boxes():
    left, top, right, bottom = drawn((500, 400, 505, 405), whole=0.2, anywhere=0.3)
    whole = (left == 0) & (top == 0) & (right == 1000) & (bottom == 800)
    boxes = (right - left == 100) & (bottom - top == 100)
    assert whole.mean() == pytest.approx(0.2, abs=0.03)
    assert boxes.mean() == pytest.approx(0.5, abs=0.04)


def test_objects_are_connected_components(tree: VocTree):
    found = find_objects(tree, list_names(tree, ("cats", "dogss", "cats")))
    assert [(item.name, item.label, item.box) for item in found] == [
        ("cat", CAT, (4, 10, 30, 40)),
        ("dogs", DOG, (4, 4, 20, 20)),
        ("dogs", DOG, (30, 24, 60, 44)),
    ]


def test_a_sample_depends_on_seed_and_number_alone(tree: VocTree):
    objects = find_objects(tree, ["cat", "dogs"])
    dataset, again = (CropDataset(PhotoFiles(tree), objects, 8, seed=5) for _ in range(2))
    other = CropDataset(PhotoFiles(tree), objects, 8, seed=6)
    backwards = [again[number] for number in reversed(range(8))][::-1]
    for number, expected in enumerate(backwards):
        for here, there in zip(dataset[number], expected, strict=True):
            assert torch.equal(here, there)
    assert any(not torch.equal(dataset[number][0], other[number][0]) for number in range(8))


def test_crop_labels_and_soft_labels_show_the_same_place(tree: VocTree, tmp_path: Path):
    soft = np.zeros((21, 6, 8), np.uint8)
    cat = read_photo_and_mask(tree, "cat")[1]
    soft[CAT] = np.asarray(Image.fromarray(cat).resize((8, 6), Image.Resampling.BOX)) / CAT * 255
    soft[0] = 255 - soft[CAT]
    write_soft(soft_path(tmp_path, "cat"), SoftLabels(soft))
    how = TrainSettings(size=64, colour=0)
    dataset = CropDataset(
        PhotoFiles(tree, tmp_path), find_objects(tree, ["cat"]), 24, 0, how, soft=True
    )
    for number in range(len(dataset)):
        crop, labels, known = dataset[number]
        seen = crop.float().mean(0) > CAT / 2
        inside = labels != IGNORE
        assert (seen == (labels == CAT))[inside].float().mean() > 0.95
        near = torch.nn.functional.avg_pool2d((labels == CAT).float()[None], 4)[0]
        sure = (near == 0) | (near == 1)
        agreed = (known[CAT] > 0.5) == (near > 0.5)
        assert agreed[sure].float().mean() > 0.85


def test_every_class_is_seen_where_samples_are_balanced(tree: VocTree):
    objects = find_objects(tree, ["cat"]) + find_objects(tree, ["dogs"]) * 20
    how = TrainSettings(size=32, balanced=1.0, whole=1.0)
    dataset = CropDataset(PhotoFiles(tree), objects, 60, 0, how)
    cats = sum(bool((dataset[number][1] == CAT).any()) for number in range(60))
    assert 15 <= cats <= 45  # half of them; one in 41 if the classes were not balanced


def test_masks_without_objects_are_refused(tree: VocTree):
    Image.new("L", (64, 48)).save(tree.mask("cat"))
    with pytest.raises(DatasetError, match="no object"):
        find_objects(tree, ["cat"])


def test_stage_one_centres_one_object_and_labels_its_class_alone(tree: VocTree):
    mask = np.zeros((48, 64), np.uint8)
    mask[10:40, 20:40] = CAT
    mask[10:40, 41:60] = DOG  # its first column is in the crop
    Image.fromarray(mask).save(tree.mask("cat"))
    objects = find_objects(tree, ["cat"])[:1]
    how = TrainSettings(stage=1, size=36, colour=0)
    crop, labels = CropDataset(PhotoFiles(tree), objects, 1, 0, how)[0]
    # Box 20..40 x 10..40, enlarged 1.2: 18..42 x 7..43, so the object fills 5/6 of each side.
    assert set(labels.unique().tolist()) == {0, CAT}
    share = (labels == CAT).float()
    assert share.mean().item() == pytest.approx(1 / 1.44, abs=0.03)
    assert share.any(0).nonzero().squeeze().tolist() == list(range(3, 33))
    assert crop.shape == (3, 36, 36)


@pytest.mark.parametrize("stage, label", [(0, None), (1, CAT), (2, None)])
def test_only_stage_one_labels_a_single_class(tree: VocTree, stage: int, label: int | None):
    objects = find_objects(tree, ["cat"])
    dataset = CropDataset(PhotoFiles(tree), objects, 1, 0, TrainSettings(stage=stage))
    assert dataset.plan(0).label == label


def test_stage_one_keeps_the_rim(tree: VocTree):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:4], mask[4], mask[6] = CAT, IGNORE, DOG
    Image.fromarray(mask).save(tree.mask("cat"))
    Image.new("RGB", (8, 8)).save(tree.root / "JPEGImages/cat.jpg")
    plan = CropPlan("cat", (0, 0, 8, 8), 0, 0, None, False, CAT)
    labels = cut_crop(PhotoFiles(tree), plan, TrainSettings(stage=1, size=8), soft=False)[1]
    assert labels[:, 0].tolist() == [0, 0, CAT, CAT, IGNORE, 0, 0, 0]


def test_stage_two_cuts_the_box_and_labels_everything(tree: VocTree):
    how = TrainSettings(stage=2, size=48, colour=0)
    objects = [ObjectBox("dogs", DOG, (2, 2, 62, 46))]
    labels = CropDataset(PhotoFiles(tree), objects, 1, 0, how)[0][1]
    assert set(labels.unique().tolist()) == {0, DOG, IGNORE}


def test_a_random_crop_is_a_part_of_the_resized_box(tree: VocTree, tmp_path: Path):
    """The paper's 224 of 250: label, pixel and soft label still show the same place."""
    whole = TrainSettings(stage=2, size=50, colour=0)
    part = TrainSettings(stage=2, size=40, resize=50, colour=0)
    objects = [ObjectBox("cat", CAT, (0, 0, 64, 48))]
    full = CropDataset(PhotoFiles(tree), objects, 1, 0, whole)[0][1]
    soft = np.zeros((21, 48, 64), np.uint8)
    soft[CAT] = 255 * (read_photo_and_mask(tree, "cat")[1] == CAT)
    write_soft(soft_path(tmp_path, "cat"), SoftLabels(soft))
    dataset = CropDataset(PhotoFiles(tree, tmp_path), objects, 20, 0, part, soft=True)
    places = set()
    for number in range(20):
        crop, labels, known = dataset[number]
        assert ((crop.float().mean(0) > CAT / 2) == (labels == CAT)).float().mean() > 0.95
        near = torch.nn.functional.avg_pool2d((labels == CAT).float()[None], 4)[0]
        sure = (near == 0) | (near == 1)
        assert (known[CAT] == near)[sure].float().mean() > 0.95
        found = [
            (top, left, mirrored)
            for top in range(11)
            for left in range(11)
            for mirrored in (False, True)
            if torch.equal(
                labels.flip(1) if mirrored else labels, full[top : top + 40, left : left + 40]
            )
            or torch.equal(
                labels.flip(1) if mirrored else labels,
                full.flip(1)[top : top + 40, left : left + 40],
            )
        ]
        assert found
        places.update(found)
    assert len({place[:2] for place in places}) > 5


def test_colours_change_as_three_steps_by_hand_would():
    crop = np.random.default_rng(0).integers(60, 190, (9, 7, 3)).astype(np.uint8)
    colours = draw_colours(np.random.default_rng(4), 0.2)
    assert all(abs(factor - 1) <= 0.2 for factor in colours) and len(set(colours)) == 3
    changed = change_colours(crop, colours)
    brightness, contrast, saturation = colours
    values = crop * brightness
    grey = values.mean(2, keepdims=True)
    values = grey + (values - grey) * saturation
    values = values.mean() + (values - values.mean()) * contrast
    assert np.abs(changed - values.clip(0, 255)).max() <= 0.51  # rounded
