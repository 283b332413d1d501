"""Soft labels: made, kept, cut and compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.command_line import one_error_line
from PIL import Image

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.training import soft_labels
from deconvnet_cli.training.losses import soft_entropy


def test_written_soft_labels_are_read_back(tmp_path: Path):
    probabilities = np.random.default_rng(0).integers(0, 256, (21, 5, 7)).astype(np.uint8)
    path = soft_labels.soft_path(tmp_path, "a")
    soft_labels.write_soft(path, probabilities)
    assert (soft_labels.read_soft(path) == probabilities).all()


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


def test_a_mirrored_photo_has_mirrored_soft_labels(data: Path):
    torch.manual_seed(0)
    net = DeconvNetMobile(strided=True).eval()
    convention: InputConvention = net_spec("deconvnet-mobilenet").input
    with Image.open(data / "chelsea.jpg") as file:
        photo = file.convert("RGB").resize((160, 112))
    here = soft_labels.soft_labels(net, convention, photo)
    there = soft_labels.soft_labels(
        net, convention, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    )
    assert here.shape == (21, 14, 20)
    assert np.abs(here.sum(0).astype(int) - 255).max() <= 11  # 21 values, each rounded
    assert np.abs(here.astype(int) - there[:, :, ::-1]).max() <= 1


@pytest.mark.parametrize(
    "sources", [(), ("a.jpg", "--split", "val"), ("a.jpg", "--voc-root", "x"), ("--list", "val")]
)
def test_photos_or_lists_and_not_some_of_both(deconvnet, tmp_path: Path, sources):
    weights = tmp_path / "w"
    weights.touch()
    result = deconvnet("soft-labels", *sources, "--weights", weights, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "give either photos, or --voc-root" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in whose place a net of random weights is loaded."""
    net = DeconvNetMobile(strided=True).eval()
    monkeypatch.setattr(soft_labels, "load_teacher", lambda path: net)
    (tmp_path / "w").write_text("one teacher")
    return tmp_path / "w"


def test_it_says_what_was_written_and_what_was_there(deconvnet, teacher, tmp_path):
    out = tmp_path / "out"
    photos = [tmp_path / f"{name}.png" for name in "ab"]
    for photo in photos:
        Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(photo)
    first = deconvnet("soft-labels", photos[0], "--weights", teacher, "-o", out)
    assert first.exit_code == 0 and first.stderr == f"{out / 'a.npz'}: 1 written\n"
    both = deconvnet("soft-labels", *photos, "--weights", teacher, "-o", out)
    assert both.stderr.splitlines() == [
        f"{out / 'b.npz'}: 1 written",
        f"{out}: 1 there already",
    ]
    assert (
        deconvnet("soft-labels", *photos, "--weights", teacher, "-o", out, "--quiet").stderr == ""
    )


def test_damaged_soft_labels_are_made_again_and_others_teachers_kept(deconvnet, teacher, tmp_path):
    photo, made = tmp_path / "a.png", tmp_path / "out" / "a.npz"
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(photo)
    again = ("soft-labels", photo, "--weights", teacher, "-o", made.parent)
    assert deconvnet(*again).exit_code == 0
    made.write_bytes(made.read_bytes()[:100])
    assert deconvnet(*again).stderr == f"{made}: 1 written\n"
    whole = made.read_bytes()
    assert soft_labels.read_soft(made).shape == (21, 4, 5)
    teacher.write_text("another teacher")
    one_error_line(deconvnet(*again), 2, "a.npz", "another teacher")
    assert made.read_bytes() == whole


def test_a_photo_that_cannot_be_read_is_told_and_the_others_are_done(
    deconvnet, data, teacher, tmp_path
):
    Image.open(data / "chelsea.jpg").resize((60, 40)).save(tmp_path / "cat.png")
    given = (tmp_path / "nope.png", tmp_path / "cat.png", "--weights", teacher)
    result = deconvnet("soft-labels", *given, "-o", tmp_path / "out")
    assert result.exit_code == 1
    first, second = result.stderr.splitlines()
    assert "nope.png: no such file" in first and "cat.npz: 1 written" in second
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cat.npz"]
