"""Small exports as other tools write them, of photos with discs and squares."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 80, 60
NAMES = ("one", "two", "three", "four", "five")
COLOURS = {"disc": (200, 30, 30), "square": (30, 60, 200)}
Box = tuple[int, int, int, int]


def shapes_of(number: int) -> list[tuple[str, Box]]:
    """A disc and a square, apart, as x, y, width, height."""
    return [("disc", (5 + number, 8, 20, 20)), ("square", (45, 20 + number, 24, 18))]


def truth(number: int) -> np.ndarray:
    """Labels uint8 H x W: 1 the disc's bounding square, 2 the square."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for label, (_, (x, y, width, height)) in enumerate(shapes_of(number), start=1):
        mask[y : y + height, x : x + width] = label
    return mask


def draw_photos(folder: Path, suffix: str = ".jpg") -> None:
    """Photos of the shapes, one a name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(NAMES):
        generator = np.random.default_rng(number)
        pixels = generator.integers(90, 130, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        photo = Image.fromarray(pixels)
        for kind, (x, y, width, height) in shapes_of(number):
            box = (x, y, x + width - 1, y + height - 1)
            draw = ImageDraw.Draw(photo)
            (draw.ellipse if kind == "disc" else draw.rectangle)(box, fill=COLOURS[kind])
        photo.save(folder / f"{name}{suffix}", quality=95)


def polygon(box: Box) -> list[float]:
    """The outline of a box as COCO has it: corners between pixels."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths, column by column, zeros first."""
    flat = mask.T.ravel().astype(int)
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate(([0], ends, [flat.size]))).tolist()
    return [0, *lengths] if flat[0] else lengths


def coco_export(folder: Path) -> Path:
    """``annotations.json`` beside ``images/``: discs as polygons, squares as run lengths."""
    draw_photos(folder / "images")
    images, annotations = [], []
    for number, name in enumerate(NAMES):
        image = {"id": 10 + number, "file_name": f"{name}.jpg", "width": WIDTH, "height": HEIGHT}
        images.append(image)
        for kind, box in shapes_of(number):
            runs = {"size": [HEIGHT, WIDTH], "counts": run_lengths(truth(number) == 2)}
            annotations.append({
                "id": len(annotations) + 1, "image_id": 10 + number,
                "category_id": 7 if kind == "disc" else 3,
                "segmentation": [polygon(box)] if kind == "disc" else runs,
                "iscrowd": 0, "bbox": list(box), "area": box[2] * box[3],
            })  # fmt: skip
    categories = [{"id": 3, "name": "square"}, {"id": 7, "name": "disc"}, {"id": 9, "name": "none"}]
    path = folder / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def coco_splits(folder: Path) -> Path:
    """``train``, ``valid`` and ``test`` as Roboflow writes them, each with numbers of its own."""
    whole = json.loads(coco_export(folder).read_text())
    (folder / "annotations.json").unlink()
    for number, (split, names) in enumerate(
        (("train", NAMES[:3]), ("valid", NAMES[3:4]), ("test", NAMES[4:]))
    ):
        (folder / split).mkdir()
        images = [image for image in whole["images"] if image["file_name"][:-4] in names]
        ids = {image["id"] for image in images}
        for name in names:
            (folder / f"images/{name}.jpg").rename(folder / split / f"{name}.jpg")
        content = {
            "images": images,
            "annotations": [
                {**item, "category_id": (item["category_id"] + number * 4) % 12}
                for item in whole["annotations"]
                if item["image_id"] in ids
            ],
            "categories": [
                {**item, "id": (item["id"] + number * 4) % 12} for item in whole["categories"]
            ],
        }
        (folder / split / "_annotations.coco.json").write_text(json.dumps(content))
    (folder / "images").rmdir()
    return folder


