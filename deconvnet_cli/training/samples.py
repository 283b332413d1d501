"""Training samples: crops of annotated photos, each a function of (seed, number) alone.

Stage 1 centres one object and labels nothing but its class; stage 2 cuts proposals that overlap
an object and labels all (paper section 5.1). Stage 0 mixes boxes around objects, whole photos and
windows at about the size that a pretrained encoder knows things in: what the net is shown at
prediction time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.data.objects import ObjectBox, read_photo_and_mask
from deconvnet_cli.data.voc import CLASSES, IGNORE, VocTree
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.segmentation.crops import cut, cut_mask
from deconvnet_cli.training.soft_labels import cut_soft, read_soft, soft_path

SOFT_CELL = 4  # soft labels are kept coarsely: one to so many pixels of a crop is enough
CONTEXT = 1.2  # a box of stages 1 and 2 is enlarged by this much (paper section 4.2)


@dataclass(frozen=True)
class SampleSettings:
    """How crops are drawn.

    Attributes:
        stage: 0, 1 or 2, see above.
        size: side of the net's input, pixels.
        resize: side to which a box is resized before the crop is cut from it at random; 0 resizes
            to ``size`` itself.
        balanced: share of the samples whose class is drawn evenly over the classes.
        colour: greatest change of brightness, contrast and saturation, as a share.
        whole, anywhere: of stage 0, shares of whole photos and of windows anywhere; the rest are
            objects.
        zoom: of stage 0, range of the factor at which a window's pixels are shown.
        least: of stage 0, shortest side of a box around an object, pixels of the photo.
        enlarge: of stage 0, range of the factor an object's box is enlarged by.
        shift: of stage 0, greatest move of an object's box, as a share of its side.
    """

    stage: int = 0
    size: int = 224
    resize: int = 0
    balanced: float = 0.5
    colour: float = 0.3
    whole: float = 0.1
    anywhere: float = 0.45
    zoom: tuple[float, float] = (0.8, 1.8)
    least: float = 100.0
    enlarge: tuple[float, float] = (1.0, 2.0)
    shift: float = 0.15


def centred(box: Box, factor: float) -> Box:
    """The box scaled about its centre, to the nearest pixel."""
    x0, y0, x1, y1 = box
    across, down = (x1 - x0) * factor, (y1 - y0) * factor
    left, top = round((x0 + x1 - across) / 2), round((y0 + y1 - down) / 2)
    return left, top, left + max(1, round(across)), top + max(1, round(down))


def draw_box(
    rng: np.random.Generator, found: ObjectBox, width: int, height: int, how: SampleSettings
) -> Box:
    """The box to cut from a width x height photo for the object drawn."""
    if how.stage:
        return centred(found.box, CONTEXT)
    kind = rng.random()
    if kind < how.whole:
        return 0, 0, width, height
    if kind < how.whole + how.anywhere:
        # Log-uniform, so that twice and half the size are as likely.
        side = how.size / np.exp(rng.uniform(*np.log(how.zoom)))
        shape = np.sqrt(rng.uniform(0.8, 1.25))
        across, down = min(side * shape, width), min(side / shape, height)
        # The window holds a point of the object drawn, so that balancing means something here.
        x0, y0, x1, y1 = found.box
        left = np.clip(rng.uniform(x0, x1) - across * rng.random(), 0, width - across)
        top = np.clip(rng.uniform(y0, y1) - down * rng.random(), 0, height - down)
        return int(left), int(top), int(left + across), int(top + down)
    x0, y0, x1, y1 = found.box
    across = (x1 - x0) * rng.uniform(*how.enlarge)
    down = (y1 - y0) * rng.uniform(*how.enlarge)
    # A crop much thinner than it is long would be stretched beyond what proposals give.
    across, down = max(across, down / 3, how.least), max(down, across / 3, how.least)
    centre_x = (x0 + x1) / 2 + across * rng.uniform(-how.shift, how.shift)
    centre_y = (y0 + y1) / 2 + down * rng.uniform(-how.shift, how.shift)
    left, top = round(centre_x - across / 2), round(centre_y - down / 2)
    return left, top, left + round(across), top + round(down)


def jitter_colour(
    rng: np.random.Generator, crop: NDArray[np.uint8], most: float
) -> NDArray[np.uint8]:
    """Brightness, contrast and saturation changed by up to ``most`` each, uint8 H x W x 3."""
    brightness, contrast, saturation = 1 + rng.uniform(-most, most, 3)
    # Brightness and saturation, then contrast about the mean of all, as one affine map of RGB.
    grey = np.full((3, 3), (1 - saturation) / 3)
    mean = brightness * float(np.mean(cv2.mean(crop)[:3]))
    colours = contrast * brightness * (saturation * np.eye(3) + grey)
    offset = np.full((3, 1), mean * (1 - contrast))
    changed: NDArray[np.uint8] = cv2.transform(crop, np.hstack((colours, offset)))
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
        image, mask = read_photo_and_mask(self.tree, found.name)
        if how.stage == 1:
            mask = np.where((mask == found.label) | (mask == IGNORE), mask, np.uint8(0))
        box = draw_box(rng, found, image.width, image.height, how)
        side = how.resize or how.size
        left, top = rng.integers(0, side - how.size + 1, 2).tolist()
        within = slice(top, top + how.size), slice(left, left + how.size)
        crop = cut(image, box, side, side)[within]
        if how.colour:
            crop = jitter_colour(rng, crop, how.colour)
        labels = cut_mask(mask, box, side, outside=IGNORE)[within]
        mirrored = rng.random() < 0.5
        if mirrored:
            crop, labels = crop[:, ::-1], labels[:, ::-1]
        pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
        sample = pixels, torch.from_numpy(labels.astype(np.int64))
        if self.teacher is None:
            return sample
        known = read_soft(soft_path(self.teacher, found.name))
        part = part_of(box, left / side, top / side, how.size / side)
        soft = cut_soft(known, image.width, image.height, part, how.size // SOFT_CELL)
        return *sample, soft.flip(2) if mirrored else soft


def part_of(box: Box, left: float, top: float, share: float) -> tuple[float, float, float, float]:
    """The part of a box that starts at these shares of its sides and takes ``share`` of them."""
    x0, y0, x1, y1 = box
    across, down = x1 - x0, y1 - y0
    x, y = x0 + left * across, y0 + top * down
    return x, y, x + share * across, y + share * down
