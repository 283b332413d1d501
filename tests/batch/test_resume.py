"""What is done again, and why: each reason by really changing something."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from helpers.small_batch import lines, outputs, small_photos
from PIL import Image

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import DONE, Entry
from deconvnet_cli.batch.resume import changed
from deconvnet_cli.batch.source import read_source
from deconvnet_cli.errors import ImageError
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.storage.remote import Found
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import store


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_weights):
    """Four photos done, with scores, and one that has failed; no test may change them."""
    from helpers.command_line import run_cli

    place = tmp_path_factory.mktemp("finished")
    small_photos(place / "photos", 4)
    (place / "photos" / "bad.jpg").write_bytes(b"no photo")
    shutil.copy(tiny_weights, place / "weights.safetensors")
    result = run_cli("batch", *arguments(place), "--workers", 1)
    assert result.exit_code == 1, result.output
    return place


@pytest.fixture
def place(finished, tmp_path):
    """A copy of it; files keep their time of change."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def arguments(place, *more, scores: bool = True) -> list[object]:
    options = ["--weights", place / "weights.safetensors", "--proposals", 1, "--quiet"]
    return [place / "photos", "-o", place / "out", *options, *["--save-scores"][:scores], *more]


@pytest.fixture
def reasons(deconvnet, place):
    """What would be done, and why, by name of the photo."""

    def ask(*more, scores: bool = True) -> dict[str, str]:
        before = outputs(place / "out"), lines(place / "out")
        result = deconvnet("batch", *arguments(place, *more, scores=scores), "--dry-run", "--json")
        assert result.exit_code == 0, result.output
        assert (outputs(place / "out"), lines(place / "out")) == before
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert all(line["status"] == "to do" for line in found)
        return {os.path.basename(line["image"]): line["reason"] for line in found}

    return ask


ALL = ("0000.jpg", "0001.jpg", "0002.jpg", "0003.jpg")


def test_nothing_is_done_twice(reasons):
    """The copy's photos have another path; their content is the same."""
    assert reasons() == {}


def test_a_new_photo_and_one_that_is_gone(place, reasons):
    (place / "photos" / "0003.jpg").rename(place / "photos" / "new.jpg")
    assert reasons() == {"new.jpg": "new"}


def test_other_weights(place, reasons):
    torch.manual_seed(99)
    net = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 16})
    other = place / "weights.safetensors"
    store(other, net, card_for("deconvnet-vgg16", net_settings(net)))
    # The bad one is not segmented in any case, but how is it to be known?
    assert reasons() == dict.fromkeys((*ALL, "bad.jpg"), "other weights")


def test_the_same_weights_under_another_name(place, reasons):
    (place / "weights.safetensors").rename(place / "renamed.safetensors")
    assert reasons("--weights", place / "renamed.safetensors") == {}


@pytest.mark.parametrize(
    "option", [("--proposals", 2), ("--rule", "mean-probability"), ("--candidates", 50), ("--crf",)]
)
def test_other_settings(reasons, option):
    assert reasons(*option) == dict.fromkeys((*ALL, "bad.jpg"), "other settings")


def test_the_batch_size_is_no_reason(reasons):
    assert reasons("--batch-size", 1, "--workers", 2) == {}


def test_labels_and_scores_that_are_not_as_they_were_written(place, reasons):
    out = place / "out"
    (out / "0000.png").unlink()
    data = bytearray((out / "0001.png").read_bytes())
    data[-20] ^= 1
    (out / "0001.png").write_bytes(data)
    (out / "0002.npz").unlink()
    (out / "0003.npz").write_bytes(b"")
    labels = {"0000.jpg": "0000.png is missing", "0001.jpg": "0001.png changed"}
    scores = {"0002.jpg": "0002.npz is missing", "0003.jpg": "0003.npz changed"}
    assert reasons() == {**labels, **scores}
    assert reasons(scores=False) == labels  # what is not wanted is not looked at


def test_a_label_png_that_no_line_speaks_of(place, reasons):
    """As after a kill between the label PNG and its line."""
    path = place / "out" / "manifest.jsonl"
    kept = [line for line in path.read_bytes().splitlines(True) if b"0002.png" not in line]
    path.write_bytes(b"".join(kept))
    assert reasons() == {"0002.jpg": "new"}


def test_overwrite(reasons):
    assert reasons("--overwrite") == {
        **dict.fromkeys(ALL, "--overwrite"),
        "bad.jpg": "failed before",
    }


def test_a_failure_is_kept_until_it_is_to_be_tried_again(deconvnet, place, reasons):
    assert reasons("--retry-failed") == {"bad.jpg": "failed before"}
    again = deconvnet("batch", *arguments(place))
    assert again.exit_code == 1
    assert "bad.jpg: not an image" in again.stderr and "(before; --retry-failed)" in again.stderr
    assert len(lines(place / "out")) == 5  # a line that says the same again would say nothing
    shutil.copy(place / "photos" / "0000.jpg", place / "photos" / "bad.jpg")
    assert reasons() == {"bad.jpg": "the photo changed"}


