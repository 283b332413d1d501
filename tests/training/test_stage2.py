"""The boxes of training stage 2, against those of a prediction and against counting pixels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photos import pieces
from PIL import Image
from torch import nn

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.objects import ObjectBox, find_objects
from deconvnet_cli.data.voc import IGNORE, VocTree, open_tree
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.nets.inputs import MOBILENET_INPUT
from deconvnet_cli.nets.registry import NETS
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.segmentation.edges import gradient_edges
from deconvnet_cli.segmentation.proposals import LEAST_AREA
from deconvnet_cli.segmentation.segment import infer
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.training import proposal_files
from deconvnet_cli.training.photo_store import PhotoFiles
from deconvnet_cli.training.proposal_files import boxes_path, find_boxes, list_boxes, read_boxes
from deconvnet_cli.training.samples import CropDataset, draw_box
from deconvnet_cli.training.settings import TrainSettings, changed, default_settings
from deconvnet_cli.training.settings_checks import check_together
from deconvnet_cli.training.setup import stage2_boxes, stoppable
from deconvnet_cli.training.stage2_boxes import labels_shown, overlapping_proposals, shown_boxes
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import Weights

CAT, DOG = 8, 12


@pytest.fixture
def tree(tmp_path: Path) -> VocTree:
    """A photo of a cat beside a dog, and one of nothing."""
    root = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shift in (("pets", 0), ("nothing", 9)):
        pixels = rng.integers(90, 110, (150, 200, 3)).astype(np.uint8)
        pixels[30:120, 20 + shift : 90] = (200, 40, 40)
        pixels[40:130, 100:170] = (30, 30, 160 + shift)
        mask = np.zeros((150, 200), np.uint8)
        if name == "pets":
            mask[30:120, 20:90], mask[40:130, 100:170], mask[:, 198:] = CAT, DOG, IGNORE
        Image.fromarray(pixels).save(root / f"JPEGImages/{name}.jpg", quality=95)
        Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("pets\nnothing\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("nothing\n")
    return open_tree(root)


@pytest.fixture
def searched(monkeypatch) -> list[str]:
    """The photos that boxes were looked for in, by size and colour of a pixel."""
    seen = []

    def find(photo: Image.Image, count: int | None) -> np.ndarray:
        seen.append("pets" if photo.getpixel((22, 100))[0] > 150 else "nothing")
        return find_boxes(photo, count)

    monkeypatch.setattr(proposal_files, "find_boxes", find)
    monkeypatch.setattr(proposal_files, "cores", lambda: 2)
    return seen


def boxes_of_run(tree: VocTree, cache: Path, boxes: str) -> list[ObjectBox]:
    settings = replace(default_settings("deconvnet-mobilenet", 2), boxes=boxes)
    objects = find_objects(tree, ["pets", "nothing"])
    return stage2_boxes(tree, settings, objects, cache, lambda *_: lambda: None)


@pytest.mark.parametrize("size", [(200, 150), (1600, 900)])
def test_shown_boxes_are_those_of_a_prediction(size: tuple[int, int]):
    """Also where ``segment`` works on a smaller copy of the photo."""
    card = card_for("deconvnet-mobilenet", {}, input=replace(MOBILENET_INPUT, size=32))
    system = alone(Weights(nn.Conv2d(3, 21, 1), card, Path("tiny")))
    photo = pieces(size)[0]
    inferred = infer(photo, system, SegmentSettings())
    count = NETS["deconvnet-mobilenet"].proposals
    scale = photo.width / inferred.photo.width
    found = find_boxes(photo, count)
    assert 1 < len(found) <= count
    np.testing.assert_array_equal(found, np.rint(inferred.boxes * scale))  # as Segmenter's
    assert found[0].tolist() == [0, 0, *size]
    # A net that is shown fewer boxes is shown the first of them: both searches are quick ones.
    np.testing.assert_array_equal(find_boxes(photo, 10), found[:10])


def test_all_boxes_are_those_of_edge_boxes():
    """Small objects need small boxes, though a prediction leaves these out."""
    photo = pieces((200, 150))[1]
    finder = cv2.ximgproc.createEdgeBoxes(
        maxBoxes=2000, alpha=0.65, beta=0.6, minBoxArea=LEAST_AREA
    )
    boxes, _ = finder.getBoundingBoxes(*gradient_edges(np.asarray(photo)))
    x, y, w, h = boxes.T
    found = find_boxes(photo, None)
    assert (found[:, 2:] - found[:, :2]).min() < 30
    np.testing.assert_array_equal(found, np.stack((x - 1, y - 1, x - 1 + w, y - 1 + h), 1))


def test_overlapping_boxes_by_pixels(tree: VocTree, tmp_path: Path):
    proposals = list_boxes(tmp_path, tree, ["train"], None)
    objects = find_objects(tree, ["pets", "nothing"])
    found = overlapping_proposals(proposals, objects)
    assert {item.label for item in found} == {CAT, DOG}
    expected = []
    for item in objects:
        area = np.zeros((150, 200), bool)
        area[item.box[1] : item.box[3], item.box[0] : item.box[2]] = True
        for box in proposals["pets"].tolist():
            here = np.zeros_like(area)
            here[box[1] : box[3], box[0] : box[2]] = True
            if (area & here).sum() >= 0.5 * (area | here).sum():
                expected.append(ObjectBox("pets", item.label, tuple(box)))
    assert found == expected
    with pytest.raises(DatasetError, match="no proposal overlaps"):
        overlapping_proposals({"pets": proposals["pets"][:0]}, objects)


def test_classes_in_boxes_by_pixels():
    rng = np.random.default_rng(1)
    mask = np.zeros((60, 80), np.uint8)
    mask[5:9, 5:9], mask[20:50, 30:70], mask[50:, 60:] = 3, CAT, IGNORE
    corners = np.sort(rng.integers(-20, 100, (60, 2, 2)), axis=1).reshape(60, 4)
    corners[:, 2:] += 1
    # Each box holds a pixel of the photo at least.
    boxes = np.clip(corners, (-20, -20, 1, 1), (79, 59, 100, 100)).astype(np.int32)
    counted = []
    for x0, y0, x1, y1 in boxes.tolist():
        part = mask[max(y0, 0) : y1, max(x0, 0) : x1]
        counted.append([k for k in (3, CAT) if (part == k).sum() >= max(0.01 * part.size, 1)])
    assert labels_shown(mask, boxes) == counted
    assert {tuple(labels) for labels in counted} >= {(), (3,), (CAT,)}


def test_shown_boxes_are_drawn_evenly_over_classes_and_misses(tree: VocTree, tmp_path: Path):
    found = boxes_of_run(tree, tmp_path, "shown")
    sampling = TrainSettings(stage=2, boxes="shown", balanced=1.0)
    dataset = CropDataset(PhotoFiles(tree), found, 40, 0, sampling)
    assert [pool[0].label for pool in dataset.by_label] == [0, CAT, DOG]
    boxes = [(item.name, item.box) for item in dataset.objects]
    assert len(set(boxes)) == len(boxes)
    for name in ("pets", "nothing"):
        predicted = find_boxes(read_photo(tree.image(name)), 21).tolist()
        assert [list(box) for other, box in boxes if other == name] == predicted
    # Crops show these very boxes, with all classes labelled.
    labels = {label for number in range(40) for label in dataset[number][1].unique().tolist()}
    assert labels == {0, CAT, DOG, IGNORE}


def test_the_share_of_whole_photos():
    item = ObjectBox("a", CAT, (3, 4, 50, 60))
    how = TrainSettings(stage=2, boxes="shown", whole=0.3)
    rng = np.random.default_rng(0)
    drawn = [draw_box(rng, item, 200, 150, how) for _ in range(1000)]
    assert set(drawn) == {item.box, (0, 0, 200, 150)}
    assert drawn.count(item.box) == pytest.approx(700, abs=45)  # three standard deviations
    paper = TrainSettings(stage=2, whole=1.0)
    assert draw_box(rng, item, 200, 150, paper) == (-2, -2, 54, 65)  # enlarged by 1.2


def test_proposals_are_found_once(tree: VocTree, tmp_path: Path, searched: list[str]):
    first = boxes_of_run(tree, tmp_path, "overlapping")
    assert sorted(searched) == ["nothing", "pets"]
    assert [path.name for path in tmp_path.glob("*.npz")] == ["train-all.npz"]
    assert boxes_of_run(tree, tmp_path, "overlapping") == first
    assert len(searched) == 2
    # Two lists share a photo; it is looked at once for both.
    list_boxes(tmp_path, tree, ["train", "val"], 21)
    assert len(searched) == 4
    assert {path.name for path in tmp_path.glob("*-21.npz")} == {"train-21.npz", "val-21.npz"}


def test_a_changed_photo_a_longer_list_and_another_version_are_noticed(
    tree, tmp_path, searched, monkeypatch
):
    list_boxes(tmp_path, tree, ["val"], 21)
    path = tree.root / "ImageSets/Segmentation/val.txt"
    path.write_text("pets\nnothing\n")
    tree = open_tree(tree.root)
    before = list_boxes(tmp_path, tree, ["val"], 21)
    assert searched == ["nothing", "pets"]
    os.utime(tree.image("pets"), ns=(0, 0))  # as a copy of the same pixels from long ago
    list_boxes(tmp_path, tree, ["val"], 21)
    assert searched == ["nothing", "pets", "pets"]
    photo = read_photo(tree.image("pets")).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    photo.save(tree.image("pets"))
    after = list_boxes(tmp_path, tree, ["val"], 21)
    assert len(searched) == 4
    assert before["pets"].tolist() != after["pets"].tolist()
    np.testing.assert_array_equal(before["nothing"], after["nothing"])
    monkeypatch.setattr(proposal_files, "__version__", "9.9")
    list_boxes(tmp_path, tree, ["val"], 21)
    assert len(searched) == 6


def test_a_damaged_file_is_found_anew_and_said(tree: VocTree, tmp_path: Path, capsys):
    before = list_boxes(tmp_path, tree, ["train"], 21)
    path = boxes_path(tmp_path, "train", 21)
    whole = path.read_bytes()
    odd = {name: np.zeros(3) for name in ("search", "names", "stamps", "counts", "boxes")}
    for spoil in (
        lambda: path.write_bytes(b""),
        lambda: path.write_bytes(whole[: len(whole) // 2]),
        lambda: np.savez(path, **odd),
        lambda: np.savez(path, names=np.array(["a"])),
    ):
        spoil()
        with pytest.raises(DatasetError, match=r"train-21\.npz: damaged proposals"):
            read_boxes(path, "")
        after = list_boxes(tmp_path, tree, ["train"], 21)
        assert "train-21.npz: damaged proposals" in capsys.readouterr().err
        for name, boxes in before.items():
            np.testing.assert_array_equal(after[name], boxes)
    list_boxes(tmp_path, tree, ["train"], 21)
    assert not capsys.readouterr().err


def test_what_was_found_before_a_stop_is_kept(tree, tmp_path, searched, monkeypatch):
    monkeypatch.setattr(proposal_files, "cores", lambda: 1)
    settings = default_settings("deconvnet-mobilenet", 2)
    bars = stoppable(lambda *_: lambda: None, lambda: len(searched) == 1)
    with pytest.raises(KeyboardInterrupt):
        stage2_boxes(tree, settings, find_objects(tree, ["pets"]), tmp_path, bars)
    list_boxes(tmp_path, tree, ["train"], None)
    assert searched == ["pets", "nothing"]


def test_nets_that_are_shown_no_boxes_are_refused():
    settings = default_settings("fcn8s-mobilenet", 2)
    with pytest.raises(UsageError, match="fcn8s-mobilenet is shown no boxes"):
        check_together(changed(settings, {"boxes": "shown"}, "--set"), "--set")
    with pytest.raises(UsageError, match="known: overlapping, shown"):
        changed(TrainSettings(), {"boxes": "first"}, "--set")


def test_photos_without_objects_show_background(tree: VocTree):
    boxes = {"nothing": np.array([[0, 0, 200, 150], [5, 5, 90, 90]], np.int32)}
    assert shown_boxes(tree, boxes) == [
        ObjectBox("nothing", 0, (0, 0, 200, 150)),
        ObjectBox("nothing", 0, (5, 5, 90, 90)),
    ]
