"""Manifests of shards put together: nothing missing, nothing damaged, nothing from elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import one_error_line
from helpers.small_batch import lines, outputs

from deconvnet_cli.batch.manifest import DONE, FAILED, NAME, Entry, encoded, manifest_name
from deconvnet_cli.storage.files import locked


def done(folder: Path, name: str, *, time: float = 1.0, content: bytes | None = None) -> Entry:
    """An output with its entry."""
    data = content or f"labels of {name}".encode()
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    return Entry(f"p/{name}", name, DONE, output_sha256=hashlib.sha256(data).hexdigest(), time=time)


def shard(folder: Path, number: int, count: int, *entries: Entry) -> Path:
    """The manifest of a shard."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / manifest_name((number, count))
    path.write_bytes(b"".join(map(encoded, entries)))
    return path


@pytest.fixture
def merge(deconvnet):
    return lambda *arguments: deconvnet("batch", "--merge", *arguments)


def told(folder: Path) -> dict[str, str]:
    return {line["output"]: line["status"] for line in lines(folder)}


@pytest.mark.parametrize("into", ["new", "the first"])
def test_shards_in_two_folders(merge, tmp_path, into):
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    extra = done(two, "b.npz")
    shard(one, 1, 3, done(one, "a.png"))
    entry = done(two, "b.png")
    files = {"b.npz": extra.output_sha256 or ""}
    shard(two, 2, 3, Entry(**{**entry.__dict__, "extras": files}))
    shard(two, 3, 3)  # more shards than photos: one had nothing to do
    if into == "the first":
        out = one
    result = merge(*([two] if into == "the first" else [one, two]), "-o", out)
    assert result.exit_code == 0, result.output
    assert told(out) == {"a.png": "done", "b.png": "done"}
    assert outputs(out) == {"a.png": b"labels of a.png", "b.png": b"labels of b.png"}
    assert (out / "b.npz").read_bytes() == b"labels of b.npz"
    kept = sorted(path.name for path in two.glob("*.jsonl"))
    assert kept == ["manifest.2-of-3.jsonl", "manifest.3-of-3.jsonl"]


