"""Read the files for other tools with supervision, datumaro, LabelMe and pycocotools.

These libraries install other wheels of OpenCV, so they need an environment of their own:

    for kind in coco coco-polygons labelme yolo; do
        deconvnet batch photos/ -o out/$kind --polygons $kind --clean-labels
    done
    deconvnet batch photos/ -o out/cvat --format cvat
    python -m venv others && others/bin/pip install supervision datumaro labelme pycocotools
    others/bin/python tests/tools/exports_elsewhere.py photos/ out/

A line for each photo, library and class has the pixels in the label PNG and in what was read. The
exit code is 1 if a class is missing or exchanged, or the overlap (IoU) is below ``LEAST``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import datumaro as dm
import numpy as np
import supervision as sv
from labelme._label_file import read_label_file
from labelme.utils.shape import shape_to_mask
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

# Outlines are up to a pixel off, and libraries draw the line itself; masks are exact.
LEAST = {"coco": 1.0, "cvat": 1.0, "coco-polygons": 0.93, "labelme": 0.93, "yolo": 0.93}
Masks = dict[str, np.ndarray]  # bool H x W, by class
Found = Iterator[tuple[str, str, Masks]]  # the library, the stem of the photo, what it read


def add(masks: Masks, name: str, mask: np.ndarray) -> None:
    """Add a part to the mask of its class."""
    masks[name] = masks.get(name, np.zeros(mask.shape, bool)) | mask.astype(bool)


def by_pycocotools(folder: Path) -> Found:
    """Yield what pycocotools makes of ``coco.json``."""
    coco = COCO(folder / "coco.json")
    for number, image in coco.imgs.items():
        masks: Masks = {}
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=number)):
            add(masks, coco.cats[annotation["category_id"]]["name"], coco.annToMask(annotation))
        yield "pycocotools", Path(image["file_name"]).stem, masks


def by_supervision(photos: Path, folder: Path, kind: str) -> Found:
    """Yield what supervision makes of COCO's JSON or YOLO's texts, with the photos."""
    options = {"images_directory_path": str(photos), "force_masks": True}
    if kind == "yolo":
        options |= {
            "annotations_directory_path": str(folder),
            "data_yaml_path": str(folder / "data.yaml"),
        }
        data = sv.DetectionDataset.from_yolo(**options)
    else:
        options["annotations_path"] = str(folder / "coco.json")
        data = sv.DetectionDataset.from_coco(**options)
    for path, picture, found in data:
        masks: Masks = {}
        for number, mask in zip(found.class_id, found.mask, strict=True):
            assert mask.shape == picture.shape[:2]
            add(masks, data.classes[number], mask)
        yield "supervision", Path(path).stem, masks


def by_datumaro(photos: Path, folder: Path, kind: str) -> Found:
    """Yield what datumaro makes of COCO's JSON, or of CVAT's masks as VOC's segmentation."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        if kind == "cvat":
            shutil.copytree(folder, root)
            shutil.copytree(photos, root / "JPEGImages")
        else:
            shutil.copytree(photos, root / "images" / "default")
            (root / "annotations").mkdir()
            shutil.copy(folder / "coco.json", root / "annotations" / "instances_default.json")
        data = dm.Dataset.import_from(str(root), "voc_segmentation" if kind == "cvat" else "coco")
        names = [one.name for one in data.categories()[dm.AnnotationType.label]]
        for item in data:
            masks: Masks = {}
            height, width = item.media.size
            for part in item.annotations:
                if isinstance(part, dm.Polygon):
                    runs = coco_mask.frPyObjects([part.points], height, width)
                    add(masks, names[part.label], coco_mask.decode(runs).any(2))
                elif isinstance(part, dm.Mask):
                    add(masks, names[part.label], np.asarray(part.image))
            yield "datumaro", Path(item.id).name, masks


def by_labelme(folder: Path) -> Found:
    """Yield what LabelMe makes of its JSON; it compares the size with the photo's itself."""
    for path in sorted(folder.glob("*.json")):
        data = read_label_file(str(path))
        values = json.loads(path.read_text())
        size, masks = (values["imageHeight"], values["imageWidth"]), {}
        for shape in data.shapes:
            add(masks, shape["label"], shape_to_mask(size, shape["points"], shape["shape_type"]))
        yield "labelme", path.stem, masks


def readings(photos: Path, folder: Path, kind: str) -> Found:
    """Yield what each library reads of a kind of files."""
    if kind in ("coco", "coco-polygons"):
        yield from by_pycocotools(folder)
    if kind in ("coco", "coco-polygons", "yolo"):
        yield from by_supervision(photos, folder, kind)
    if kind in ("coco", "coco-polygons", "cvat"):
        yield from by_datumaro(photos, folder, kind)
    if kind == "labelme":
        yield from by_labelme(folder)


def true_masks(folder: Path, stem: str, classes: list[str]) -> Masks:
    """Return the mask of each class in a label PNG."""
    inside = folder / "SegmentationClass"
    labels = np.asarray(Image.open((inside if inside.is_dir() else folder) / f"{stem}.png"))
    return {classes[label]: labels == label for label in np.unique(labels) if label}


def main(photos: Path, out: Path) -> None:
    """Compare all kinds of files below a folder with the label PNGs beside them."""
    packages = ("supervision", "datumaro", "labelme", "pycocotools")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    listed = json.loads((out / "coco" / "coco.json").read_text())["categories"]
    classes = ["background", *(one["name"] for one in listed)]
    wrong = 0
    for kind, least in LEAST.items():
        for library, stem, masks in readings(photos, out / kind, kind):
            true = true_masks(out / kind, stem, classes)
            masks.pop("background", None)
            for name in sorted(true.keys() | masks.keys()):
                overlap, pixels = (
                    0.0,
                    [int(one[name].sum()) for one in (true, masks) if name in one],
                )
                if len(pixels) == 2 and true[name].shape == masks[name].shape:
                    both, either = true[name] & masks[name], true[name] | masks[name]
                    overlap = both.sum() / either.sum()
                wrong += overlap < least
                print(f"{kind:14} {library:12} {stem:10} {name:10} {pixels} IoU {overlap:.4f}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
