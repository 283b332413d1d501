"""Exports of other tools made into VOC trees: every mask against shapes drawn by hand."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import exports
from helpers.exports import HEIGHT, NAMES, WIDTH, edit, names_in, read_labels, truth
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.datasets.opening import open_export
from deconvnet_cli.datasets.tree import write_tree
from deconvnet_cli.errors import DatasetError, UsageError

BOTH = ("background", "disc", "square")


def imported(source: Path, tree: Path, **options: object) -> Path:
    """The tree that an export becomes."""
    share = options.pop("val_share", 0.4)
    write_tree(open_export(source, **options), tree, share, seed=0)
    return tree


@pytest.mark.parametrize("kind", ["coco", "labelme", "cvat", "roboflow", "yolo"])
def test_every_mask_is_the_one_that_was_drawn(tmp_path, kind):
    source = getattr(exports, f"{kind}_export")(tmp_path / kind)
    tree = imported(source, tmp_path / "tree")
    classes = (tree / "classes.txt").read_text().split()
    assert set(classes) == set(BOTH) and classes[0] == "background"
    swap = np.arange(256)
    swap[1], swap[2] = classes.index("disc"), classes.index("square")
    for number, name in enumerate(NAMES):
        labels = read_labels(tree / "SegmentationClass" / f"{name}.png")
        np.testing.assert_array_equal(labels, swap[truth(number)])
        with Image.open(tree / "JPEGImages" / f"{name}.jpg") as photo:
            assert photo.size == (WIDTH, HEIGHT)
    assert sorted(names_in(tree, "train") + names_in(tree, "val")) == sorted(NAMES)


def test_a_jpeg_keeps_its_bytes(tmp_path):
    source = exports.cvat_export(tmp_path / "cvat")
    tree = imported(source, tmp_path / "tree")
    for name in NAMES:
        photo = f"JPEGImages/{name}.jpg"
        assert (tree / photo).read_bytes() == (source / photo).read_bytes()


def test_coco_objects_are_numbered_and_crowds_ignored(tmp_path):
    path = exports.coco_export(tmp_path)
    # The square of the first photo.
    edit(path, lambda content: content["annotations"][1].update(iscrowd=1))
    tree = imported(path, tmp_path / "tree")
    first = truth(0)
    labels = read_labels(tree / "SegmentationClass/one.png")
    assert (labels[first == 2] == 255).all() and (labels[first == 0] == 0).all()
    objects = read_labels(tree / "SegmentationObject/two.png")
    second = truth(1)
    assert {len(np.unique(objects[second == label])) for label in (0, 1, 2)} == {1}
    assert len(np.unique(objects)) == 3


def test_masks_of_cvat_are_objects_although_its_coco_calls_them_crowds(deconvnet, tmp_path):
    """Its exporter sets ``iscrowd`` wherever there is a mask, and writes attributes for all."""
    path = exports.coco_export(tmp_path)

    def as_cvat_does(content):
        for item in content["annotations"]:
            item["attributes"] = {"occluded": False}
            item["iscrowd"] = int(isinstance(item["segmentation"], dict))
        content["annotations"][0].pop("attributes")
        content["annotations"][0]["iscrowd"] = 1  # the first disc

    edit(path, as_cvat_does)
    result = deconvnet("dataset", "import", path, "-o", tmp_path / "tree")
    assert "5 crowds with attributes taken as objects" in result.stderr
    assert "1 crowd ignored" in result.stderr
    for number, name in enumerate(NAMES):
        labels = read_labels(tmp_path / f"tree/SegmentationClass/{name}.png")
        np.testing.assert_array_equal(labels == 1, truth(number) == 2)  # squares
        objects = read_labels(tmp_path / f"tree/SegmentationObject/{name}.png")
        assert objects[truth(number) == 2].all()


def test_coco_small_objects_lie_over_large_ones(tmp_path):
    path = exports.coco_export(tmp_path)
    everything = exports.polygon((0, 0, WIDTH, HEIGHT))
    large = {"id": 99, "image_id": 10, "category_id": 3, "segmentation": [everything]}
    edit(path, lambda content: content["annotations"].append(large | {"iscrowd": 0}))
    tree = imported(path, tmp_path / "tree")
    square, disc = 1, 2  # by their numbers in the file
    labels = read_labels(tree / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels == disc, truth(0) == 1)
    assert ((labels == square) == (truth(0) != 1)).all()


def test_labelme_keeps_photos_inside_and_has_words_for_nothing_and_ignored(tmp_path):
    folder = exports.labelme_export(tmp_path / "labelme")
    photo = base64.b64encode((folder / "one.jpg").read_bytes()).decode()
    (folder / "one.jpg").unlink()
    whole = [[0, 0], [WIDTH, HEIGHT]]
    ignored = {"label": "__ignore__", "points": whole, "shape_type": "rectangle"}
    edit(folder / "one.json", lambda content: content["shapes"].insert(0, ignored))
    edit(folder / "one.json", lambda content: content.update(imageData=photo))
    tree = imported(folder, tmp_path / "tree")
    labels = read_labels(tree / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels, np.where(truth(0) > 0, truth(0), 255))
    assert (tree / "JPEGImages/one.jpg").is_file()


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_labelme_shapes_may_have_four_corners(tmp_path, kind):
    """As X-AnyLabeling writes them."""
    folder = exports.labelme_export(tmp_path / "labelme")
    for path in folder.glob("*.json"):
        path.write_text(path.read_text().replace('"polygon"', f'"{kind}"'))
    labels = read_labels(imported(folder, tmp_path / "tree") / "SegmentationClass/two.png")
    np.testing.assert_array_equal(labels, truth(1))


def test_labelme_circles_are_round(tmp_path):
    folder = exports.labelme_export(tmp_path / "labelme")
    circle = {"label": "disc", "points": [[40, 30], [40, 50]], "shape_type": "circle"}
    for path in folder.glob("*.json"):
        edit(path, lambda content: content.update(shapes=[circle]))
    labels = read_labels(imported(folder, tmp_path / "tree") / "SegmentationClass/two.png")
    assert abs(int(labels.sum()) - np.pi * 20**2) < 0.06 * np.pi * 20**2


GREYS = {
    "ones": lambda mask: mask // 255,
    "RGB": lambda mask: np.dstack([mask] * 3),
    "RGBA": lambda mask: np.dstack([mask] * 3 + [np.full_like(mask, 255)]),
    "16 bits": lambda mask: mask.astype(np.uint16) // 255,
}


@pytest.mark.parametrize("changed", GREYS.values(), ids=GREYS)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".TIFF"])
def test_grey_masks_in_other_forms(tmp_path, changed, suffix):
    masks = exports.grey_export(tmp_path)
    for path in list(masks.iterdir()):
        mask = np.array(Image.open(path))
        path.unlink()
        Image.fromarray(changed(mask)).save(path.with_suffix(suffix))
    export = open_export(masks, photos=tmp_path / "photos")
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(export.read(name).mask, truth(number) > 0)


def test_grey_masks_of_several_classes_and_void(tmp_path):
    masks = exports.grey_export(tmp_path)
    for number, name in enumerate(NAMES):
        mask = truth(number)
        mask[0] = 255
        Image.fromarray(mask).save(masks / f"{name}.png")
    options = {"photos": tmp_path / "photos", "classes": BOTH[1:]}
    notes = open_export(masks, **options).notes
    assert notes == ("value 0 is background, 1 is disc, 2 is square",)
    tree = imported(masks, tmp_path / "tree", **options)
    assert (tree / "classes.txt").read_text().split() == [*BOTH]
    labels = read_labels(tree / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels[1:], truth(0)[1:])
    assert (labels[0] == 255).all()


def test_masks_may_number_the_objects_of_one_class(tmp_path):
    masks = exports.grey_export(tmp_path)
    for number, name in enumerate(NAMES):
        (masks / f"{name}.png").unlink()
        numbers = np.where(truth(number) > 0, 254 + truth(number).astype(np.uint16), 0)
        Image.fromarray(numbers).save(masks / f"{name}_cp_masks.tif")
    options = {"photos": tmp_path / "photos", "classes": ["cell"]}
    with pytest.raises(DatasetError, match=r"value 256 is of no class; .* --kind objects"):
        open_export(masks, **options).read("one")
    tree = imported(masks, tmp_path / "tree", kind="objects", **options)
    for number, name in enumerate(NAMES):
        labels = read_labels(tree / f"SegmentationClass/{name}.png")
        np.testing.assert_array_equal(labels, truth(number) > 0)
    with pytest.raises(DatasetError, match="one class, not 2"):
        open_export(masks, "objects", tmp_path / "photos", classes=["a", "b"])


@pytest.mark.parametrize(("changed", "words"), [
    (lambda mask: np.dstack([mask, mask, mask // 2]), "mode RGB, not palette.* --colours FILE"),
    (lambda mask: np.dstack([mask] * 4), "mode RGBA, not palette or grey.* --colours FILE"),
    (lambda mask: mask // 127, "value 2 is of no class; .* --classes FILE"),
    (lambda mask: mask | (np.arange(80) < 40), "has 1 and 255, and one class has one value"),
])  # fmt: skip
def test_masks_that_are_not_grey_of_one_class_have_a_remedy(tmp_path, changed, words):
    masks = exports.grey_export(tmp_path)
    mask = changed(np.array(Image.open(masks / "one.png")))
    Image.fromarray(mask).save(masks / "one.png")
    export = open_export(masks, photos=tmp_path / "photos")
    with pytest.raises(DatasetError, match=words):
        export.read("one")


def shrunk(path: Path) -> None:
    """Save a grey mask as oxipng does: a palette of its greys, in another order."""
    values = np.array(Image.open(path))
    greys = np.unique(values)[::-1]
    image = Image.fromarray((values[..., None] == greys).argmax(-1).astype(np.uint8), mode="L")
    image.putpalette([part for grey in greys.tolist() for part in (grey,) * 3])
    image.save(path)


def test_masks_that_were_shrunk_and_photos_of_any_kind(tmp_path):
    folder = exports.roboflow_export(tmp_path / "roboflow")
    for path in folder.rglob("*_mask.png"):
        shrunk(path)
    labels = read_labels(imported(folder, tmp_path / "tree") / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels, truth(0))
    masks = exports.grey_export(tmp_path)
    for path in masks.glob("*.png"):
        shrunk(path)
    for path in list((tmp_path / "photos").iterdir()):
        Image.open(path).save(path.with_suffix(".JP2"), "JPEG2000")
        path.unlink()
    tree = imported(masks, tmp_path / "other", photos=tmp_path / "photos", classes=["leaf"])
    labels = read_labels(tree / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels, (truth(0) > 0).astype(int))


@pytest.mark.parametrize("void", ["void", "Void"])
def test_rgb_masks_with_a_table(tmp_path, void):
    folder = exports.cvat_export(tmp_path / "cvat")
    table = tmp_path / "colours.txt"
    table.write_text(f"disc 200 30 30\n{void} 30,60,200\n")
    tree = imported(
        folder / "SegmentationClass",
        tmp_path / "tree",
        photos=folder / "JPEGImages",
        colours=table,
    )
    labels = read_labels(tree / "SegmentationClass/one.png")
    np.testing.assert_array_equal(labels, np.array([0, 1, 255])[truth(0)])


def test_photos_are_turned_as_their_annotation_is(tmp_path):
    """EXIF says a quarter turn; the annotation has the size of the turned photo, or of the file."""
    folder = exports.labelme_export(tmp_path / "labelme")
    for name, size in (("one", (HEIGHT, WIDTH)), ("two", (WIDTH, HEIGHT))):
        with Image.open(folder / f"{name}.jpg") as photo:
            exif = photo.getexif()
            exif[0x0112] = 6
            photo.save(folder / f"{name}.jpg", exif=exif, quality=95)
        sides = dict(zip(("imageWidth", "imageHeight"), size, strict=True))
        edit(folder / f"{name}.json", lambda content, sides=sides: content.update(sides))
    tree = imported(folder, tmp_path / "tree")
    assert read_photo(tree / "JPEGImages/one.jpg").size == (HEIGHT, WIDTH)
    assert read_photo(tree / "JPEGImages/two.jpg").size == (WIDTH, HEIGHT)


def test_splits_of_an_export_are_kept_and_others_are_seeded(tmp_path):
    tree = imported(exports.roboflow_export(tmp_path / "roboflow"), tmp_path / "a")
    assert names_in(tree, "train") == sorted(NAMES[:3])
    assert names_in(tree, "val") == sorted(NAMES[3:])
    source = exports.labelme_export(tmp_path / "labelme")
    trees = [imported(source, tmp_path / name) for name in ("b", "c")]
    assert names_in(trees[0], "val") == names_in(trees[1], "val")
    assert len(names_in(trees[0], "val")) == 2


@pytest.mark.parametrize("change, words", [
    (lambda content: content.pop("categories"), "not COCO's instances"),
    (lambda content: content["images"].append({"id": 1}), "not COCO's instances"),
    (lambda content: content["annotations"][0].update(image_id=5), "not COCO's instances"),
    (lambda content: content["images"][0].update(width=9), "80x60"),
    (lambda content: content["annotations"][0].update(segmentation=[[1]]), "is wrong"),
    (lambda content: content["images"][0].update(file_name="no.jpg"), "which is not in"),
    (lambda content: content["images"][0].update(file_name="../../x.jpg"), "which is not in"),
    (lambda content: content["images"][1].update(id=10), "two images have one id"),
    (lambda content: content["annotations"][0].update(category_id=77), "no category has the id 77"),
    (lambda content: content["images"][0].pop("width"), "it lacks 'width'"),
    (lambda content: content["annotations"][0].pop("category_id"), "it lacks 'category_id'"),
])  # fmt: skip
def test_coco_that_is_wrong_is_refused(tmp_path, change, words):
    path = exports.coco_export(tmp_path)
    edit(path, change)
    with pytest.raises(DatasetError, match=words):
        export = open_export(path)
        for name in export.names:
            export.read(name)


@pytest.mark.parametrize("text", ["", "{}", '{"shapes": [{}]}', "[" * 100_000])
def test_labelme_that_is_wrong_is_refused(tmp_path, text):
    folder = exports.labelme_export(tmp_path / "labelme")
    (folder / "one.json").write_text(text)
    export = open_export(folder, "labelme")
    with pytest.raises(DatasetError, match=r"one\.json: not a LabelMe file"):
        export.read("one")
    assert export.read("two").mask.any()  # the others do not suffer
    for path in folder.glob("*.json"):
        path.write_text(text)
    with pytest.raises(DatasetError, match=r"\.json: not a LabelMe file"):
        open_export(folder, "labelme")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1" + "0" * 400])
def test_points_of_labelme_are_numbers(tmp_path, number):
    folder = exports.labelme_export(tmp_path / "labelme")
    content = json.loads((folder / "one.json").read_text())
    content["shapes"][0]["points"][0][0] = "HERE"
    (folder / "one.json").write_text(json.dumps(content).replace('"HERE"', number))
    with pytest.raises(DatasetError, match=r"one\.json: (disc|square): "):
        open_export(folder, "labelme").read("one")


def test_what_a_path_is(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="say --kind"):
        open_export(tmp_path / "empty")
    with pytest.raises(DatasetError, match="no such file"):
        open_export(tmp_path / "none")
    masks = exports.grey_export(tmp_path)
    with pytest.raises(UsageError, match="--photos"):
        open_export(masks)


def test_a_category_of_which_there_is_nothing_is_said(tmp_path):
    path = exports.coco_export(tmp_path)
    edit(path, lambda content: content["categories"].append({"id": 99, "name": "unseen"}))
    export = open_export(path)
    assert "unseen" not in export.classes
    assert any("no annotation" in note and "unseen" in note for note in export.notes)


def test_a_colour_names_one_class_and_roboflow_has_a_table(tmp_path):
    source = exports.cvat_export(tmp_path / "cvat")
    table = source / "labelmap.txt"
    lines = table.read_text().splitlines()
    first = next(line for line in lines if not line.startswith(("#", "background")))
    table.write_text("\n".join([*lines, "twin:" + first.split(":", 1)[1]]) + "\n")
    with pytest.raises(DatasetError, match="two classes have one colour"):
        open_export(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"no _classes\.csv"):
        open_export(tmp_path / "empty", "roboflow")
