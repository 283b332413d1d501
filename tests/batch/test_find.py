"""Photos are found in folders, links, globs and lists, and the summary says what is left out."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.small_batch import unloaded
from PIL import Image

from deconvnet_cli.batch import find
from deconvnet_cli.batch.find import (
    LINKED,
    WRITTEN,
    Look,
    find_photos,
    glob_matches,
    photos_in,
    summary,
)
from deconvnet_cli.batch.manifest import DONE, FAILED, GONE, Entry
from deconvnet_cli.batch.plan import apart, plan
from deconvnet_cli.batch.spec import BatchSpec
from deconvnet_cli.commands.shared.batch_progress import Report, keep_watching
from deconvnet_cli.data.label_png import DRAWN_PICTURE, LABEL_PNG, label_png
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import ImageError, UsageError
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.storage.lists import read_list


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def found_in(folder: Path, left_out: Counter[str] | None = None, **options) -> list[str]:
    counts = Counter() if left_out is None else left_out
    photos = photos_in(folder, Look(left_out=counts, **options))
    return [photo.relative_to(folder).as_posix() for photo in photos]


KINDS = (
    *("jpg", "jpeg", "jfif", "mpo", "png", "gif", "tif", "tiff", "webp", "bmp"),
    *("ppm", "pgm", "pbm", "pnm", "pfm", "jp2", "avif"),
)


def test_every_kind_that_segment_reads_is_found(tmp_path):
    touch(tmp_path, *(f"a.{kind}" for kind in KINDS), *(f"b.{kind.upper()}" for kind in KINDS))
    assert len(found_in(tmp_path)) == 2 * len(KINDS)


def test_what_is_left_out_is_counted(tmp_path):
    touch(tmp_path, "a.jpg", "b.txt", "deep/c.TXT", "README", ".hidden.jpg", "out/labels.png")
    touch(tmp_path, ".thumbnails/a.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    left_out: Counter[str] = Counter()
    assert found_in(tmp_path, left_out, output=tmp_path / "out") == ["a.jpg"]
    wanted = {".txt": 2, "without suffix": 1, "hidden": 1, "that are no files": 2}
    wanted["hidden folder"] = 1
    assert left_out == wanted
    said = summary(left_out)
    assert said.startswith("7 left out: 2 .txt, 2 ") and "1 hidden folder" in said
    assert summary(Counter()) == ""


def test_what_an_earlier_batch_wrote_is_no_photo(tmp_path, monkeypatch):
    """Photos in its folder are, such as those beside which it wrote arrays."""
    touch(tmp_path, "a.jpg", "old/a.png", "old/a.overlay.png", "old/deep/b.png", "old/c.png")
    line = {"status": "done", "image": "a.jpg", "extras": {"a.overlay.png": "1"}}
    lines = [{**line, "output": name, "output_sha256": "2"} for name in ("a.png", "deep/b.png")]
    manifest = tmp_path / "old/manifest.1-of-2.jsonl"
    everything = ["a.jpg", "old/a.overlay.png", "old/a.png", "old/c.png", "old/deep/b.png"]
    manifest.write_text('{"image": "a.png", "output": "a.png", "label": 3}\n')
    assert found_in(tmp_path) == everything  # a manifest of somebody else's
    manifest.write_text("\n".join(map(json.dumps, lines)))
    monkeypatch.chdir(tmp_path)
    for source in (str(tmp_path), ".", "**/*.*g"):
        left_out: Counter[str] = Counter()
        found = find_photos(source, Look(left_out=left_out))
        assert sorted(photo.name for photo, _ in found) == ["a.jpg", "c.png"]
        assert left_out[WRITTEN] == 3
    assert len(find_photos("old/*.png", Look())) == 3  # these are asked for
    with pytest.raises(ImageError, match=r"no photo matches it; 1 left out: 1 written by an ear"):
        find_photos("old/**/b.png", Look())


@pytest.mark.parametrize("classes", [CLASSES, ("none", "leaf"), tuple(map(str, range(12)))])
def test_label_pngs_and_drawn_pictures_are_no_photos(tmp_path, classes):
    """Those that `segment` writes have no manifest, nor have the masks of a VOC tree."""
    touch(tmp_path, "a.jpg", "b.mask.jpg")
    labels = np.ones((4, 5), np.uint8)
    drawn = Outputs("none", overlay=True, cutout=True, mask=classes[1:2])
    write_outputs(Image.new("RGB", (5, 4)), labels, tmp_path / "a.png", drawn, classes)
    for name in ("b.png", "c.jpg.png"):
        (tmp_path / name).write_bytes(label_png(labels, classes))
    os.mkfifo(tmp_path / "pipe.png")
    photo = Image.radial_gradient("L").convert("RGB").quantize(200)
    for name, picture in (("p.png", photo), ("g.png", photo.convert("L")), ("w.png", photo)):
        picture.save(tmp_path / name, bits=8)
    for name in ("p.overlay", "a.night", "b.overlay"):  # the last is of a version without marks
        photo.convert("RGB").save(tmp_path / f"{name}.png")
    few = Image.new("P", (4, 4))
    few.putpalette([0, 0, 0, 255, 255, 255])
    few.save(tmp_path / "w.png")
    left_out: Counter[str] = Counter()
    others = ["a.jpg", "a.night.png", "b.mask.jpg", "g.png", "p.overlay.png", "p.png", "w.png"]
    assert found_in(tmp_path, left_out) == others
    assert left_out == {LABEL_PNG: 2, DRAWN_PICTURE: 4, "that are no files": 1}
    assert len(find_photos(str(tmp_path / "*.png"), Look())) == 11  # these are asked for
    assert len(find_photos(str(tmp_path / "b.png"), Look())) == 1


def test_a_png_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    """As --watch looks at all files every two seconds."""
    read: list[str] = []
    png_head = find.png_head
    monkeypatch.setattr(find, "png_head", lambda path: read.append(path.name) or png_head(path))
    labels = label_png(np.ones((4, 5), np.uint8))
    for name, data in {"a.png": labels, "b.png": b"x"}.items():
        (tmp_path / name).write_bytes(data)
    assert found_in(tmp_path) == found_in(tmp_path) == ["b.png"]
    assert sorted(read) == ["a.png", "b.png"]
    (tmp_path / "b.png").write_bytes(labels)
    with pytest.raises(ImageError, match="2 left out: 2 label PNGs"):
        find_photos(str(tmp_path), Look())
    assert sorted(read) == ["a.png", "b.png", "b.png"]


def test_heic_names_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr("deconvnet_cli.data.suffixes.reads_heif", lambda: False)
    touch(tmp_path, "a.heic", "b.HEIC")
    with pytest.raises(ImageError, match=r"2 left out: 2 \.heic \(pip install pillow-heif\)"):
        find_photos(str(tmp_path), Look())


def test_linked_folders_are_read_once_and_never_for_ever(tmp_path):
    touch(tmp_path, "other/o.jpg", "other/deep/p.jpg", "photos/a.jpg", "photos/z/b.jpg")
    photos = tmp_path / "photos"
    (tmp_path / "other" / "back").symlink_to(photos)
    (photos / "linked").symlink_to("../other")
    for name, target in {"again": "../other", "inside": "../other/deep", "up": ".."}.items():
        (photos / name).symlink_to(target)
    (photos / "itself").symlink_to(".")
    left_out: Counter[str] = Counter()
    found = found_in(photos, left_out)
    assert sorted(Path(name).name for name in found) == ["a.jpg", "b.jpg", "o.jpg", "p.jpg"]
    assert list(left_out.values()) == [5]
    assert found_in(photos) == found


@pytest.mark.parametrize("folder", ["photos [2024]", "[a]", "plain"])
@pytest.mark.parametrize("pattern", ["*.jpg", "IMG[[]1]*", "IMG[1]*.jpg", "?[A-Z]*", "**/*.jpg"])
def test_globs_with_brackets(tmp_path, folder, pattern):
    touch(tmp_path / folder, "IMG[1] a.jpg", "x.txt")
    found = find_photos(str(tmp_path / folder / pattern), Look())
    assert [photo.name for photo, _ in found] == ["IMG[1] a.jpg"]


def test_a_glob_reads_linked_folders_once_and_never_for_ever(tmp_path):
    touch(tmp_path, "g/a.jpg", "g/deep/b.jpg", "g/deep/x/c.jpg", "g/.no/d.jpg", "g/out/e.jpg")
    touch(tmp_path, "other/o.jpg")
    for name, target in {"s1": ".", "s2": ".", "deep/up": "..", "linked": "../other"}.items():
        (tmp_path / "g" / name).symlink_to(target)
    for pattern, wanted in {
        "g/**/*.jpg": "abco",
        "**/deep/**/*.jpg": "bc",
        "g/**": "abco",
        "*/**/x/?.jpg": "c",
        "g/**/none.jpg": "",
    }.items():
        left_out: Counter[str] = Counter()
        look = Look(tmp_path / "g" / "out", left_out=left_out)
        found = glob_matches(str(tmp_path / pattern), look)
        assert "".join(sorted(path.stem for path in found if path.is_file())) == wanted
        assert set(left_out) == ({LINKED} if wanted else set())
    left_out = Counter()
    find_photos(str(tmp_path / "g/**/*.jpg"), Look(tmp_path / "g" / "out", left_out=left_out))
    assert left_out == {LINKED: 3}


@pytest.mark.parametrize("pattern", ["**/*.jpg", "a/**/*.jpg", "**", "a/**/b/**/?.jpg", "./**/x*"])
def test_a_glob_without_links_matches_as_in_python(tmp_path, monkeypatch, pattern):
    touch(tmp_path, "1.jpg", "a/2.jpg", "a/b/3.jpg", "a/b/c/4.jpg", "a/.no/5.jpg", "x/x.png")
    monkeypatch.chdir(tmp_path)
    found = glob_matches(pattern, Look())
    wanted = sorted({Path(name) for name in glob.glob(pattern, recursive=True)})
    assert [path for path in found if path.is_file()] == [path for path in wanted if path.is_file()]


def test_folders_that_match_a_glob_are_counted(tmp_path):
    touch(tmp_path, "a.jpg", "deep/b.jpg")
    left_out: Counter[str] = Counter()
    assert len(find_photos(str(tmp_path / "*"), Look(left_out=left_out))) == 1
    assert summary(left_out) == "1 left out: 1 folder"


def test_one_stem_with_two_suffixes(tmp_path):
    touch(tmp_path / "in", "a.jpg", "a.tif")
    out = tmp_path / "out"
    files = BatchSpec(pytest.fail, out).files
    with pytest.raises(UsageError, match="--names full"):
        apart(plan([str(tmp_path / "in")], out), files)
    jobs = apart(plan([str(tmp_path / "in")], out, full_names=True), files)
    assert [job.target.name for job in jobs] == ["a.jpg.png", "a.tif.png"]


LISTS = {
    "plain": "a b.jpg\nü.jpg\n".encode(),
    "byte order mark": "\ufeffa b.jpg\nü.jpg".encode(),
    "carriage returns": "\ufeffa b.jpg\r\n\r\nü.jpg\r\n".encode(),
}


@pytest.mark.parametrize("content", LISTS.values(), ids=LISTS)
def test_lists(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_list(tmp_path / "list.txt") == ["a b.jpg", "ü.jpg"]
    found = find_photos(f"@{tmp_path}/list.txt", Look())
    assert [str(photo) for photo, _ in found] == ["a b.jpg", "ü.jpg"]


def test_lines_end_at_line_feeds_alone(tmp_path):
    names = ["a\u2028b.jpg", "c\x0bd.jpg", "e\x85f.jpg", "g\rh.jpg", " i .jpg"]
    (tmp_path / "list.txt").write_bytes("\n".join(names).encode())
    assert read_list(tmp_path / "list.txt") == names


@pytest.mark.parametrize("line", [".", "/", "./.", "s3://", "file://"])
def test_a_line_without_a_name_is_refused(tmp_path, line):
    (tmp_path / "list.txt").write_text(f"a.jpg\n{line}\n")
    with pytest.raises(UsageError, match=r"list\.txt: .* names no file; write"):
        find_photos(f"@{tmp_path}/list.txt", Look())


def test_a_list_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "list.txt").write_bytes("a.jpg\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r"list.txt: the list cannot be read"):
        find_photos(f"@{tmp_path}/list.txt", Look())


def test_the_end_of_a_batch_says_what_was_left_out(deconvnet, tiny_weights, tmp_path):
    photos = tmp_path / "photos"
    touch(photos, "a.txt", "b.txt", "c.raw")
    for name in ("a.jpg", "a.avif"):
        Image.linear_gradient("L").resize((40, 30)).save(photos / name)
    options = ("--weights", tiny_weights, "--names", "full")
    result = deconvnet("batch", photos, *options)
    assert result.exit_code == 0, result.output
    wanted = "2 made, 0 there already, 3 left out: 2 .txt, 1 .raw"
    assert result.stderr.splitlines()[-1].endswith(wanted)
    labels = sorted(path.name for path in (tmp_path / "photos-labels").glob("*.png"))
    assert labels == ["a.avif.png", "a.jpg.png"]
    assert "3 left out" in deconvnet("batch", photos, *options, "--dry-run").stderr


def test_the_end_of_a_batch_says_each_note_once(deconvnet, tiny_weights, tmp_path):
    grey = np.tile(np.arange(40, dtype="u2") * 100, (30, 1))  # of 12 bits
    (tmp_path / "in").mkdir()
    for name in "abc":
        Image.fromarray(grey).save(tmp_path / f"in/{name}.tif")
    result = deconvnet("batch", tmp_path / "in", "--weights", tiny_weights, "--quiet")
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert line.endswith("they are read as 12 bits (2 other photos too)")
    entries = map(json.loads, (tmp_path / "in-labels/manifest.jsonl").read_text().splitlines())
    assert all("read as 12 bits" in note for entry in entries for note in entry["notes"])


# What a watched folder takes back.


def test_a_failure_is_taken_back_when_the_photo_is_done(tmp_path, capsys):
    def entry(error: str | None) -> Entry:
        return Entry("a.jpg", "a.png", DONE if error is None else FAILED, error=error)

    report = Report(tmp_path, False, False, failures={"b.png": "another"})
    seen = []

    def do(jobs, on_done, stop) -> None:
        for error in ("a.jpg: damaged", "a.jpg: empty", None):
            on_done(entry(error))
            seen.append(report.wrong())

    sources = (str(tmp_path),)
    run = SimpleNamespace(info=unloaded(BatchSpec(pytest.fail, tmp_path)), do=do, shard=None)
    keep_watching(run, partial(plan, sources, tmp_path), sources, lambda *_: None, report)
    assert seen == [["another", "a.jpg: damaged"], ["another", "a.jpg: empty"], ["another"]]
    assert capsys.readouterr().err.splitlines()[-1] == f"{tmp_path}: 1 made, 0 there already"


def test_a_watched_folder_tells_each_note_as_it_comes(tmp_path, capsys):
    said = []

    def do(jobs, on_done, stop) -> None:
        for name in "ab":
            notes = (f"{name}.tif: read as 12 bits",)
            on_done(Entry(f"{name}.tif", f"{name}.png", DONE, notes=notes))
            said.append(capsys.readouterr().err.count("read as 12 bits"))

    sources = (str(tmp_path),)
    run = SimpleNamespace(info=unloaded(BatchSpec(pytest.fail, tmp_path)), do=do, shard=None)
    report = Report(tmp_path, False, False)
    keep_watching(run, partial(plan, sources, tmp_path), sources, lambda *_: None, report)
    assert said == [1, 0] and "12 bits" not in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [True, False])
def test_a_photo_that_failed_and_was_removed_no_longer_counts(
    tmp_path, monkeypatch, capsys, as_json
):
    monkeypatch.setattr("deconvnet_cli.batch.watch.INTERVAL", 0)
    touch(tmp_path, "in/a.jpg", "in/b.jpg")
    photo, out = tmp_path / "in" / "a.jpg", tmp_path / "out"
    report = Report(out, False, as_json)
    written: list[Entry] = []

    def do(jobs, on_done, stop) -> None:
        on_done(Entry(str(photo), "a.png", FAILED, error="a.jpg: damaged"))
        next(jobs)
        assert report.wrong() == ["a.jpg: damaged"] and not written
        photo.unlink()
        for _ in range(3):
            next(jobs)

    run = SimpleNamespace(
        info=unloaded(BatchSpec(pytest.fail, out)),
        do=do,
        shard=None,
        manifest=SimpleNamespace(add=written.append),
    )
    sources = (str(tmp_path / "in"),)
    find = partial(plan, sources, out)
    keep_watching(run, find, sources, lambda *_: SimpleNamespace(jobs=(), done=()), report)
    assert report.wrong() == []
    assert [(entry.image, entry.output, entry.status) for entry in written] == [
        (str(photo), "a.png", GONE)
    ]
    said = capsys.readouterr()
    assert said.err.count("no longer counts") == 1
    lines = [json.loads(line) for line in said.out.splitlines()]
    told = [(line["status"], line["output"]) for line in lines]
    assert told == ([("failed", str(out / "a.png")), ("gone", str(out / "a.png"))] * as_json)


def test_each_kind_that_is_left_out_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("deconvnet_cli.data.suffixes.reads_heif", lambda: False)
    monkeypatch.setattr("deconvnet_cli.batch.watch.INTERVAL", 0)
    touch(tmp_path, "in/a.jpg", "in/b.heic", "in/c.heic")
    looks = 0

    def do(jobs, on_done, stop) -> None:
        nonlocal looks
        for _ in jobs:
            looks += 1
            touch(tmp_path, "in/d.dng", "in/e.dng")
            if looks == 5:
                break

    out, sources = tmp_path / "out", (str(tmp_path / "in"),)
    run = SimpleNamespace(info=unloaded(BatchSpec(pytest.fail, out)), do=do, shard=None)
    report = Report(out, False, False)
    find = partial(plan, sources, out, report.left_out)
    keep_watching(run, find, sources, lambda *_: SimpleNamespace(jobs=(), done=(1,)), report)
    said = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    heic, dng = "2 .heic (pip install pillow-heif)", "2 .dng"
    assert said[:-1] == [f"2 left out: {heic}", f"2 left out: {dng}"]
    assert said[-1].startswith(f"{out}: 0 made, 1 there already, 4 left out: 2 .")
    assert report.left_out == {".heic": 2, ".dng": 2}


def test_links_in_a_plan_are_followed_and_each_folder_is_looked_up_once(tmp_path, monkeypatch):
    touch(tmp_path, *(f"a/{number}.jpg" for number in range(50)), "a/one.png")
    (tmp_path / "a" / "one.jpg").symlink_to("one.png")  # one photo under two names
    (tmp_path / "b").symlink_to("a")
    counted = Counter()
    resolve = Path.resolve
    monkeypatch.setattr(Path, "resolve", lambda path: counted.update("1") or resolve(path))
    out = tmp_path / "out"
    files = BatchSpec(pytest.fail, out).files
    jobs = apart(plan([str(tmp_path / "a"), str(tmp_path / "b")], out), files)
    assert len(jobs) == 51 and counted.total() < 20
    out.symlink_to("a")
    with pytest.raises(UsageError, match=r"out/one.png: is one of the photos"):
        apart(plan([str(tmp_path / "a" / "one.jpg")], out), files)
    long = tmp_path / "list.txt"
    long.write_text("x" * 300 + ".jpg")
    assert len(plan([f"@{long}"], tmp_path / "out")) == 1  # fails later, alone


def test_a_batch_without_photos_asks_for_them_first(deconvnet, tmp_path):
    for output in ((), ("-o", tmp_path)):
        one_error_line(deconvnet("batch", *output), 2, "give photos: a folder, a glob, or @list")
