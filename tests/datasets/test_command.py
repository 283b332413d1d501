"""``deconvnet dataset`` as a person uses it: import, check, and what is wrong on one line each."""

from __future__ import annotations

import json

from helpers.command_line import one_error_line
from helpers.exports import coco_export, grey_export, labelme_export
from PIL import Image

from deconvnet_cli.datasets.export import oriented_photo


def test_import_then_check(deconvnet, tmp_path):
    source = coco_export(tmp_path)
    tree, sheet = tmp_path / "tree", tmp_path / "sheet.png"
    result = deconvnet("dataset", "import", source, "-o", tree)
    assert result.exit_code == 0, result.stderr
    assert "5 photos from COCO JSON, 0 left out" in result.stderr
    assert "classes: background, square, disc" in result.stderr
    result = deconvnet("dataset", "check", tree, "--sheet", sheet)
    assert result.exit_code == 0, result.stdout
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line.strip()}
    assert rows["square"][1:3] == ["5", "5"] and rows["disc"][1:3] == ["5", "5"]
    assert rows["train.txt"][1] == "4" and rows["val.txt"][1] == "1"
    with Image.open(sheet) as picture:
        assert picture.format == "PNG"


def test_check_as_json_and_its_exit_code(deconvnet, tmp_path):
    tree = tmp_path / "tree"
    deconvnet("dataset", "import", labelme_export(tmp_path / "labelme"), "-o", tree)
    (tree / "SegmentationClass/one.png").unlink()
    result = deconvnet("dataset", "check", tree, "--json")
    assert result.exit_code == 1
    line = json.loads(result.stdout)
    assert line["photos"] == 5 and line["classes"]["disc"]["photos"] == 4
    assert any("has no mask" in problem for problem in line["problems"])


def test_a_photo_that_cannot_be_used_is_named(deconvnet, tmp_path):
    source = labelme_export(tmp_path / "labelme")
    (source / "two.jpg").write_bytes(b"no photo")
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 1
    assert "two" in result.stderr and "4 photos from LabelMe JSON, 1 left out" in result.stderr


def test_classes_from_a_file(deconvnet, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("\ufeffleaf\n", encoding="utf-8")
    arguments = (grey_export(tmp_path), "-o", tmp_path / "tree", "--photos", tmp_path / "photos")
    result = deconvnet("dataset", "import", *arguments, "--classes", names, "--quiet")
    assert result.exit_code == 0 and not result.stderr
    assert (tmp_path / "tree/classes.txt").read_text() == "background\nleaf\n"


def test_wrong_usage_is_one_line(deconvnet, tmp_path):
    masks = grey_export(tmp_path)
    result = deconvnet("dataset", "import", masks, "-o", tmp_path / "tree")
    one_error_line(result, 2, "--photos")
    result = deconvnet("dataset", "check", tmp_path)
    one_error_line(result, 1, "JPEGImages/ is missing")
    result = deconvnet("dataset", "check", tmp_path / "nope")
    one_error_line(result, 1, "nope: no such folder")


def test_a_failed_import_can_be_made_again(deconvnet, tmp_path):
    source = labelme_export(tmp_path / "labelme")
    (source / "photos").mkdir()
    command = ("dataset", "import", source, "-o", tmp_path / "tree")
    result = deconvnet(*command, "--photos", source / "photos")
    assert result.exit_code == 1 and "not one photo of 5 can be used" in result.stderr
    assert not (tmp_path / "tree").exists()
    (tmp_path / "tree/JPEGImages").mkdir(parents=True)  # as earlier versions left it
    assert deconvnet(*command).exit_code == 0
    one_error_line(deconvnet(*command), 2, "tree: is there already; give a new folder")


def test_an_import_that_was_stopped_is_known(deconvnet, tmp_path, monkeypatch):
    source = labelme_export(tmp_path / "labelme")
    read = LabelmeReader(most=2)
    monkeypatch.setattr("deconvnet_cli.datasets.labelme.oriented_photo", read)
    command = ("dataset", "import", source, "-o", tmp_path / "tree")
    assert deconvnet(*command).exit_code != 0
    monkeypatch.undo()
    one_error_line(deconvnet(*command), 2, "without lists", "stopped; remove it", "with -o")


class LabelmeReader:
    """A reader of photos that is interrupted after some."""

    def __init__(self, most: int) -> None:
        self.left = most

    def __call__(self, *arguments: object) -> object:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return oriented_photo(*arguments)


def test_a_folder_that_may_be_closed_to_readers_is_no_wrong_usage(deconvnet, tmp_path, monkeypatch):
    """A folder on a server may take files of people who cannot list it; opening tells."""
    source = labelme_export(tmp_path / "labelme")
    (tmp_path / "tree").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
