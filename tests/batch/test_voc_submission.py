"""Label PNGs for the VOC evaluation server: where they go, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import one_error_line
from PIL import Image

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.voc_submission import (
    check_submission,
    plan_submission,
    submission_folder,
)
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import palette
from deconvnet_cli.errors import DatasetError, ImageError, UsageError

FOLDER = Path("results/VOC2012/Segmentation/comp6_test_cls")  # as the development kit has it


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "ImageSets" / "test.txt"
    path.parent.mkdir()
    path.write_text("p2\np0\n\np3\n")
    return path


@pytest.fixture
def made(deconvnet, voc, lively_weights, listed, tmp_path):
    """The whole command on the photos of the list."""

    def call(*options: object):
        options = ("--weights", lively_weights, "--proposals", 2, *options)
        out = tmp_path / "out"
        return deconvnet(
            "batch", voc / "JPEGImages", "-o", out, "--voc-submission", listed, *options
        )

    return call


def test_layout(made, voc, tmp_path):
    result = made()
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    names = ("p0", "p2", "p3")
    kept = Path("manifest.jsonl"), Path(".deconvnet.lock")
    assert files == {*kept, *(FOLDER / f"{name}.png" for name in names)}
    for name in names:
        photo = Image.open(voc / "JPEGImages" / f"{name}.jpg")
        with Image.open(out / FOLDER / f"{name}.png") as labels:
            assert (labels.mode, labels.size) == ("P", photo.size)
            assert labels.getpalette() == palette().ravel().tolist()
            assert np.array(labels).max() <= 20
        photo.close()
    assert "complete" in result.stderr and str(out / "results") in result.stderr.replace("\n", "")


def test_what_is_done_is_skipped_and_checked(made, tmp_path):
    assert made().exit_code == 0
    folder = tmp_path / "out" / FOLDER
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / "p0.png").unlink()
    again = made()
    assert again.exit_code == 0 and "1 made, 2 there already" in again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["p0.png"]
    with Image.open(folder / "p2.png") as labels:
        small = labels.crop((0, 0, 9, 9))
    small.save(folder / "p2.png")
    again = made()
    assert again.exit_code == 0 and "1 made, 2 there already" in again.stderr


def test_scores_are_kept_elsewhere(made, tmp_path):
    result = made("--save-scores")
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    assert {path.suffix for path in (out / FOLDER).iterdir()} == {".png"}
    kept = sorted(path.name for path in (out / "scores").iterdir())
    assert kept == ["p0.npz", "p2.npz", "p3.npz"]
    assert "0 made, 3 there already" in made("--save-scores").stderr
    (out / "scores" / "p3.npz").unlink()
    assert "1 made, 2 there already" in made("--save-scores").stderr


def test_a_name_without_a_photo(made, listed, tmp_path):
    listed.write_text("p0\ngone\naway\np1\n")
    result = made()
    one_error_line(result, 1, "gone: named in", "test.txt", "2 of 4")
    assert not (tmp_path / "out").exists()


def test_a_photo_that_fails_is_named_and_nothing_is_complete(
    deconvnet, tiny_weights, listed, tmp_path
):
    photos = tmp_path / "photos"
    photos.mkdir()
    listed.write_text("a\nb\n")
    Image.new("RGB", (9, 9)).save(photos / "a.jpg")
    (photos / "b.jpg").write_bytes(b"")
    options = ("-o", tmp_path / "out", "--voc-submission", listed, "--weights", tiny_weights)
    result = deconvnet("batch", photos, *options, "--proposals", 1)
    assert result.exit_code == 1
    assert "b.jpg" in result.stderr and "complete" not in result.stderr


def jobs(*photos: str) -> list[Job]:
    return [Job(Path(photo), Path("out") / Path(photo).with_suffix(".png")) for photo in photos]


def test_order_and_names_are_those_of_the_list(listed: Path) -> None:
    found = plan_submission(
        jobs("p0.jpg", "p1.jpg", "deep/p2.jpg", "p3.b.jpg", "p3.jpg"), listed, Path("out")
    )
    assert found == [
        Job(Path(photo), "out" / FOLDER / f"{name}.png", Path(f"out/scores/{name}.npz"))
        for photo, name in (("deep/p2.jpg", "p2"), ("p0.jpg", "p0"), ("p3.jpg", "p3"))
    ]
    # Lists are of all forms that `evaluate` reads.
    listed.write_text("p0 1\np1  0\np2 -1\nJPEGImages/p0.jpg SegmentationClass/p0.png\n")
    found = plan_submission(jobs("p0.jpg", "p1.jpg", "p2.jpg"), listed, Path("out"))
    assert [job.photo.name for job in found] == ["p0.jpg", "p1.jpg"]


def test_lists_and_photos_that_do_not_fit(listed: Path) -> None:
    two = jobs("a/p0.jpg", "b/p0.jpg", "p2.jpg", "p3.jpg")
    with pytest.raises(UsageError, match=r"a/p0\.jpg and b/p0\.jpg: both are called p0"):
        plan_submission(two, listed, Path("out"))
    listed.write_text("p2")  # of what is not in the list there may be two
    assert len(plan_submission(two, listed, Path("out"))) == 1
    listed.write_text("../p2")
    with pytest.raises(ImageError, match=r"\.\./p2: named in"):
        plan_submission(two, listed, Path("out"))
    for text, words in ((b" \n", "the list is empty"), (b"\xff\xfe", "not a readable list")):
        listed.write_bytes(text)
        with pytest.raises(DatasetError, match=words):
            plan_submission(two, listed, Path("out"))


@pytest.fixture
def one(tmp_path: Path, listed: Path) -> Job:
    """A job that is done well."""
    photo = tmp_path / "p0.jpg"
    Image.new("RGB", (9, 6)).save(photo)
    job = Job(photo, submission_folder(tmp_path, listed) / "p0.png")
    job.target.parent.mkdir(parents=True)
    job.target.write_bytes(label_png(np.full((6, 9), 20, np.uint8)))
    assert check_submission([job]) == tmp_path / FOLDER
    return job


def other_palette(path: Path) -> None:
    image = Image.fromarray(np.zeros((6, 9), np.uint8))
    image.putpalette(list(range(256)) * 3)
    image.save(path)


WRONG = {
    "grey": (lambda path: Image.new("L", (9, 6)).save(path), "mode L, not a palette PNG"),
    "colours": (lambda path: Image.new("RGB", (9, 6)).save(path), "mode RGB"),
    "palette": (other_palette, "its palette is not VOC's"),
    "size": (lambda path: path.write_bytes(label_png(np.zeros((9, 6), "u1"))), "6x9 pixels.*9x6"),
    "labels": (lambda path: path.write_bytes(label_png(np.full((6, 9), 21, "u1"))), "label 21"),
    "void": (lambda path: path.write_bytes(label_png(np.full((6, 9), 255, "u1"))), "label 255"),
    "jpeg": (lambda path: Image.new("L", (9, 6)).save(path, "JPEG"), "not a PNG; remove it"),
    "missing": (lambda path: path.unlink(), "no such label PNG"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_label_pngs_that_the_server_would_refuse(one: Job, kind: str) -> None:
    spoil, words = WRONG[kind]
    spoil(one.target)
    with pytest.raises(DatasetError, match=words) as caught:
        check_submission([one])
    assert str(caught.value).startswith(str(one.target))


def test_a_file_that_does_not_belong_to_the_list(one: Job) -> None:
    for name in ("p1.png", ".DS_Store", "notes.txt"):
        other = one.target.with_name(name)
        other.write_bytes(b"")
        with pytest.raises(DatasetError, match=f"{name}: does not belong to the list"):
            check_submission([one])
        other.unlink()
    assert check_submission([one])


def test_a_turned_photo_is_as_a_viewer_shows_it(one: Job) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (6, 9)).save(one.photo, exif=exif)
    assert check_submission([one])
