"""Training samples: crops of annotated photos, each a function of (seed, number) alone.

Half of the samples are balanced over the classes, so that rare ones are seen; the other half
follow the data. A crop is cut around one object (its box enlarged 1.0 to 2.0 times and moved a
little), or is the whole photo, or any box: what the proposals give at prediction time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from deconvnet_cli.crops import Box, cut, cut_mask
from deconvnet_cli.errors import DatasetError, ImageError
from deconvnet_cli.teacher import cut_soft, read_soft, soft_path
from deconvnet_cli.voc import CLASSES, IGNORE, VocTree, read_mask

SOFT_CELL = 4  # soft labels are kept coarsely: one to so many pixels of a crop is enough
SMALLEST_OBJECT = 0.005  # share of the photo; smaller components are specks of a mask


@dataclass(frozen=True)
class ObjectBox:
    """One object: a connected component of one class in the mask of ``name``."""

    name: str
    label: int
    box: Box


@dataclass(frozen=True)
class SampleSettings:
    """How crops are drawn.

    Attributes:
        size: side of the net's input, pixels.
        balanced: share of the samples whose class is drawn evenly over the classes.
        whole, anywhere: shares of whole photos and of boxes anywhere; the rest are objects.
        enlarge: range of the factor an object's box is enlarged by.
        shift: greatest move of an object's box, as a share of its side.
        colour: greatest change of brightness, contrast and saturation, as a share.
    """

    size: int = 224
    balanced: float = 0.5
    whole: float = 0.2
    anywhere: float = 0.15
    enlarge: tuple[float, float] = (1.0, 2.0)
    shift: float = 0.15
    colour: float = 0.3


def find_objects(tree: VocTree, names: list[str]) -> list[ObjectBox]:
    """The objects of each photo: connected components of one class.

    Raises:
        DatasetError: a mask is missing or wrong, or no mask has any object.
    """
    objects = []
    for name in names:
        mask = read_mask(tree.mask(name))
        for label in np.unique(mask[(mask != 0) & (mask != IGNORE)]):
            _, _, stats, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
            for x, y, width, height, area in stats[1:].tolist():
                if area >= SMALLEST_OBJECT * mask.size:
                    objects.append(ObjectBox(name, int(label), (x, y, x + width, y + height)))
    if not objects:
        raise DatasetError(f"{tree.root}: no object in the masks of these {len(names)} photos")
    return objects


def read_pair(tree: VocTree, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
    """A photo (RGB) and its mask.

    Raises:
        ImageError: the photo cannot be read.
        DatasetError: the mask cannot be read, or has another size.
    """
    path = tree.image(name)
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:
        raise ImageError(f"{path}: not a readable photo ({error})") from error
    mask = read_mask(tree.mask(name))
    if (image.height, image.width) != mask.shape:
        raise DatasetError(
            f"{tree.mask(name)}: {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"but the photo has {image.width}x{image.height}"
        )
    return image, mask


def draw_box(
    rng: np.random.Generator, found: ObjectBox, width: int, height: int, how: SampleSettings
) -> Box:
    """The box to cut from a width x height photo for the object drawn."""
    kind = rng.random()
    if kind < how.whole:
        return 0, 0, width, height
    if kind < how.whole + how.anywhere:
        across, down = width * rng.uniform(0.3, 1.0), height * rng.uniform(0.3, 1.0)
        x0, y0 = rng.uniform(0, width - across), rng.uniform(0, height - down)
        return int(x0), int(y0), int(x0 + across), int(y0 + down)
    x0, y0, x1, y1 = found.box
    across = (x1 - x0) * rng.uniform(*how.enlarge)
    down = (y1 - y0) * rng.uniform(*how.enlarge)
    # A crop much thinner than it is long would be stretched beyond what proposals give.
    across, down = max(across, down / 3, 32.0), max(down, across / 3, 32.0)
    centre_x = (x0 + x1) / 2 + across * rng.uniform(-how.shift, how.shift)
    centre_y = (y0 + y1) / 2 + down * rng.uniform(-how.shift, how.shift)
    left, top = round(centre_x - across / 2), round(centre_y - down / 2)
    return left, top, left + round(across), top + round(down)


def jitter_colour(
    rng: np.random.Generator, crop: NDArray[np.uint8], most: float
) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation changed by up to ``most`` each, uint8 H x W x 3."""
    brightness, contrast, saturation = 1 + rng.uniform(-most, most, 3)
    values = crop.astype(np.float32) * brightness
    grey = values.mean(2, keepdims=True)
    values = grey + (values - grey) * saturation
    mean = values.mean()
    values = mean + (values - mean) * contrast
    changed: NDArray[np.uint8] = values.clip(0, 255).astype(np.uint8)
    return changed


class CropDataset(Dataset[tuple[Tensor, ...]]):
    """``length`` samples; number ``i`` is the same whenever, wherever and after whatever.

    A sample is (uint8 3 x S x S RGB crop, int64 S x S labels with 255 ignored), and, with a
    folder of soft labels, float32 21 x S/4 x S/4 probabilities, all 0 outside of the photo.
    """

    def __init__(
        self,
        tree: VocTree,
        objects: list[ObjectBox],
        length: int,
        seed: int,
        settings: SampleSettings = SampleSettings(),
        teacher: Path | None = None,
    ) -> None:
        self.teacher = teacher
        self.tree, self.length, self.seed, self.settings = tree, length, seed, settings
        self.objects = objects
        by_label: dict[int, list[ObjectBox]] = {}
        for found in objects:
            by_label.setdefault(found.label, []).append(found)
        self.by_label = [by_label[label] for label in range(len(CLASSES)) if label in by_label]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        rng = np.random.default_rng((self.seed, number))
        how = self.settings
        pool = self.objects
        if rng.random() < how.balanced:
            pool = self.by_label[rng.integers(len(self.by_label))]
        found = pool[rng.integers(len(pool))]
        image, mask = read_pair(self.tree, found.name)
        box = draw_box(rng, found, image.width, image.height, how)
        crop = jitter_colour(rng, cut(image, box, how.size), how.colour)
        labels = cut_mask(mask, box, how.size, outside=IGNORE)
        mirrored = rng.random() < 0.5
        if mirrored:
            crop, labels = crop[:, ::-1], labels[:, ::-1]
        pixels = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)
        sample = pixels, torch.from_numpy(labels.astype(np.int64))
        if self.teacher is None:
            return sample
        known = read_soft(soft_path(self.teacher, found.name))
        soft = cut_soft(known, image.width, image.height, box, how.size // SOFT_CELL)
        return *sample, soft.flip(2) if mirrored else soft


def list_names(tree: VocTree, lists: tuple[str, ...]) -> list[str]:
    """The names of several lists, each name once, in order of first appearance."""
    return list(dict.fromkeys(name for split in lists for name in tree.names(split)))
