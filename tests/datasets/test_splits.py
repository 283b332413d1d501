"""Folders called train, valid and test become lists of these names, whatever the export is."""

from __future__ import annotations

import json
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from helpers.command_line import one_error_line
from helpers.exports import (
    NAMES,
    coco_export,
    coco_splits,
    cvat_export,
    draw_photos,
    grey_export,
    labelme_export,
    names_in,
    read_labels,
    truth,
)

from deconvnet_cli.datasets.export import Export
from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.datasets.tree import split_names

PLACES = dict(zip(NAMES, ("train", "training", "Train", "VALID", "testing"), strict=True))


def lists_of(tree: Path) -> dict[str, list[str]]:
    folder = tree / "ImageSets/Segmentation"
    return {path.stem: list(names_in(tree, path.stem)) for path in sorted(folder.iterdir())}


LISTS = {"test": ["five"], "train": ["one", "three", "two"], "val": ["four"]}


def test_coco_of_splits_is_one_tree_and_classes_go_by_name(deconvnet, tmp_path):
    """Number 7 is the disc in train and the square in valid, 3 the square and the disc of test."""
    source = coco_splits(tmp_path / "shapes")
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
    tree = tmp_path / "tree"
    assert lists_of(tree) == LISTS
    assert (tree / "classes.txt").read_text().split() == ["background", "square", "disc"]
    for number, name in enumerate(NAMES):
        labels = read_labels(tree / f"SegmentationClass/{name}.png")
        np.testing.assert_array_equal(labels, np.array([0, 2, 1])[truth(number)])
    refused = deconvnet("dataset", "import", source, "-o", tmp_path / "b", "--val-share", 0.1)
    one_error_line(refused, 2, "has its own splits", "--val-share")


def keep_annotations(path: Path, *names: str) -> None:
    """Leave out what is of other classes than these."""
    content = json.loads(path.read_text())
    kept = {item["id"] for item in content["categories"] if item["name"] in names}
    annotations = [item for item in content["annotations"] if item["category_id"] in kept]
    path.write_text(json.dumps(content | {"annotations": annotations}))


def test_a_class_may_be_in_one_split_alone_and_a_split_without_annotations(tmp_path):
    source = coco_splits(tmp_path / "shapes")
    for split, names in (("train", ("disc",)), ("test", ())):
        path = source / split / "_annotations.coco.json"
        keep_annotations(path, *names)
    export = open_export(source)
    assert export.classes == ("background", "square", "disc") and export.splits == LISTS
    assert not export.read("five").mask.any()
    np.testing.assert_array_equal(export.read("one").mask == 2, truth(0) == 1)
    only = open_export(source, classes=["disc"]).read("four").mask
    np.testing.assert_array_equal(only, truth(3) == 1)


def test_one_name_in_two_splits_is_two_photos(tmp_path):
    source = coco_splits(tmp_path / "shapes")
    path = source / "valid/_annotations.coco.json"
    path.write_text(path.read_text().replace("four.jpg", "one.jpg"))
    (source / "valid/four.jpg").rename(source / "valid/one.jpg")
    export = open_export(source)
    assert export.splits["val"] == ["valid_one"] and "train_one" in export.splits["train"]
    for name, number in (("train_one", 0), ("valid_one", 3)):
        np.testing.assert_array_equal(export.read(name).mask > 0, truth(number) > 0)


def test_one_name_in_two_files_of_one_folder_is_refused(deconvnet, tmp_path):
    source = coco_splits(tmp_path / "shapes")
    for split in ("train", "valid"):
        file = source / split / "_annotations.coco.json"
        file.write_text(file.read_text().replace("four.jpg", "one.jpg"))
        file.rename(source / f"{split}.json")
    (source / "test/_annotations.coco.json").unlink()
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    words = "one.jpg of train.json and one.jpg of valid.json would both be called one"
    one_error_line(result, 1, words, "rename one")
    assert not (tmp_path / "tree").exists()


