"""CVAT's own lists and instances."""

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.exports import NAMES, cvat_export, names_in, read_labels, truth
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import palette
from deconvnet_cli.datasets.opening import open_export


def write_lists(source, **lists):
    folder = source / "ImageSets/Segmentation"
    folder.mkdir(parents=True)
    for name, names in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in names))


def test_lists_are_splits(deconvnet, tmp_path):
    source = cvat_export(tmp_path / "cvat")
    write_lists(source, Train=["day 1/one", '"two"'], Validation=["three.jpg"], TEST=["four", "x"])
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
    assert names_in(tmp_path / "tree", "train") == ["one", "two"]
    assert names_in(tmp_path / "tree", "val") == ["three"]
    assert names_in(tmp_path / "tree", "test") == ["four"]
    assert "TEST.txt: names without a mask: x\n" in result.stderr
    assert "in no list of the export: five\n" in result.stderr
    (source / "SegmentationClass/four.png").unlink()
    export = open_export(source)  # the photo without a mask is told as such, and not once more
    assert [path.name for path in export.unmasked] == ["four.jpg"]
    assert "TEST.txt: names without a mask: x" in export.notes


@pytest.mark.parametrize(
    "lists",
    [{}, {"default": NAMES}, {"Train": ["others"]}, {"Train": NAMES}, {"Train": NAMES, "Val": []}],
)
def test_there_may_be_no_splits(tmp_path, lists):
    source = cvat_export(tmp_path / "cvat")
    write_lists(source, **lists)
    assert not open_export(source).splits


def test_instances_below_the_folder_of_the_photos_are_no_photos(tmp_path):
    source = cvat_export(tmp_path / "data" / "cvat")
    (source / "SegmentationObject").mkdir()
    (source / "SegmentationObject/one.png").write_bytes(
        (source / "SegmentationClass/one.png").read_bytes()
    )
    assert not open_export(source, photos=tmp_path / "data").unmasked


def test_options_of_a_split_have_no_effect_beside_the_exports_own(deconvnet, tmp_path):
    source = cvat_export(tmp_path / "cvat")
    write_lists(source, train=NAMES[:3], val=NAMES[3:])
    for option in ("--val-share", "--seed"):
        arguments = (source, "-o", tmp_path / "tree", option, 0)
        result = deconvnet("dataset", "import", *arguments)
        one_error_line(result, 2, "has its own splits", option)


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_instances_are_numbered(deconvnet, tmp_path, mode):
    """Two objects of one class touch, which only the instances tell apart."""
    source = cvat_export(tmp_path / "cvat")
    (source / "SegmentationObject").mkdir()
    left = np.arange(truth(0).shape[1]) < 55
    for number, name in enumerate(NAMES[:4]):
        instances = np.where((truth(number) == 2) & left, 9, truth(number)).astype(np.uint8)
        instances[:9] = 255  # void, on a row of the disc's square too
        path = source / f"SegmentationObject/{name}.png"
        if mode == "P":
            path.write_bytes(label_png(instances))
        else:
            Image.fromarray(palette()[instances] if mode == "RGB" else instances).save(path)
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
    objects = read_labels(tmp_path / "tree/SegmentationObject/two.png")
    parts = [truth(1) == 1, (truth(1) == 2) & left, (truth(1) == 2) & ~left]
    assert parts[0][8].any() and not objects[:9].any() and not objects[truth(1) == 0].any()
    parts[0][:9] = False
    assert sorted(int(n) for part in parts for n in np.unique(objects[part])) == [1, 2, 3]
    assert "SegmentationObject: has no objects of: five\n" in result.stderr
    assert not (tmp_path / "tree/SegmentationObject/five.png").exists()
    only = open_export(source, classes=["disc"]).read("two").objects
    np.testing.assert_array_equal(only, parts[0])


def test_instances_of_another_size_leave_out_their_photo(deconvnet, tmp_path):
    source = cvat_export(tmp_path / "cvat")
    (source / "SegmentationObject").mkdir()
    for number, name in enumerate(NAMES):
        instances = truth(number)[number % 2 :]
        (source / f"SegmentationObject/{name}.png").write_bytes(label_png(instances))
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 1
    for name in ("two", "four"):
        assert f"SegmentationObject/{name}.png: 80x59 pixels, but" in result.stderr
    assert "3 photos from CVAT's masks, 2 left out" in result.stderr
