"""What `segment` writes beside the labels, and how its options fit together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.photos import pixels
from PIL import Image

from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import MIN_AREA, Outputs
from deconvnet_cli.outputs.overlay import cutout, overlay
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.specks import without_specks
from deconvnet_cli.segmentation.stored_scores import read_scores

EVERYTHING = ("--overlay", "--cutout", "--polygons", "geojson", "--save-scores")


@pytest.fixture
def cat(data, tmp_path) -> Path:
    """A small photo in a folder of its own."""
    path = tmp_path / "cat.jpg"
    with Image.open(data / "chelsea.jpg") as photo:
        photo.resize((90, 60)).save(path, quality=95)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_everything_beside_the_labels(deconvnet, cat, quick):
    result = deconvnet("segment", cat, *EVERYTHING, "--json", *quick)
    assert result.exit_code == 0, result.output
    expected = ["cat.cutout.png", "cat.geojson", "cat.jpg", "cat.npz", "cat.overlay.png", "cat.png"]
    assert names(cat.parent) == expected
    line = json.loads(result.stdout)
    assert line["output"] == str(cat.with_suffix(".png"))
    assert sorted(line["beside"]) == sorted(
        str(cat.with_suffix(suffix))
        for suffix in (".overlay.png", ".cutout.png", ".geojson", ".npz")
    )
    labels = pixels(cat.with_suffix(".png"))
    shown = without_specks(labels, MIN_AREA)
    assert np.array_equal(pixels(cat.with_suffix(".cutout.png"))[..., 3] > 127, shown != 0)
    features = json.loads(cat.with_suffix(".geojson").read_text())
    assert features["image"] == "cat.jpg"
    areas = {name: 0 for name in CLASSES[1:]}
    for feature in features["features"]:
        areas[feature["properties"]["class"]] += feature["properties"]["area"]
        assert 1 / 21 < feature["properties"]["score"] <= 1
    assert list(areas.values()) == np.bincount(shown.ravel(), minlength=21)[1:].tolist()
    stored = read_scores(cat.with_suffix(".npz"))
    assert stored.photo == cat.resolve() and stored.size == (90, 60)
    assert (stored.maps.merged().argmax(0).numpy() == labels).mean() > 0.99  # half precision


def test_the_same_run_again_writes_the_same_bytes(deconvnet, cat, quick, tmp_path):
    for folder in ("first", "second"):
        options = (*EVERYTHING, "--palette", "safe", "-o", f"{tmp_path / folder}/")
        assert deconvnet("segment", cat, *options, *quick).exit_code == 0
    files = names(tmp_path / "first")
    assert len(files) == 5 and files == names(tmp_path / "second")
    for name in files:
        first, second = ((tmp_path / part / name).read_bytes() for part in ("first", "second"))
        assert first == second, name


def test_only_changes_what_is_shown_and_not_the_labels(deconvnet, cat, quick, tmp_path):
    assert deconvnet("segment", cat, "-o", tmp_path / "all.png", *quick).exit_code == 0
    labels = without_specks(pixels(tmp_path / "all.png"), MIN_AREA)
    first, second = (CLASSES[label] for label in np.unique(labels[labels != 0])[:2])
    options = ("--overlay", "--cutout", "--polygons", "coco", "--only", f"{first}, {second}")
    assert deconvnet("segment", cat, *options, *quick).exit_code == 0
    assert cat.with_suffix(".png").read_bytes() == (tmp_path / "all.png").read_bytes()
    inside = np.isin(labels, [CLASSES.index(first), CLASSES.index(second)])
    assert np.array_equal(pixels(cat.with_suffix(".cutout.png"))[..., 3] > 127, inside)
    shown = pixels(cat.with_suffix(".overlay.png"))[:60, :90]
    assert inside.any() and not inside.all()
    assert np.array_equal(shown[~inside], pixels(cat)[~inside])
    found = json.loads(cat.with_suffix(".coco.json").read_text())
    assert sum(part["area"] for part in found["annotations"]) == inside.sum()


def test_classes_that_the_photo_does_not_have_are_said(deconvnet, cat, quick, tmp_path):
    assert deconvnet("segment", cat, "-o", tmp_path / "all.png", *quick).exit_code == 0
    found = np.unique(without_specks(pixels(tmp_path / "all.png"), MIN_AREA))
    there = CLASSES[found[found > 0][0]]
    one, other = [CLASSES[label] for label in range(1, 21) if label not in found][:2]
    loud = [option for option in quick if option != "--quiet"]
    for only, said in ((f"{other},{one}", True), (f"{one},{there}", False)):
        result = deconvnet("segment", cat, "--cutout", "--only", only, *loud)
        assert (f"no {one} or {other} found" in result.stderr) == said, result.stderr


def test_labels_as_an_array(deconvnet, cat, quick, tmp_path):
    for options in ((), ("--format", "npy"), ("-o", tmp_path / "named.npy")):
        assert deconvnet("segment", cat, *options, *quick).exit_code == 0
    labels = pixels(cat.with_suffix(".png"))
    for path in (cat.with_suffix(".npy"), tmp_path / "named.npy"):
        array = np.load(path)
        assert array.dtype == np.uint8 and np.array_equal(array, labels)
    piped = deconvnet("segment", cat, "-o", "-", "--format", "npy", *quick)
    assert piped.stdout_bytes == cat.with_suffix(".npy").read_bytes()


def test_safe_colours_are_for_the_overlay_alone(deconvnet, cat, quick):
    for name, options in (
        ("safe", ()),
        ("safe", ("--palette", "safe")),
        ("voc", ("--palette", "voc")),
    ):
        assert deconvnet("segment", cat, "--overlay", *options, *quick).exit_code == 0
        with Image.open(cat.with_suffix(".png")) as image:
            assert image.getpalette()[:63] == palette()[:21].ravel().tolist()
            labels = without_specks(np.array(image), MIN_AREA)
        with Image.open(cat) as photo:
            expected = overlay(photo, labels, colours=colours_of(name), classes=CLASSES)
        assert np.array_equal(pixels(cat.with_suffix(".overlay.png")), np.array(expected))


@pytest.mark.parametrize("options, words", [
    (("--crop",), "add --cutout"),
    (("--cutout", "--background", "blurple"), "no colour"),
    (("--cutout", "--background", "#ff000080"), "partly transparent"),
    (("--mask", "cta"), "--mask: no class is called 'cta'; did you mean cat?"),
    (("--polygons", "coco", "--simplify", "1"), "not coco"),
    (("--polygons", "coco", "--polygons", "yolo"), "takes one format"),
    (("--mask", "cta", "--mask", "cat"), "did you mean cat?"),
    (("--clean-labels", "--min-area", "0"), "give one above 0"),
    (("--format", "none"), "add --cutout"),
    (("--format", "cvat"), "give a folder"),
    (("--format", "cvat", "--overlay", "-o", "out/"), "leave out files beside"),
    (("--only", "cat"), "add one of them"),
    (("--overlay", "--only", "cta"), "did you mean cat?"),
    (("--overlay", "--only", "leaf"), "no class is called"),
    (("--palette", "voc"), "add --overlay"),
    (("-o", "labels.png", "--format", "npy"), "its name says png"),
    (("-o", "-", "--overlay"), "give -o FILE"),
    (("-o", "-", "--save-scores"), "give -o FILE"),
])  # fmt: skip
def test_options_that_do_not_fit(deconvnet, cat, quick, options, words):
    result = deconvnet("segment", cat, *options, *quick)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert words in line
    assert names(cat.parent) == ["cat.jpg"]


@pytest.mark.parametrize("option", [("--save-scores",), ("--polygons", "labelme")])
def test_files_that_name_the_photo_are_not_made_of_standard_input(
    deconvnet, cat, quick, tmp_path, option
):
    options = ("-", "-o", tmp_path / "out.png", *option, *quick)
    result = deconvnet("segment", *options, stdin=cat.read_bytes())
    assert result.exit_code == 2 and "where the photo is" in result.stderr


def test_coco_has_a_name_for_standard_input(deconvnet, cat, quick, tmp_path):
    options = ("-", "-o", f"{tmp_path}/", "--polygons", "coco", "--quiet", *quick)
    result = deconvnet("segment", *options, stdin=cat.read_bytes())
    assert result.exit_code == 0, result.output
    (image,) = json.loads((tmp_path / "stdin.coco.json").read_text())["images"]
    assert image["file_name"] == "stdin"


def test_nothing_takes_the_place_of_a_photo_or_of_another_output(deconvnet, cat, quick, tmp_path):
    clash = cat.with_name("cat.overlay.png")
    with Image.open(cat) as photo:
        photo.save(clash)
    before = clash.read_bytes()
    result = deconvnet("segment", cat, clash, "--overlay", *quick)
    assert result.exit_code == 2 and "the photo itself" in result.stderr
    assert clash.read_bytes() == before
    out = tmp_path / "out"
    result = deconvnet("segment", cat, clash, "-o", f"{out}/", "--overlay", *quick)
    assert result.exit_code == 2 and "written for two photos" in result.stderr
    assert not out.exists()


def test_labels_are_written_last(tmp_path, monkeypatch):
    """A batch takes a photo for done once its labels are there."""
    order = []
    monkeypatch.setattr(
        "deconvnet_cli.outputs.encoding.write_whole", lambda path, _: order.append(path.name)
    )
    photo, labels = Image.new("RGB", (4, 3)), np.ones((3, 4), np.uint8)
    outputs = Outputs(overlay=True, cutout=True, polygons="coco")
    written = write_outputs(photo, labels, tmp_path / "a.png", outputs, CLASSES)
    assert order == ["a.overlay.png", "a.cutout.png", "a.coco.json", "a.png"]
    assert [path.name for path in written] == ["a.png", *order[:-1]]


def test_only_may_name_the_background(tmp_path):
    photo, labels = Image.new("RGB", (4, 3), "red"), np.eye(3, 4, dtype=np.uint8)
    outputs = Outputs(cutout=True, only=("background",))
    write_outputs(photo, labels, tmp_path / "a.png", outputs, CLASSES)
    assert np.array_equal(pixels(tmp_path / "a.cutout.png")[..., 3] == 255, labels == 0)
    same = cutout(photo, labels, classes=CLASSES, only="background")
    assert np.array_equal(pixels(tmp_path / "a.cutout.png"), np.array(same))


@pytest.mark.parametrize("field", ["format", "polygons", "palette"])
def test_values_that_there_are_not(field):
    with pytest.raises(UsageError, match=f"--{field} svg: must be one of "):
        Outputs(overlay=True, **{field: "svg"})