def test_a_damaged_file_of_a_split_is_not_passed_over(deconvnet, tmp_path):
    source = coco_splits(tmp_path / "shapes")
    (source / "valid/_annotations.coco.json").write_text('{"images": [')
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    one_error_line(result, 1, "valid/_annotations.coco.json: not readable as JSON")


@pytest.mark.parametrize("photos", ["{}", "{}2017", "images/{}", "images/{}2017"])
def test_coco_files_of_splits_may_lie_in_one_folder(deconvnet, tmp_path, photos):
    """As COCO has them, beside files of other tasks; a photo is sought in its own split first."""
    source = coco_splits(tmp_path / "shapes")
    (source / "annotations").mkdir()
    (source / "images").mkdir()
    for split in ("train", "valid", "test"):
        file = source / split / "_annotations.coco.json"
        file.rename(source / f"annotations/instances_{split}2017.json")
        (source / split).rename(source / photos.format(split))
    (source / "images/one.jpg").write_bytes(b"another photo of this name")
    for other in ("captions_train2017", "person_keypoints_val2017", "image_info_test-dev2017"):
        content = {"images": [], "annotations": [], "categories": []}
        (source / f"annotations/{other}.json").write_text(json.dumps(content))
    for place in (source, source / "annotations"):
        tree = tmp_path / f"tree of {place.name}"
        result = deconvnet("dataset", "import", place, "-o", tree)
        assert result.exit_code == 0, result.stderr
        assert lists_of(tree) == LISTS
        for number, name in enumerate(NAMES):
            labels = read_labels(tree / f"SegmentationClass/{name}.png")
            np.testing.assert_array_equal(labels, np.array([0, 2, 1])[truth(number)])
    one = open_export(source / "annotations/instances_valid2017.json")
    assert one.names == ("four",) and one.read("four").mask.any()


@pytest.mark.parametrize("moves", [
    {"train": "first"},
    {"valid/_annotations.coco.json": "train/other.json"},
    {"train/_annotations.coco.json": "annotations.json"},
])  # fmt: skip
def test_files_that_are_not_one_for_each_split_are_refused(deconvnet, tmp_path, moves):
    source = coco_splits(tmp_path / "shapes")
    for old, new in moves.items():
        (source / old).rename(source / new)
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    one_error_line(result, 2, "3 COCO files in it", "name one")


def test_one_split_by_itself_is_divided(deconvnet, tmp_path):
    source = coco_splits(tmp_path / "shapes")
    for place in ("train", "train/_annotations.coco.json"):
        result = deconvnet("dataset", "import", source / place, "-o", tmp_path / place / "tree")
        assert result.exit_code == 0, result.stderr
        assert {*lists_of(tmp_path / place / "tree")} == {"train", "val"}


@pytest.mark.parametrize("kind", ["labelme", "grey", "rgb"])
def test_folders_of_other_exports_are_splits_too(tmp_path, kind):
    options: dict[str, object] = {"kind": kind}
    if kind == "labelme":
        source, suffix = labelme_export(tmp_path / "export"), ".json"
    elif kind == "grey":
        source, suffix = grey_export(tmp_path / "export"), ".png"
        options["photos"] = tmp_path / "export/photos"
    else:
        folder = cvat_export(tmp_path / "export")
        source, suffix = folder / "SegmentationClass", ".png"
        options |= {"photos": folder / "JPEGImages", "colours": folder / "labelmap.txt"}
    for name, place in PLACES.items():
        (source / place).mkdir(exist_ok=True)
        (source / f"{name}{suffix}").rename(source / place / f"{name}{suffix}")
    export = open_export(source, **options)
    assert {split: sorted(names) for split, names in export.splits.items()} == LISTS
    for number, name in enumerate(NAMES):
        assert ((export.read(name).mask > 0) == (truth(number) > 0)).all()
    (source / "VALID" / f"four{suffix}").rename(source / f"four{suffix}")
    export = open_export(source, **options)
    assert {*export.splits} == {"train", "test"}
    assert "in no list of the export: four" in export.notes


