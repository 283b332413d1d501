"""The command line as a user meets it: what it writes, what it says, how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from helpers.command_line import one_error_line
from PIL import Image

from deconvnet_cli import Segmenter
from deconvnet_cli.cli import cli
from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.errors import OutputError
from deconvnet_cli.storage import files


def photo(path: Path, size=(60, 40)) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(values).save(path)
    return path


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_help_imports_neither_torch_nor_cv2():
    code = (
        "import sys\nfrom deconvnet_cli.cli import cli\n"
        "try:\n    cli(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({n.split('.')[0] for n in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"')))
    assert {"torch", "cv2", "numpy", "PIL", "rich"} & imported == set()
    assert {"click", "deconvnet_cli"} <= imported


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP there")
@pytest.mark.parametrize(
    ("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")]
)
def test_threads_sleep_while_they_wait(given, policy):
    """OpenMP says which policy it has when torch loads it."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-m", "deconvnet_cli", "weights", "verify"],
        env={**environment, "OMP_DISPLAY_ENV": "true", **given},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


def test_the_cat_is_a_cat(deconvnet, data, tmp_path):
    out = tmp_path / "cat.png"
    result = deconvnet(
        "segment", data / "chelsea.jpg", "-o", out, "--proposals", 5, "--json", "--quiet",
        "--min-area", 0,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    line = json.loads(result.stdout)
    assert line["classes"]["cat"] > 0.5
    assert line["proposals"] == 5
    with Image.open(out) as labels:
        assert (labels.mode, labels.size) == ("P", (451, 300))
        assert labels.getpalette()[:63] == palette()[:21].ravel().tolist()
        share = np.mean(np.array(labels) == CLASSES.index("cat"))
    assert line["classes"]["cat"] == pytest.approx(share, abs=1e-4)


def test_the_same_png_whatever_the_batch_size(deconvnet, data, tmp_path):
    digests = set()
    with Image.open(data / "astronaut.jpg") as image:
        image.resize((160, 160)).save(tmp_path / "small.png")
    for size in (1, 4):
        out = tmp_path / f"{size}.png"
        args = ("segment", tmp_path / "small.png", "-o", out, "--proposals", 5)
        assert deconvnet(*args, "--batch-size", size).exit_code == 0
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_segment_alone_writes_beside_the_photo(deconvnet, tiny_weights, tmp_path):
    jpeg, png = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.png")
    before = jpeg.read_bytes(), png.read_bytes()
    for source in (jpeg, png):
        assert deconvnet("segment", source, "--weights", tiny_weights).exit_code == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.jpg", "a.png", "b-labels.png", "b.png"]
    assert (jpeg.read_bytes(), png.read_bytes()) == before


def test_one_pixel(deconvnet, tiny_weights, tmp_path):
    source = photo(tmp_path / "dot.bmp", size=(1, 1))
    assert deconvnet("segment", source, "--weights", tiny_weights).exit_code == 0
    assert size_of(tmp_path / "dot.png") == (1, 1)


def test_a_bomb_is_refused(deconvnet, tiny_weights, tmp_path):
    options = ("--weights", tiny_weights, "--max-pixels", 1000)
    result = deconvnet("segment", photo(tmp_path / "a.png"), *options)
    one_error_line(result, 1, "a.png: ", "more than the 1,000 allowed; scale it down")


BAD_PHOTOS = {
    "missing.jpg": "missing.jpg: no such file; check the path",
    "no/a.jpg": "a.jpg: no such file; check the path",  # and not: make the folder
    "https://a.org/b.jpg": "https://a.org/b.jpg: a URL, not a file; download",
    "s3://b/x.jpg": "s3://b/x.jpg: a URL, not a file; `deconvnet batch`",
    "@photos.txt": "@photos.txt: no such file; check the path; `deconvnet batch` takes lists",
    "*.jpg": "*.jpg: no such file; check the path; `deconvnet batch` takes lists and globs",
    "pipe.jpg": "cannot be read (a pipe or device, not a file); read it as standard input",
    "folder.jpg": "folder.jpg: a folder; use `deconvnet batch`",
    "empty.jpg": "empty.jpg: the file is empty",
    "text.jpg": "text.jpg: not an image",
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photo(deconvnet, tiny_weights, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("text.jpg").write_text("not a photo")
    Path("empty.jpg").touch()
    Path("folder.jpg").mkdir()
    os.mkfifo("pipe.jpg")
    result = deconvnet("segment", name, "-o", "out.png", "--weights", tiny_weights)
    one_error_line(result, 1, BAD_PHOTOS[name])
    assert not Path("out.png").exists()


FILE_WRITERS = (
    ("segment", "PHOTO", "-o"), ("export", "WEIGHTS", "-o"), ("proposals", "PHOTO", "-o"),
    ("weights", "average", "WEIGHTS", "WEIGHTS", "-o"), ("weights", "compress", "WEIGHTS", "-o"),
    ("weights", "import", "WEIGHTS", "-o"),
    ("weights", "import", "http://127.0.0.1:9/x.caffemodel", "-o"),
    ("evaluate", "--voc-root", "x", "-o"), ("evaluate", "--voc-root", "x", "--report"),
    ("dataset", "check", "FOLDER", "--sheet"), ("bench", "proposals", "--voc-root", "x", "--save"),
)  # fmt: skip


@pytest.fixture(params=FILE_WRITERS, ids=" ".join)
def file_writer(request, tiny_weights, tmp_path) -> list[object]:
    """A command up to the name of the file that it writes."""
    known = {"WEIGHTS": tiny_weights, "PHOTO": photo(tmp_path / "p.png"), "FOLDER": tmp_path}
    return [known.get(word, word) for word in request.param]


def test_folder_of_a_file_missing(deconvnet, file_writer, tmp_path):
    """Before any work, such as a download."""
    result = deconvnet(*file_writer, tmp_path / "no" / "a")
    one_error_line(result, 2, "no", "no such folder; make it")


def test_a_photo_is_not_replaced_by_a_file_of_another_kind(deconvnet, file_writer, tmp_path):
    kept = photo(tmp_path / "a.jpg")
    before = kept.read_bytes()
    result = deconvnet(*file_writer, kept)
    one_error_line(result, 2, "a.jpg", "give a name that ends in")
    assert kept.read_bytes() == before


def test_output_below_a_file(deconvnet, tiny_weights, tmp_path):
    source = photo(tmp_path / "a.jpg")
    inside = deconvnet("segment", source, "-o", source / "x.png", "--weights", tiny_weights)
    one_error_line(inside, 2, "a.jpg", "no such folder")
    folder = deconvnet("segment", source, "-o", f"{source}/sub/", "--weights", tiny_weights)
    one_error_line(folder, 1, "a.jpg", "cannot be made")
    batch = deconvnet("batch", tmp_path, "-o", source / "sub", "--weights", tiny_weights)
    one_error_line(batch, 1, "a.jpg", "cannot be made")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "labels.png"
    target.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        files.write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["labels.png"]


def test_several_photos_need_a_folder(deconvnet, tmp_path):
    a, b = photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg")
    one_error_line(deconvnet("segment", a, b, "-o", tmp_path / "x.png"), 2, "need a folder")


def test_a_picture_that_is_no_label_png_is_not_replaced(deconvnet, tiny_weights, tmp_path):
    """Unless -o names it: the default name may be that of another photo."""
    options = ("--weights", tiny_weights, "--proposals", 1, "--quiet")
    cat, other = photo(tmp_path / "cat.jpg"), photo(tmp_path / "cat.png")
    before = other.read_bytes()
    result = deconvnet("segment", cat, *options)
    one_error_line(result, 2, "cat.png: is there already, and is no label PNG", "-o")
    assert other.read_bytes() == before
    assert deconvnet("segment", cat, "-o", other, *options).exit_code == 0
    assert deconvnet("segment", cat, *options).exit_code == 0  # its own labels of before
    dog, other = photo(tmp_path / "dog.jpg"), tmp_path / "dog.png"
    Image.radial_gradient("L").convert("RGB").quantize(200).save(other)  # has a palette too
    before = other.read_bytes()
    one_error_line(deconvnet("segment", dog, *options), 2, "dog.png: is there already")
    alone = deconvnet("segment", dog, "--format", "none", "--overlay", *options)
    assert alone.exit_code == 0 and other.read_bytes() == before


def test_a_good_photo_beside_a_bad_one_is_done(deconvnet, tiny_weights, tmp_path):
    good = photo(tmp_path / "good.jpg")
    out = f"{tmp_path}/out/"
    result = deconvnet("segment", tmp_path / "gone.jpg", good, "-o", out, "--weights", tiny_weights)
    assert result.exit_code == 1
    assert "gone.jpg" in result.stderr
    assert (tmp_path / "out" / "good.png").exists()


def test_unknown_device(deconvnet, tiny_weights, tmp_path):
    source = photo(tmp_path / "a.jpg")
    result = deconvnet("segment", source, "--weights", tiny_weights, "--device", "toaster")
    one_error_line(result, 2, "toaster", "cpu")


def test_proposals_as_json_and_drawn(deconvnet, data, tmp_path):
    result = deconvnet("proposals", data / "chelsea.jpg", "--proposals", "auto")
    assert result.exit_code == 2 and "'auto' is not a valid whole number" in result.stderr
    result = deconvnet("proposals", data / "chelsea.jpg", "--proposals", 4)
    line = json.loads(result.stdout)
    assert line["boxes"][0] == [0, 0, 451, 300]
    assert len(line["boxes"]) == len(line["scores"]) == 4
    out = tmp_path / "boxes.png"
    told = deconvnet("proposals", data / "chelsea.jpg", "-o", out)
    assert told.exit_code == 0 and told.stdout == ""
    assert told.stderr.startswith(f"{data / 'chelsea.jpg'} -> {out}: ")
    quiet = deconvnet("proposals", data / "chelsea.jpg", "-o", out, "--quiet")
    assert quiet.exit_code == 0 and quiet.stderr == ""
    assert size_of(out) == (451, 300)


def test_a_large_photo_has_the_boxes_that_segment_uses(deconvnet, tiny_weights, data, tmp_path):
    with Image.open(data / "chelsea.jpg") as image:
        image.resize((1536, 1022)).save(large := tmp_path / "large.png")
    result = Segmenter.load(tiny_weights, proposals=20).segment(large)
    shown = json.loads(deconvnet("proposals", large, "--proposals", 20).stdout)["boxes"]
    assert len(shown) == 20
    assert shown == result.boxes.tolist()


def commands_of(command: click.Command, words: tuple[str, ...] = ()):
    """Each command that does something, with the words that call it."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        yield from commands_of(command.get_command(context, name), (*words, name))


def test_an_empty_text_is_not_this_folder(deconvnet, tmp_path, monkeypatch):
    """A shell gives one for a variable without a value; every argument and option refuses it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    photo(tmp_path / "in" / "a.jpg")
    given = []
    for words, command in commands_of(cli):
        for parameter in command.params:
            texts = ("",) if parameter.nargs != -1 else ("in/a.jpg", "")
            before = () if isinstance(parameter, click.Argument) else (parameter.opts[-1],)
            if getattr(parameter, "is_flag", False) or isinstance(parameter.type, click.Choice):
                continue
            given.append((*words, *before, *texts))
            result = deconvnet(*given[-1])
            assert result.exit_code == 2 and "is empty" in result.stderr, given[-1]
    for known in (
        ("batch", "--output"),
        ("train", "--from"),
        ("crf", "--grid"),
        ("dataset", "check"),
    ):
        assert (*known, "") in given
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_batch_is_not_written_among_its_photos(deconvnet, tmp_path):
    photo(tmp_path / "a.jpg")
    result = deconvnet("batch", tmp_path, "-o", tmp_path, "--dry-run")
    one_error_line(result, 2, "holds the photos", "another -o folder")
    no_picture = ("--format", "npy", "--polygons", "labelme", "--dry-run")
    assert deconvnet("batch", tmp_path, "-o", tmp_path, *no_picture).exit_code == 0
    for url in (f"file://{tmp_path}", "memory://photos"):
        one_error_line(deconvnet("batch", url, "-o", url, "--dry-run"), 2, "another -o folder")
    remote = deconvnet("batch", tmp_path, "-o", "memory://elsewhere", "--dry-run")
    assert remote.exit_code == 0, remote.output
    one_error_line(deconvnet("batch", "/", "--dry-run"), 2, "-o DIR")
    one_error_line(deconvnet("batch", tmp_path / "typo"), 2, "typo: no folder of this name", "-o")
    (tmp_path / "list.txt").write_bytes(b"a.jpg\0b.jpg\0")
    listed = deconvnet("batch", f"@{tmp_path / 'list.txt'}", "-o", tmp_path / "out", "--dry-run")
    one_error_line(listed, 2, "list.txt: has zero bytes", "one path a line")