def test_a_photo_that_failed_and_was_removed_counts_no_more(deconvnet, tiny_weights, tmp_path):
    """Neither when shards are merged nor when files are checked; photos of others stay failed."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    small_photos(photos, 2)
    bad = [photos / f"bad{number}.jpg" for number in range(4)]  # some are in each shard
    for path in bad:
        path.write_bytes(b"no photo")
    options = ("--weights", tiny_weights, "--proposals", 1, "--workers", 1)
    shards = [("batch", photos, "-o", out, *options, "--shard", f"{i}/2") for i in (1, 2)]
    assert [deconvnet(*shard).exit_code for shard in shards] == [1, 1]
    for path in bad:
        path.unlink()
    first = deconvnet(*shards[0])
    assert first.exit_code == 0 and "was removed, so no longer counts" in first.stderr
    assert "was removed" not in deconvnet(*shards[0]).stderr
    assert deconvnet("batch", "--merge", out).exit_code == 1  # the failures of the other shard
    photos.rename(tmp_path / "away")  # as a disk that is not there: nothing is known of them
    other = small_photos(tmp_path / "others", 1)[0]
    assert "was removed" not in deconvnet("batch", other, "-o", out, *options).stderr
    (tmp_path / "away").rename(photos)
    assert deconvnet("batch", photos, "-o", out, *options).exit_code == 0
    verified = deconvnet("batch", "--verify", "-o", out)
    assert verified.exit_code == 0 and " 0 failed" in verified.stderr
    assert deconvnet("batch", "--merge", out).exit_code == 0
    assert {line["status"] for line in lines(out)} == {"done"}
    bad[0].write_bytes(b"no photo")  # back again
    again = deconvnet("batch", photos, "-o", out, *options)
    assert again.exit_code == 1 and "bad0.jpg: not an image" in again.stderr


def test_a_failure_that_is_not_the_photos_is_tried_again(deconvnet, tiny_weights, tmp_path):
    """It may have passed: nothing is known of the photo itself."""
    (tmp_path / "list.txt").write_text(f"{tmp_path}/a.jpg\n{tmp_path}/b.jpg\n")
    small_photos(tmp_path, 1)[0].rename(tmp_path / "a.jpg")
    out = tmp_path / "out"
    labels = out / str(tmp_path).lstrip("/")
    labels.mkdir(parents=True)
    (labels / "a.png").mkdir()  # a folder where a label PNG should be
    options = ("--weights", tiny_weights, "--proposals", 1, "--quiet", "--workers", 1)
    batch = ("batch", f"@{tmp_path}/list.txt", "-o", out, *options)
    result = deconvnet(*batch)
    assert result.exit_code == 1
    assert "a.png: cannot be written" in result.stderr
    assert "b.jpg: no such file" in result.stderr
    told = [
        json.loads(line)["reason"]
        for line in deconvnet(*batch, "--dry-run", "--json").stdout.splitlines()
    ]
    assert told == ["could not be read or written before"] * 2
    (labels / "a.png").rmdir()
    shutil.copy(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert deconvnet(*batch).exit_code == 0
    assert [line["status"] for line in lines(out)] == ["failed", "failed", "done", "done"]


def test_done_before_is_said_to_programs_and_not_to_the_manifest(deconvnet, place):
    (place / "photos" / "bad.jpg").unlink()
    before = (place / "out" / "manifest.jsonl").read_bytes()
    result = deconvnet("batch", *arguments(place), "--json")
    assert result.exit_code == 0 and result.stderr == ""
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in told] == ["skipped"] * 4
    assert {line["output"] for line in told} == {
        str(place / "out" / f"000{i}.png") for i in range(4)
    }
    assert (place / "out" / "manifest.jsonl").read_bytes() == before


def test_verify_finds_each_file_that_is_wrong(deconvnet, place):
    out = place / "out"
    ask = ("batch", "--verify", "-o", out, "--json")
    whole = deconvnet(*ask)
    assert whole.exit_code == 0 and whole.stdout == ""
    assert "4 photos done, 1 failed, 0 files missing or changed" in whole.stderr
    (out / "0000.png").unlink()
    Image.new("P", (9, 9)).save(out / "0001.png")
    (out / "0002.npz").write_bytes(b"scores")
    result = deconvnet(*ask)
    assert result.exit_code == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["output"] for line in lines] == [str(out / f"000{i}.png") for i in range(3)]
    assert [line["error"] for line in lines] == [
        f"{out / '0000.png'}: missing",
        f"{out / '0001.png'}: changed since it was written",
        f"{out / '0002.npz'}: changed since it was written",
    ]
    assert deconvnet("batch", "--verify", "-o", place / "photos").exit_code == 1


# Whether a photo has changed.


def entry_for(photo) -> Entry:
    source = read_source(Job(photo, photo))
    return Entry(str(photo), "a.png", DONE, source.size, source.mtime_ns, source.sha256)


def test_another_photo_of_the_same_size_or_time(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for path, content in ((one, b"here"), (two, b"gone")):
        path.write_bytes(content)
        os.utime(path, (1, 1))
    entry = entry_for(one)
    assert not changed(one, entry)
    assert changed(two, entry)
    two.write_bytes(b"here")
    assert not changed(two, entry)
    one.write_bytes(b"longer")  # by a program that keeps the time of change
    os.utime(one, (1, 1))
    assert changed(one, entry)


def test_without_a_time_of_change_the_content_is_compared(tmp_path, monkeypatch):
    """As on a server that does not say when a file changed."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"here")
    entry = replace(entry_for(path), mtime_ns=None)
    monkeypatch.setattr("deconvnet_cli.batch.resume.file_state", lambda photo: Found(4, None))
    assert not changed(path, entry)
    path.write_bytes(b"gone")
    assert changed(path, entry)


# Reading.


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    """Somebody writes to it before it was read to its end."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"begun")

    def read_while_it_grows(photo):
        data = photo.read_bytes()
        with open(photo, "ab") as file:
            file.write(b" and gone on")
        return data

    monkeypatch.setattr("deconvnet_cli.storage.remote.read", read_while_it_grows)
    with pytest.raises(ImageError, match=r"a\.jpg: changed while it was being read"):
        read_source(Job(path, path))
    monkeypatch.undo()
    assert read_source(Job(path, path)).data == b"begun and gone on"


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")  # reading it would wait for ever
    with pytest.raises(ImageError, match="not a file"):
        read_source(Job(tmp_path / "a.jpg", tmp_path / "a.png"))