@pytest.mark.parametrize("seed", range(8))
def test_rare_classes_are_in_both_lists_if_the_share_allows_it(seed):
    labels = {f"common {number}": {1} for number in range(16)}
    labels |= {"rare 1": {1, 2}, "rare 2": {2}, "only": {3}, "empty": set()}
    export = Export("a test", ("background", "a", "b", "c"), tuple(labels), read=None)
    lists = split_names(export, labels, 0.2, seed)
    assert len(lists["val"]) == 4 and sorted(lists["train"] + lists["val"]) == sorted(labels)
    shown = {split: set().union(*(labels[name] for name in lists[split])) for split in lists}
    assert shown == {"train": {1, 2, 3}, "val": {1, 2}}
    assert split_names(export, dict(reversed(labels.items())), 0.2, seed) == lists


@pytest.mark.parametrize("share, count", [(0, 0), (0.01, 1), (0.5, 3), (0.99, 5)])
def test_the_share_holds_however_rare_the_classes_are(share, count):
    labels = {str(number): {number} for number in range(1, 7)}
    export = Export("a test", ("background",), tuple(labels), read=None)
    lists = split_names(export, labels, share, 0)
    assert len(lists.get("val", ())) == count and len(lists["train"]) == 6 - count


def test_classes_that_a_list_lacks_are_named(deconvnet, tmp_path):
    source = coco_splits(tmp_path / "shapes")
    keep_annotations(source / "valid/_annotations.coco.json", "disc")
    result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
    assert result.exit_code == 0
    assert "val.txt: no photo has square" in result.stderr and "train.txt" not in result.stderr


def test_what_is_no_export_is_told(deconvnet, tmp_path):
    def refused(source: Path, code: int, *words: str) -> None:
        result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
        one_error_line(result, code, str(source), *words)

    (tmp_path / "export.txt").touch()
    refused(tmp_path / "export.txt", 2, "is no folder and no COCO file", "export it as COCO JSON")
    (tmp_path / "yolo/train/labels").mkdir(parents=True)
    (tmp_path / "yolo/train/labels/one.txt").write_text("0 0.1 0.1 0.5 0.1 0.5 0.5")
    refused(tmp_path / "yolo", 2, "not clear what this is", "export it as COCO JSON")
    tree = cvat_export(tmp_path / "tree")
    (tree / "labelmap.txt").unlink()
    refused(tree, 2, "is a VOC tree already", "dataset check")
    refused(labelme_export(tmp_path / "l") / "one.json", 1, "a LabelMe file; give the folder")


