"""What an import says of annotations that it cannot take, and of classes."""

import shutil

import numpy as np
import pycocotools.mask
import pytest
from helpers.command_line import one_error_line
from helpers.exports import (
    HEIGHT,
    WIDTH,
    coco_export,
    cvat_export,
    edit,
    labelme_export,
    roboflow_export,
    truth,
)

from deconvnet_cli.data.classes import read_classes
from deconvnet_cli.datasets.masks import read_colour_table
from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.errors import DatasetError


def test_coco_boxes_without_masks_are_counted_and_refused_if_there_is_nothing_else(
    deconvnet, tmp_path
):
    path = coco_export(tmp_path)

    def some(content):
        content["annotations"][0]["segmentation"] = []
        del content["annotations"][1]["segmentation"]
        content["annotations"][2]["segmentation"] = None

    edit(path, some)
    result = deconvnet("dataset", "import", path, "-o", tmp_path / "tree")
    assert result.exit_code == 0
    assert "3 annotations without a mask in 2 photos: left as background" in result.stderr
    disc_is_not_wanted = open_export(path, classes=["square"])
    assert any("1 annotation without a mask in 1 photo:" in n for n in disc_is_not_wanted.notes)
    edit(path, lambda content: [item.pop("segmentation", 0) for item in content["annotations"]])
    result = deconvnet("dataset", "import", path, "-o", tmp_path / "other")
    one_error_line(result, 1, "annotations.json: has boxes but no masks; export segmentations")


def test_a_flat_list_of_numbers_is_one_polygon_as_pycocotools_reads_it(tmp_path):
    path = coco_export(tmp_path)
    flat = [5, 8, 25, 8, 25, 28, 5.5, 28.5]
    edit(path, lambda content: content["annotations"][0].update(segmentation=flat))
    (runs,) = pycocotools.mask.frPyObjects([flat], 60, 80)
    found = open_export(path).read("one").mask == 2
    np.testing.assert_array_equal(found, pycocotools.mask.decode(runs) > 0)


@pytest.mark.parametrize(
    "wrong", ["text", 5, [None], [["a"] * 6], [[1, 2, 3, 4, 5, 6], 7], {"a": 1}]
)
def test_a_segmentation_of_another_form_is_told_in_words(tmp_path, wrong):
    path = coco_export(tmp_path)
    edit(path, lambda content: content["annotations"][0].update(segmentation=wrong))
    with pytest.raises(DatasetError, match="the segmentation of annotation 1 is wrong") as caught:
        open_export(path).read("one")
    assert "object" not in str(caught.value) and "Error" not in str(caught.value)


def test_files_of_another_form_are_told_in_words(deconvnet, tmp_path):
    path = tmp_path / "another.json"
    path.write_text('[{"id": 1, "image": "one.jpg"}]')
    result = deconvnet("dataset", "import", path, "-o", tmp_path / "tree")
    one_error_line(result, 1, "not COCO's instances (it is of another form)", "as COCO JSON")


def test_labelme_photos_without_a_file_are_left_out_and_named(deconvnet, tmp_path):
    source = labelme_export(tmp_path / "export")
    edit(source / "one.json", lambda content: content.update(imagePath="..\\of one.jpg"))
    (source / "one.jpg").rename(source / "of one.jpg")
    (source / "two.json").unlink()
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 1
    words = f"1 photo without a mask left out: {source / 'two.jpg'}"
    assert words in " ".join(result.stderr.split())
    assert open_export(source).unmasked == (source / "two.jpg",)


def test_classes_that_differ_in_case_alone_are_told(tmp_path):
    source = labelme_export(tmp_path / "export")
    edit(source / "one.json", lambda content: content["shapes"][0].update(label="Disc"))
    notes = open_export(source).notes
    assert notes == ("two classes by their case alone: Disc, disc",)
    assert not open_export(source, classes=["disc"]).notes[1:]


@pytest.mark.parametrize("export", [coco_export, labelme_export])
def test_an_export_in_which_nothing_is_annotated_yet(tmp_path, export):
    source = export(tmp_path / "export")
    for path in [source] if source.is_file() else source.glob("*.json"):
        edit(path, lambda content: content.update({"annotations": [], "shapes": []}))
    if source.is_file():
        edit(source, lambda content: content.pop("shapes"))
    with pytest.raises(DatasetError, match="no class beside the background; annotate or name one"):
        open_export(source)


@pytest.mark.parametrize("word", ["_background_", "__background__", "Background"])
def test_other_words_for_the_background_are_no_class(tmp_path, word):
    """LabelMe's ``class_names.txt`` begins with one, and its ``labels.txt`` with two lines."""
    names = tmp_path / "names.txt"
    for first in (word, f"__ignore__\n{word}"):
        names.write_text(f"{first}\ndisc\nsquare\n")
        assert read_classes(names) == ("background", "disc", "square")
    names.write_text(f"background\n{word}\ndisc\n")
    with pytest.raises(DatasetError, match="background all mean label 0; leave one of them"):
        read_classes(names)

    source = cvat_export(tmp_path / "cvat")
    edited = (source / "labelmap.txt").read_text().replace("background", word)
    (source / "labelmap.txt").write_text(edited)
    source = labelme_export(tmp_path / "labelme")
    edit(source / "one.json", lambda content: content["shapes"][0].update(label=word))
    for kind, there in (("cvat", truth(0) == 1), ("labelme", np.zeros((HEIGHT, WIDTH)))):
        export = open_export(tmp_path / kind)
        assert export.classes == ("background", "disc", "square") and not export.notes
        example = export.read("one")
        assert np.array_equal(example.mask == 1, there)
        assert example.objects is None or example.objects.max() == 1