def labelme_export(folder: Path) -> Path:
    """A JSON file beside each photo."""
    draw_photos(folder)
    for number, name in enumerate(NAMES):
        shapes = []
        for kind, (x, y, width, height) in shapes_of(number):
            corners = [[x, y], [x + width - 1, y + height - 1]]
            if kind == "disc":
                (x0, y0), (x1, y1) = corners
                corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
            shape_type = "polygon" if kind == "disc" else "rectangle"
            shapes.append({
                "label": kind, "points": corners, "shape_type": shape_type, "group_id": None,
                "flags": {},
            })  # fmt: skip
        content = {
            "version": "5.4.1", "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None,
            "imageWidth": WIDTH, "imageHeight": HEIGHT,
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def cvat_export(folder: Path) -> Path:
    """``labelmap.txt``, ``JPEGImages`` and RGB masks in ``SegmentationClass``."""
    draw_photos(folder / "JPEGImages")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::"]
    lines += [f"{name}:{','.join(map(str, colour))}::" for name, colour in COLOURS.items()]
    (folder / "labelmap.txt").write_text("\n".join(lines) + "\n")
    colours = np.array([(0, 0, 0), *COLOURS.values()], np.uint8)
    (folder / "SegmentationClass").mkdir()
    for number, name in enumerate(NAMES):
        mask = Image.fromarray(colours[truth(number)])
        mask.save(folder / "SegmentationClass" / f"{name}.png")
    return folder


def roboflow_export(folder: Path) -> Path:
    """Splits ``train`` and ``valid`` with grey masks beside the photos and a table of values."""
    draw_photos(folder / "all")
    for split, names in (("train", NAMES[:3]), ("valid", NAMES[3:])):
        (folder / split).mkdir()
        with open(folder / split / "_classes.csv", "w", newline="") as file:
            rows = [("Pixel Value", " Class"), (0, " background"), (1, " disc"), (2, " square")]
            csv.writer(file).writerows(rows)
        for name in names:
            (folder / "all" / f"{name}.jpg").rename(folder / split / f"{name}.jpg")
            mask = Image.fromarray(truth(NAMES.index(name)))
            mask.save(folder / split / f"{name}_mask.png")
    (folder / "all").rmdir()
    return folder


def yolo_export(folder: Path) -> Path:
    """``data.yaml``, and photos in ``images`` with a text each in ``labels``, by split."""
    draw_photos(folder / "all")
    (folder / "data.yaml").write_text("nc: 2\nnames:\n  0: disc\n  1: square\n")
    for split, names in (("train", NAMES[:3]), ("valid", NAMES[3:])):
        for kind in ("images", "labels"):
            (folder / split / kind).mkdir(parents=True)
        for name in names:
            (folder / "all" / f"{name}.jpg").rename(folder / split / "images" / f"{name}.jpg")
            lines = []
            for kind, (x, y, width, height) in shapes_of(NAMES.index(name)):
                corners = np.reshape(polygon((x, y, width - 1, height - 1)), (-1, 2))
                shares = (corners / (WIDTH, HEIGHT)).ravel().tolist()
                lines.append(" ".join(map(str, (list(COLOURS).index(kind), *shares))))
            (folder / split / "labels" / f"{name}.txt").write_text("\n".join(lines))
    (folder / "all").rmdir()
    return folder


def grey_export(folder: Path) -> Path:
    """Masks of 0 and 255 in ``masks``, photos in ``photos``."""
    draw_photos(folder / "photos")
    (folder / "masks").mkdir()
    for number, name in enumerate(NAMES):
        mask = Image.fromarray(np.where(truth(number) > 0, 255, 0).astype(np.uint8))
        mask.save(folder / "masks" / f"{name}.png")
    return folder / "masks"


def edit(path: Path, change: Callable[[Any], object]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def read_labels(path: Path) -> np.ndarray:
    """The values of a palette PNG."""
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def names_in(tree: Path, split: str) -> Sequence[str]:
    """The names of one list of a tree."""
    return (tree / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()