def test_a_folder_whose_only_shard_had_nothing_to_do(merge, tmp_path):
    shard(tmp_path / "one", 1, 2, done(tmp_path / "one", "a.png"))
    shard(tmp_path / "two", 2, 2)
    result = merge(tmp_path / "one", tmp_path / "two", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert told(tmp_path / "out") == {"a.png": "done"}


def test_failures_of_shards_are_said(merge, tmp_path):
    shard(tmp_path, 1, 2, done(tmp_path, "a.png"))
    shard(tmp_path, 2, 2, Entry("p/b.jpg", "b.png", FAILED, error="p/b.jpg: broken", time=1.0))
    result = merge(tmp_path)
    assert result.exit_code == 1
    assert "p/b.jpg: broken" in result.stderr
    assert told(tmp_path) == {"a.png": "done", "b.png": "failed"}


def test_of_two_lines_about_an_output_the_later_counts(merge, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    shard(one, 1, 2, done(one, "a.png", time=7.0, content=b"later"))
    shard(two, 2, 2, done(two, "a.png", time=6.0, content=b"sooner"))
    for number, order in enumerate(((one, two), (two, one))):
        out = tmp_path / str(number)
        assert merge(*order, "-o", out).exit_code == 0
        assert outputs(out) == {"a.png": b"later"}
        assert lines(out)[0]["output_sha256"] == hashlib.sha256(b"later").hexdigest()


@pytest.mark.parametrize("there, words", [
    ([(1, 3), (2, 3)], "shard 3/3 is missing (1 of 3 are)"),
    ([(2, 3)], "shard 1/3 is missing (2 of 3 are)"),
    ([(1, 2), (2, 2), (1, 3)], "shards of different N (2, 3); merge one N at a time"),
])  # fmt: skip
def test_shards_that_are_missing_or_of_another_run(merge, tmp_path, there, words):
    one = tmp_path / "one"
    for number, count in there:
        shard(one, number, count, done(one, f"{number}-{count}.png"))
    before = sorted(one.rglob("*.*"))
    for arguments in ([one], [one, "-o", tmp_path / "out"]):
        result = merge(*arguments)
        assert result.exit_code == 1 and words in result.stderr, result.output
    assert [path for path in sorted(one.rglob("*.*")) if path.name[0] != "."] == before
    assert outputs(tmp_path / "out") == {}  # nothing was brought over before that was known


def test_a_merge_that_was_killed_goes_on(merge, tmp_path):
    """It had written the manifest, and removed the first shard's."""
    first, second = done(tmp_path, "a.png"), done(tmp_path, "b.png")
    (tmp_path / NAME).write_bytes(encoded(first) + encoded(second))
    shard(tmp_path, 2, 2, second)
    for _ in range(2):  # once more there is nothing to do
        result = merge(tmp_path)
        assert result.exit_code == 0 and "2 photos done, 0 failed" in result.stderr
        assert told(tmp_path) == {"a.png": "done", "b.png": "done"}
        assert [path.name for path in tmp_path.glob("*.jsonl")] == [NAME]


def test_a_shard_of_a_later_run_is_not_taken_for_left_over(merge, tmp_path):
    (tmp_path / NAME).write_bytes(encoded(done(tmp_path, "a.png")))
    shard(tmp_path, 2, 2, done(tmp_path, "b.png"))
    result = merge(tmp_path)
    assert result.exit_code == 1 and "shard 1/2 is missing" in result.stderr


@pytest.mark.parametrize("damage, words", [
    (lambda path: path.write_bytes(b"other"), "changed since it was written"),
    (lambda path: path.unlink(), "cannot be read"),
])  # fmt: skip
def test_an_output_that_is_damaged_is_not_brought_over(merge, tmp_path, damage, words):
    one, out = tmp_path / "one", tmp_path / "out"
    shard(one, 1, 1, done(one, "a.png"))
    damage(one / "a.png")
    result = merge(one, "-o", out)
    assert result.exit_code == 1
    assert "a.png" in result.stderr and words in result.stderr
    assert not (out / "a.png").exists() and not (out / NAME).exists()


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("name", ["../thief.png", "deep/../../thief.png", "/etc/passwd", "a\0b"])
def test_names_that_lead_out_of_the_folder(merge, tmp_path, name, extra):
    """A manifest may come from anybody."""
    one, out = tmp_path / "one", tmp_path / "out" / "here"
    sha256 = hashlib.sha256(b"stolen").hexdigest()
    (tmp_path / "thief.png").write_bytes(b"stolen")
    as_labels = Entry("p/a.jpg", name, DONE, output_sha256=sha256)
    as_extra = replace(as_labels, output="a.png", output_sha256=None, extras={name: sha256})
    shard(one, 1, 1, as_extra if extra else as_labels)
    one_error_line(merge(one, "-o", out), 1, "leads out of it")
    assert outputs(tmp_path / "out") == {}


@pytest.mark.parametrize("content", [
    "{",
    "[1]",
    '{"images": [{}]}',
    '{"images": [], "annotations": [], "categories": []}',
    '{"images": [3], "annotations": [], "categories": []}',
    '{"images": [{}], "annotations": [3], "categories": []}',
    '{"images": [{}], "annotations": [], "categories": [{"id": "cat"}]}',
])  # fmt: skip
def test_annotations_that_are_no_longer_coco_are_named(merge, tmp_path, content):
    entry = Entry("p/a.jpg", "a.png", DONE, output_sha256="1", extras={"a.coco.json": "2"})
    shard(tmp_path, 1, 1, entry)
    (tmp_path / "a.coco.json").write_text(content)
    result = merge(tmp_path)
    one_error_line(result, 1, "a.coco.json: ", "; start the batch again")
    assert not (tmp_path / "coco.json").exists()


def test_verify_survives_any_name(deconvnet, tmp_path):
    (tmp_path / NAME).write_bytes(encoded(Entry("p", "a\0b.png", DONE, output_sha256="s")))
    result = deconvnet("batch", "--verify", "-o", tmp_path)
    assert result.exit_code == 1 and "missing" in result.stderr


def test_no_manifest(merge, tmp_path):
    (tmp_path / "none").mkdir()
    for arguments in ([tmp_path / "none"], [tmp_path / "none", "-o", tmp_path / "out"]):
        result = merge(*arguments)
        assert result.exit_code == 1 and "no manifest there" in result.stderr
    assert list((tmp_path / "none").glob("[!.]*")) == []
    assert merge(tmp_path / "one", tmp_path / "two").exit_code == 2  # where to?


def test_a_shard_that_is_still_running(merge, tmp_path):
    one, out = tmp_path / "one", tmp_path / "out"
    shard(one, 1, 1, done(one, "a.png"))
    with locked(one, shared=True):
        for arguments in ([one], [one, "-o", out]):
            result = merge(*arguments)
            assert result.exit_code == 1 and "another run is writing there" in result.stderr
    assert merge(one, "-o", out).exit_code == 0


def test_photos_of_one_name_are_not_mixed_and_other_settings_are_told(merge, tmp_path):
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    first = done(one, "a.png")
    shard(one, 1, 2, replace(first, sha256="11"))
    shard(two, 2, 2, replace(done(two, "a.png"), image="q/a.jpg", sha256="22"))
    one_error_line(merge(one, two, "-o", out), 1, "labels of q/a.jpg", "another photo, p/a.png")
    assert not outputs(out)  # nothing was copied
    for changed in ({"settings": "others"}, {"weights": {"DeconvNet": "33"}}):
        shard(one, 1, 2, replace(first, sha256="11"), done(one, "c.png"))
        shard(two, 2, 2, replace(done(two, "b.png"), **changed))
        result = merge(one, two, "-o", out)
        assert result.exit_code == 0
        assert "other weights or settings than most have 1 photo, b.png first" in result.stderr


def test_options_that_would_have_no_effect_are_refused(merge, deconvnet, tmp_path):
    shard(tmp_path, 1, 1, done(tmp_path, "a.png"))
    one_error_line(merge(tmp_path, "--overlay"), 2, "--merge reads", "leave out --overlay")
    one_error_line(merge(tmp_path, "--json"), 2, "leave out --json")
    assert merge(tmp_path).exit_code == 0
    verified = deconvnet("batch", "--verify", "-o", tmp_path, "--weights", "nonsense")
    one_error_line(verified, 2, "--verify reads", "leave out --weights")
    assert deconvnet("batch", "--verify", "-o", tmp_path, "--json").exit_code == 0