@pytest.mark.parametrize("line", [
    *("knife, fork 1 2 3", "knife, fork:1,2,3::", "knife, fork, 1, 2, 3", "knife, fork 1,2,3"),
    *("knife, fork: 1 2 3", "knife, fork:1,2,3:a,b:4,5,6"),
])  # fmt: skip
def test_names_in_a_table_of_colours_keep_their_commas(deconvnet, tmp_path, line):
    source = cvat_export(tmp_path / "export")
    (tmp_path / "table.txt").write_text(f"background 0 0 0\n{line}\nBox 7 30 60 200\n")
    table = {"background": (0, 0, 0), "knife, fork": (1, 2, 3), "Box 7": (30, 60, 200)}
    assert read_colour_table(tmp_path / "table.txt") == table
    shutil.copy(tmp_path / "table.txt", source / "labelmap.txt")
    assert open_export(source).classes == ("background", "knife, fork", "Box 7")


def test_a_colour_that_the_table_lacks_has_a_remedy(tmp_path):
    source = cvat_export(tmp_path / "export")
    (source / "labelmap.txt").write_text("disc:200,30,30::\n")
    with pytest.raises(DatasetError, match="#1e3cc8 is of no class in the table; add it"):
        open_export(source).read("one")


@pytest.mark.parametrize("export", [coco_export, labelme_export, cvat_export, roboflow_export])
def test_classes_that_are_left_out_or_not_there_are_said(tmp_path, export):
    notes = open_export(export(tmp_path / "export"), classes=["square", "star"]).notes
    assert notes == ("left out as background: disc", "not in the export: star")


def test_a_category_without_annotations_is_in_the_export(tmp_path):
    export = open_export(coco_export(tmp_path), classes=["square", "disc", "none"])
    assert export.classes[3] == "none" and not export.notes


def test_classes_of_a_table_are_said_too(tmp_path):
    source = cvat_export(tmp_path)
    options = {"photos": source / "JPEGImages", "colours": source / "labelmap.txt"}
    export = open_export(source / "SegmentationClass", classes=["star"], **options)
    assert export.notes == ("left out as background: disc, square", "not in the export: star")


@pytest.mark.parametrize("first", [True, False])
def test_coco_polygons_that_are_no_area_are_left_out_beside_others(tmp_path, first):
    path = coco_export(tmp_path)
    expected = open_export(path).read("two").mask

    def spoil(content):
        polygons, sliver = content["annotations"][2]["segmentation"], [[1, 1, 9, 9]]
        both = sliver + polygons if first else polygons + sliver
        content["annotations"][2]["segmentation"] = both

    edit(path, spoil)
    assert np.array_equal(open_export(path).read("two").mask, expected)
    edit(path, lambda content: content["annotations"][2].update(segmentation=[[1, 1, 9, 9]]))
    with pytest.raises(DatasetError, match=r"two: .*annotation 3 .*a polygon of 2 points"):
        open_export(path).read("two")


@pytest.mark.parametrize("value", [None, "wide", float("inf")])
def test_a_size_that_is_no_number_is_named(tmp_path, value):
    source = labelme_export(tmp_path / "labelme")
    edit(source / "one.json", lambda content: content.update(imageHeight=value))
    with pytest.raises(DatasetError, match=r"one\.json: .*imageHeight is .*no.* a whole number"):
        open_export(source).read("one")
    path = coco_export(tmp_path)
    edit(path, lambda content: content["images"][0].update(width=value))
    with pytest.raises(DatasetError, match=r"annotations\.json: .*width is .* a whole number"):
        open_export(path)


def test_labels_have_no_space_around_them_and_a_bad_one_leaves_out_its_photo(deconvnet, tmp_path):
    source = labelme_export(tmp_path / "labelme")
    edit(source / "one.json", lambda content: content["shapes"][0].update(label=" disc\n"))
    export = open_export(source)
    assert export.classes == ("background", "disc", "square")
    np.testing.assert_array_equal(export.read("one").mask, truth(0))
    edit(source / "two.json", lambda content: content["shapes"][0].update(label="a\tb"))
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 1
    assert r"two.json: the label 'a\tb' is no name" in result.stderr
    assert "4 photos from LabelMe JSON, 1 left out" in result.stderr
    path = coco_export(tmp_path)
    edit(path, lambda content: content["categories"][0].update(name=" square "))
    assert open_export(path).classes == ("background", "square", "disc")


def test_a_table_names_a_class_once(tmp_path):
    table = cvat_export(tmp_path) / "labelmap.txt"
    table.write_text(table.read_text() + "disc:1,2,3::\n")
    with pytest.raises(DatasetError, match=r"labelmap\.txt: 'disc' is there twice"):
        open_export(tmp_path)
