"""A data set of one's own, drawn by code: discs, squares and triangles on noise, with masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from deconvnet_cli.data.label_png import label_png

CLASSES = ("background", "disc", "square", "triangle")
COLOURS = {"disc": (210, 60, 50), "square": (60, 90, 210), "triangle": (60, 170, 80)}


def drawn(number: int, width: int = 96, height: int = 80) -> tuple[Image.Image, np.ndarray]:
    """Return a photo and its labels, uint8 H x W: two or three shapes, each in a place of its own.

    A shape has its colour, more or less; its mask is what was drawn.
    """
    rng = np.random.default_rng(number)
    noise = rng.normal(rng.integers(90, 170), 14, (height, width, 3)).clip(0, 255)
    photo = Image.fromarray(noise.astype(np.uint8))
    mask = Image.new("L", photo.size)
    kinds = rng.permutation(CLASSES[1:])[: rng.integers(2, 4)]
    for place, kind in enumerate(kinds):
        side = int(rng.integers(width // 5, width // 3))
        left = place * width // 3 + int(rng.integers(0, max(1, width // 3 - side)))
        top = int(rng.integers(2, height - side - 2))
        colour = tuple((np.array(COLOURS[kind]) + rng.integers(-25, 26, 3)).tolist())
        for image, fill in ((photo, colour), (mask, CLASSES.index(kind))):
            _draw(ImageDraw.Draw(image), kind, (left, top, left + side, top + side), fill)
    return photo, np.array(mask)


def _draw(draw: ImageDraw.ImageDraw, kind: str, box: tuple[int, int, int, int], fill) -> None:
    left, top, right, bottom = box
    if kind == "disc":
        draw.ellipse(box, fill=fill)
    elif kind == "square":
        draw.rectangle(box, fill=fill)
    else:
        draw.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=fill)


def shapes_tree(
    root: Path, train: int = 12, val: int = 4, size: tuple[int, int] = (96, 80)
) -> Path:
    """Write a VOC tree of such photos, with ``classes.txt``, and return its folder."""
    lists = root / "ImageSets" / "Segmentation"
    for folder in (root / "JPEGImages", root / "SegmentationClass", lists):
        folder.mkdir(parents=True)
    names = [f"s{number}" for number in range(train + val)]
    for number, name in enumerate(names):
        photo, mask = drawn(number, *size)
        photo.save(root / "JPEGImages" / f"{name}.jpg", quality=95)
        (root / "SegmentationClass" / f"{name}.png").write_bytes(label_png(mask, CLASSES))
    (lists / "train.txt").write_text("\n".join(names[:train]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[train:]) + "\n")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root
