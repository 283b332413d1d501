"""What an import says of annotations that it cannot take, and of classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.exports import coco_export, cvat_export, labelme_export, roboflow_export, truth

from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.errors import DatasetError

# Of pycocotools, which numpy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def edit(path, change):
    """Change a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


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
