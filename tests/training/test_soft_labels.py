"""Soft labels: made, kept, cut and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.command_line import one_error_line
from PIL import Image

from deconvnet_cli import Segmenter
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.training import soft_labels
from deconvnet_cli.training.losses import soft_entropy
from deconvnet_cli.training.setup import require_soft_labels
from deconvnet_cli.training.soft_labels import SoftLabels


def test_written_soft_labels_are_read_back(tmp_path: Path):
    probabilities = np.random.default_rng(0).integers(0, 256, (21, 5, 7)).astype(np.uint8)
    path = soft_labels.soft_path(tmp_path, "a")
    soft_labels.write_soft(path, SoftLabels(probabilities))
    assert (soft_labels.read_soft(path).probabilities == probabilities).all()


@pytest.mark.parametrize(
    "content", [b"", b"no archive", b"PK\x03\x04 cut short"], ids=["empty", "text", "torn"]
)
def test_damaged_soft_labels_are_named(tmp_path: Path, content: bytes):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.npz: damaged"):
        soft_labels.read_soft(path)
    with pytest.raises(DatasetError, match=r"b\.npz: no soft labels"):
        soft_labels.read_soft(tmp_path / "b.npz")


def test_a_cut_at_the_grid_itself_is_the_grid():
    grid = np.random.default_rng(1).integers(0, 256, (3, 4, 4)).astype(np.uint8)
    cut = soft_labels.cut_soft(grid, 32, 32, (0, 0, 32, 32), 4)
    torch.testing.assert_close(cut, torch.from_numpy(grid).float() / 255)
    # The right half of the photo, and as much again beyond its edge.
    beyond = soft_labels.cut_soft(grid, 32, 32, (16, 0, 48, 32), 4)
    torch.testing.assert_close(beyond[:, :, :2], cut[:, :, 2:])
    assert (beyond[:, :, 2:] == 0).all()


def test_soft_entropy_of_certain_labels_is_the_cross_entropy():
    scores = torch.randn(2, 5, 6, 6, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(72).reshape(2, 6, 6) % 5
    certain = F.one_hot(labels, 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(soft_entropy(scores, certain), F.cross_entropy(scores, labels))
    # Pixels of which nothing is known do not count.
    certain[:, :, 3:] = 0
    kept = F.cross_entropy(scores[:, :, :3], labels[:, :3])
    torch.testing.assert_close(soft_entropy(scores, certain), kept)


def test_points_of_the_grid_are_the_means_of_their_cells():
    random = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(3))
    cells = random.repeat_interleave(8, 1).repeat_interleave(8, 2).softmax(0)
    grid = soft_labels.on_grid(cells, 24 * 8, 16 * 8)
    assert grid.shape == (3, 16, 24) and grid.dtype == np.uint8
    flat = soft_labels.on_grid(torch.full((2, 9, 30), 0.6), 60, 17)  # of a photo scaled down
    assert flat.shape == (2, 3, 8) and (flat == 153).all()
    assert np.abs(grid - 255 * random.softmax(0).numpy()).mean() < 8


def test_a_net_of_the_tool_teaches_what_segment_finds(deconvnet, tiny_weights, data, tmp_path):
    photo = tmp_path / "cat.png"
    with Image.open(data / "chelsea.jpg") as file:
        file.resize((160, 104)).save(photo)
    given = ("--weights", tiny_weights, "--proposals", 3)
    assert deconvnet("soft-labels", photo, *given, "-o", tmp_path / "soft").exit_code == 0
    found = soft_labels.read_soft(tmp_path / "soft" / "cat.npz").probabilities
    assert found.shape == (21, 13, 20)
    assert np.abs(found.sum(0).astype(int) - 255).max() <= 11  # 21 values, each rounded
    segmenter = Segmenter.load(weights=tiny_weights, proposals=3)
    seen = torch.from_numpy(segmenter.segment(photo).probabilities)
    means = F.avg_pool2d(seen, 8).numpy()
    assert np.abs(found / 255 - means).mean() < 0.02
    other = deconvnet("soft-labels", photo, "--weights", tiny_weights, "-o", tmp_path / "soft")
    one_error_line(other, 2, "cat.npz", "another teacher")


def test_photos_in_folders_of_a_tree_have_soft_labels_in_such_folders(
    deconvnet, tiny_weights, tmp_path
):
    names = ("a", "deeper/b")
    for name in names:
        for folder, mode, suffix in (
            ("JPEGImages", "RGB", "jpg"),
            ("SegmentationClass", "L", "png"),
        ):
            path = tmp_path / "tree" / folder / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (40, 30)).save(path)
    listed = tmp_path / "tree" / "ImageSets" / "Segmentation" / "some.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("\n".join(names))
    given = ("--voc-root", tmp_path / "tree", "--split", "some", "--weights", tiny_weights)
    result = deconvnet("soft-labels", *given, "-o", tmp_path / "soft")
    assert result.exit_code == 0, result.stderr
    require_soft_labels(tmp_path / "soft", list(names), CLASSES)
    assert soft_labels.read_soft(tmp_path / "soft/deeper/b.npz").probabilities.shape == (21, 4, 5)


def test_a_file_of_an_earlier_version_is_of_vocs_classes(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", probabilities=np.zeros((21, 2, 2), np.uint8))
    require_soft_labels(tmp_path, ["a"], CLASSES)
    with pytest.raises(DatasetError, match=r"a\.npz: soft labels of .*, but the run has .*leaf"):
        require_soft_labels(tmp_path, ["a"], ("background", "leaf"))


@pytest.mark.parametrize(
    ("teacher", "classes", "words"),
    [
        ("one", ("background", "leaf"), r"c\.npz: soft labels of 2 classes .*, but the run has 21"),
        ("two", CLASSES, r"c\.npz: soft labels of another teacher than .*a\.npz"),
        ("", CLASSES, r"c\.npz: soft labels of another teacher than .*a\.npz"),
    ],
)
def test_the_soft_labels_of_all_photos_are_checked(tmp_path, teacher, classes, words):
    def write(name, teacher, classes):
        probabilities = np.zeros((len(classes), 2, 2), np.uint8)
        soft = SoftLabels(probabilities, teacher, classes)
        soft_labels.write_soft(tmp_path / f"{name}.npz", soft)

    for name in "abc":
        write(name, "one", CLASSES)
    require_soft_labels(tmp_path, [*"abc"], CLASSES)
    write("c", teacher, classes)
    with pytest.raises(DatasetError, match=words):
        require_soft_labels(tmp_path, [*"cab"], CLASSES)
    (tmp_path / "b.npz").unlink()
    with pytest.raises(DatasetError, match=r"b\.npz: no soft labels of this photo"):
        require_soft_labels(tmp_path, [*"abc"], CLASSES)


def test_soft_labels_of_an_unknown_teacher_are_not_added_to(deconvnet, tiny_weights, tmp_path):
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(tmp_path / "a.png")
    soft_labels.write_soft(tmp_path / "out/a.npz", SoftLabels(np.zeros((21, 4, 5), np.uint8)))
    given = ("--weights", tiny_weights, "-o", tmp_path / "out")
    result = deconvnet("soft-labels", tmp_path / "a.png", *given)
    one_error_line(result, 2, "a.npz", "an earlier version", "another folder with -o")


@pytest.mark.parametrize(
    "sources", [(), ("a.jpg", "--split", "val"), ("a.jpg", "--voc-root", "x"), ("--list", "val")]
)
def test_photos_or_lists_and_not_some_of_both(deconvnet, tmp_path: Path, sources):
    result = deconvnet("soft-labels", *sources, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "give either photos, or --voc-root" in result.stderr
    assert not (tmp_path / "out").exists()


def test_it_says_what_was_written_and_what_was_there(deconvnet, tiny_weights, tmp_path):
    out = tmp_path / "out"
    photos = [tmp_path / f"{name}.png" for name in "ab"]
    for photo in photos:
        Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(photo)
    first = deconvnet("soft-labels", photos[0], "--weights", tiny_weights, "-o", out)
    assert first.exit_code == 0 and first.stderr == f"{out / 'a.npz'}: 1 written\n"
    both = deconvnet("soft-labels", *photos, "--weights", tiny_weights, "-o", out)
    assert both.stderr.splitlines() == [
        f"{out / 'b.npz'}: 1 written",
        f"{out}: 1 there already",
    ]
    assert (
        deconvnet("soft-labels", *photos, "--weights", tiny_weights, "-o", out, "--quiet").stderr
        == ""
    )


def test_damaged_soft_labels_are_made_again_and_others_teachers_kept(
    deconvnet, tiny_weights, tmp_path
):
    photo, made = tmp_path / "a.png", tmp_path / "out" / "a.npz"
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(photo)
    again = ("soft-labels", photo, "--weights", tiny_weights, "-o", made.parent)
    assert deconvnet(*again).exit_code == 0
    made.write_bytes(made.read_bytes()[:100])
    assert deconvnet(*again).stderr == f"{made}: 1 written\n"
    whole = made.read_bytes()
    assert soft_labels.read_soft(made).probabilities.shape == (21, 4, 5)
    one_error_line(deconvnet(*again, "--crf"), 2, "a.npz", "another teacher")
    assert made.read_bytes() == whole


def test_a_photo_that_cannot_be_read_is_told_and_the_others_are_done(
    deconvnet, data, tiny_weights, tmp_path
):
    Image.open(data / "chelsea.jpg").resize((60, 40)).save(tmp_path / "cat.png")
    given = (tmp_path / "nope.png", tmp_path / "cat.png", "--weights", tiny_weights)
    result = deconvnet("soft-labels", *given, "-o", tmp_path / "out")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert "nope.png: no such file" in first and "cat.npz: 1 written" in second
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cat.npz"]