VIA = {"one.jpg1": {"filename": "one.jpg", "size": 1, "regions": []}}
UNREAD = {
    "annotations.xml": ("<annotations/>", "Segmentation mask 1.1"),
    "export.ndjson": ('{"data_row": {}}', "Labelbox"),
    "slide.geojson": ('{"type": "FeatureCollection", "features": []}', "label images"),
    "slide.json": ('{"type": "FeatureCollection", "features": []}', "label images"),
    "train-00000.parquet": ("PAR1", "as files in two folders"),
    "export.zip": ("PK", "unpack it"),
    "project-1.json": ('[{"id": 1, "data": {}, "annotations": []}]', "Brush labels to COCO"),
    "one.jpg.json": ('{"size": {}, "objects": [], "tags": []}', "Supervisely's"),
    "via.json": (json.dumps(VIA), "VIA's JSON"),
    "via_project.json": (json.dumps({"_via_settings": {}, "_via_img_metadata": VIA}), "VIA's JSON"),
    "via3.json": ('{"project": {}, "config": {}, "file": {}, "metadata": {}}', "VIA 3's"),
    "via.csv": ("filename,file_size", "a CSV table; export COCO JSON"),
    "min.json": ('[{"image": "one.jpg", "annotator": 1, "annotation_id": 2}]', "Label Studio's"),
    "task-1.npy": ("NUMPY", "save them as PNGs"),
    "meta.json": ('{"classes": [], "tags": [], "projectType": "images"}', "masks_machine"),
    "darwin.json": ('{"version": "2.0", "item": {}, "annotations": []}', "export it as COCO"),
    "hasty.json": (
        '{"export_format_version": "1.1", "label_classes": [], "images": []}',
        "export it as COCO",
    ),
    "one_gtFine_polygons.json": ('{"imgHeight": 9, "imgWidth": 9, "objects": []}', "labelIds PNGs"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_forms_that_are_not_read_have_a_remedy(deconvnet, tmp_path, name):
    text, words = UNREAD[name]
    draw_photos(tmp_path / "export")
    (tmp_path / "export/ann").mkdir()
    path = tmp_path / "export/ann" / name
    path.write_text(text)
    for source in (path, tmp_path / "export"):
        result = deconvnet("dataset", "import", source, "-o", tmp_path / "tree")
        one_error_line(result, 2, str(source), words)


def test_label_studios_pngs_do_not_tell_their_photos(deconvnet, tmp_path):
    masks = grey_export(tmp_path)
    for number, path in enumerate(sorted(masks.iterdir())):
        path.rename(masks / f"task-{number}-annotation-7-by-1-tag-disc-0.png")
    for options in ((), ("--photos", tmp_path / "photos")):
        result = deconvnet("dataset", "import", masks, "-o", tmp_path / "tree", *options)
        one_error_line(result, 2, str(masks), "Label Studio's PNGs", "Brush labels to COCO")


def test_masks_that_are_jpegs_are_refused(deconvnet, tmp_path):
    masks = grey_export(tmp_path)
    for path in list(masks.iterdir()):
        path.rename(path.with_suffix(".jpg"))
    given = ("-o", tmp_path / "tree", "--photos", tmp_path / "photos")
    result = deconvnet("dataset", "import", masks, *given)
    one_error_line(result, 1, str(masks), "no masks (.png or .tif)", "do not survive JPEG")


def test_a_file_of_annotations_is_parsed_once(tmp_path, monkeypatch):
    source = coco_splits(tmp_path / "shapes")
    parsed = []

    def read(path: Path, most: int) -> object:
        parsed.append(path)
        return json.loads(path.read_text())

    monkeypatch.setattr("deconvnet_cli.datasets.opening.read_json", read)
    assert open_export(source).splits == LISTS
    assert sorted(parsed) == sorted(source.rglob("*.json"))


def test_a_json_file_of_another_kind_hides_no_export(tmp_path):
    source = labelme_export(tmp_path / "labelme")
    (source / "config.json").write_text("{}")
    assert open_export(source).kind == "LabelMe JSON"


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_umlaut_may_be_one_character_or_two(tmp_path, forms):
    written, named = (normalize(form, "größe") for form in forms)
    path = coco_export(tmp_path / "coco")
    (tmp_path / "coco/images/one.jpg").rename(tmp_path / f"coco/images/{written}.jpg")
    path.write_text(path.read_text().replace("one.jpg", f"{named}.jpg"))
    np.testing.assert_array_equal(open_export(path).read(named).mask > 0, truth(0) > 0)


def test_photos_of_coco_may_lie_beside_the_folder_of_its_file(deconvnet, tmp_path):
    path = coco_export(tmp_path / "coco")
    (tmp_path / "coco/annotations").mkdir()
    moved = path.rename(tmp_path / "coco/annotations/instances_default.json")
    assert len(open_export(tmp_path / "coco").names) == len(NAMES)
    np.testing.assert_array_equal(open_export(moved).read("one").mask > 0, truth(0) > 0)
    arguments = (moved, "-o", tmp_path / "tree", "--photos", tmp_path / "coco/annotations")
    result = deconvnet("dataset", "import", *arguments)
    assert "names one.jpg, which is not in " in result.stderr


def test_what_macos_adds_to_an_archive_hides_no_export(deconvnet, tmp_path):
    path = coco_export(tmp_path / "coco")
    (tmp_path / "coco/__MACOSX").mkdir()
    for name in ("__MACOSX/._annotations.json", "._annotations.json"):
        (tmp_path / "coco" / name).write_bytes(b"\0\5\x16\7")
    path.rename(tmp_path / "coco/Annotations.JSON")
    result = deconvnet("dataset", "import", tmp_path / "coco", "-o", tmp_path / "tree")
    assert result.exit_code == 0, result.stderr
