"""Training samples: crops of annotated photos, each a function of (seed, number) alone.

Stage 1 centres one object and labels only its class; stage 2 cuts proposals and labels all classes
(paper section 4.2). Stage 0 mixes boxes around objects, whole photos, and windows that show things
at about the size that a pretrained encoder knows, as the crops of a prediction do.

A sample is drawn in two steps: its plan, which takes no pixels, then the crop itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.data.objects import ObjectBox
from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.segmentation.crops import cut, cut_mask
from deconvnet_cli.training.photo_store import PhotoSource
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.soft_labels import cut_soft

Colours = tuple[float, float, float]
SOFT_CELL = 4  # pixels of a crop to one soft label; the stored soft labels are coarser still
CONTEXT = 1.2  # the factor by which stages 1 and 2 enlarge a box (paper section 6.1)


# In stage 0: the share of windows, of which the others are boxes around objects; the range of the
# factor by which a window is scaled; the shortest side of a box around an object, pixels of the
# photo; the range of the factor by which it is enlarged; and its greatest shift, as a share of its
# side.
ANYWHERE = 0.45
ZOOM = (0.8, 1.8)
LEAST_SIDE = 100.0
ENLARGE = (1.0, 2.0)
SHIFT = 0.15


def centred(box: Box, factor: float) -> Box:
    """Return the box scaled about its centre, rounded to whole pixels."""
    x0, y0, x1, y1 = box
    across, down = (x1 - x0) * factor, (y1 - y0) * factor
    left, top = round((x0 + x1 - across) / 2), round((y0 + y1 - down) / 2)
    return left, top, left + max(1, round(across)), top + max(1, round(down))


def draw_box(
    rng: np.random.Generator, item: ObjectBox, width: int, height: int, settings: TrainSettings
) -> Box:
    """Draw the box to cut from a width x height photo for this object."""
    if settings.stage and not settings.shown:
        return centred(item.box, CONTEXT)
    kind = rng.random()
    if kind < settings.whole:
        return 0, 0, width, height
    if settings.shown:
        return item.box
    if kind < settings.whole + ANYWHERE:
        # The zoom is log-uniform, so that twice and half the size are equally likely.
        side = settings.size / np.exp(rng.uniform(*np.log(ZOOM)))
        shape = np.sqrt(rng.uniform(0.8, 1.25))
        across, down = min(side * shape, width), min(side / shape, height)
        # The window holds a point of the object, so that balancing the classes has an effect here.
        x0, y0, x1, y1 = item.box
        left = np.clip(rng.uniform(x0, x1) - across * rng.random(), 0, width - across)
        top = np.clip(rng.uniform(y0, y1) - down * rng.random(), 0, height - down)
        return int(left), int(top), int(left + across), int(top + down)
    x0, y0, x1, y1 = item.box
    across = (x1 - x0) * rng.uniform(*ENLARGE)
    down = (y1 - y0) * rng.uniform(*ENLARGE)
    # A very thin box would be stretched more than any proposal is.
    across, down = max(across, down / 3, LEAST_SIDE), max(down, across / 3, LEAST_SIDE)
    centre_x = (x0 + x1) / 2 + across * rng.uniform(-SHIFT, SHIFT)
    centre_y = (y0 + y1) / 2 + down * rng.uniform(-SHIFT, SHIFT)
    left, top = round(centre_x - across / 2), round(centre_y - down / 2)
    return left, top, left + round(across), top + round(down)


def draw_colours(rng: np.random.Generator, limit: float) -> Colours:
    """Draw factors of brightness, contrast and saturation that differ from 1 by up to ``limit``."""
    brightness, contrast, saturation = (1 + rng.uniform(-limit, limit, 3)).tolist()
    return brightness, contrast, saturation


def change_colours(crop: NDArray[np.uint8], colours: Colours) -> NDArray[np.uint8]:
    """Change brightness, contrast and saturation of a uint8 H x W x 3 crop by these factors."""
    brightness, contrast, saturation = colours
    # One affine map of RGB does brightness and saturation, then contrast about the crop's mean.
    grey = np.full((3, 3), (1 - saturation) / 3)
    mean = brightness * float(np.mean(cv2.mean(crop)[:3]))
    matrix = contrast * brightness * (saturation * np.eye(3) + grey)
    offset = np.full((3, 1), mean * (1 - contrast))
    changed: NDArray[np.uint8] = cv2.transform(crop, np.hstack((matrix, offset)))
    return changed


@dataclass(frozen=True)
class CropPlan:
    """Where a crop comes from, and how it is changed.

    Attributes:
        name: The name of the photo.
        box: The box in pixels of the photo, half open; it may reach over the edge.
        left, top: Where the crop begins in the box resized to ``TrainSettings.side``, pixels.
        colours: The factors of brightness, contrast and saturation, or None.
        mirrored: Whether the crop is mirrored.
        label: The one class that is labelled beside the background; None labels all.
    """

    name: str
    box: Box
    left: int
    top: int
    colours: Colours | None
    mirrored: bool
    label: int | None


class CropDataset(Dataset[tuple[Tensor, ...]]):
    """A dataset of ``length`` samples; sample ``i`` does not depend on when or where it is drawn.

    A sample is a uint8 3 x S x S RGB crop and its int64 S x S labels, 255 ignored. With ``soft``
    it also has float32 C x S/4 x S/4 probabilities of a teacher, all 0 outside the photo.
    """

    def __init__(
        self,
        source: PhotoSource,
        objects: list[ObjectBox],
        length: int,
        seed: int,
        settings: TrainSettings = TrainSettings(),
        *,
        soft: bool = False,
    ) -> None:
        self.source, self.soft = source, soft
        self.length, self.seed, self.settings = length, seed, settings
        if settings.shown:  # a box that shows several classes is no likelier than others
            self.objects = list({(item.name, item.box): item for item in objects}.values())
        else:
            self.objects = objects
        by_label: dict[int, list[ObjectBox]] = {}
        for item in objects:
            by_label.setdefault(item.label, []).append(item)
        self.by_label = [by_label[label] for label in sorted(by_label)]

    def __len__(self) -> int:
        return self.length

    def plan(self, number: int) -> CropPlan:
        """Draw the plan of a sample."""
        rng = np.random.default_rng((self.seed, number))
        settings = self.settings
        pool = self.objects
        if rng.random() < settings.balanced:
            pool = self.by_label[rng.integers(len(self.by_label))]
        item = pool[rng.integers(len(pool))]
        box = draw_box(rng, item, *self.source.size(item.name), settings)
        left, top = rng.integers(0, settings.side - settings.size + 1, 2).tolist()
        colours = draw_colours(rng, settings.colour) if settings.colour else None
        mirrored = bool(rng.random() < 0.5)
        label = item.label if settings.stage == 1 else None
        return CropPlan(item.name, box, left, top, colours, mirrored, label)

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        return cut_crop(self.source, self.plan(number), self.settings, soft=self.soft)

    def batch(self, numbers: Iterable[int]) -> list[Tensor]:
        """Return the samples of these numbers as one batch."""
        batch: list[Tensor] = default_collate([self[number] for number in numbers])
        return batch


def cut_crop(
    source: PhotoSource, plan: CropPlan, settings: TrainSettings, *, soft: bool
) -> tuple[Tensor, ...]:
    """Cut a crop, its labels and, with ``soft``, its soft labels, see :class:`CropDataset`."""
    image, mask = source.photo_and_mask(plan.name)
    if plan.label is not None:
        mask = np.where((mask == plan.label) | (mask == IGNORE), mask, np.uint8(0))
    side, left, top = settings.side, plan.left, plan.top
    within = slice(top, top + settings.size), slice(left, left + settings.size)
    crop = cut(image, plan.box, side, side)[within]
    if plan.colours is not None:
        crop = change_colours(crop, plan.colours)
    labels = cut_mask(mask, plan.box, side, outside=IGNORE)[within]
    if plan.mirrored:
        crop, labels = crop[:, ::-1], labels[:, ::-1]
    pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
    sample = pixels, torch.from_numpy(labels.astype(np.int64))
    if not soft:
        return sample
    part = part_of(plan.box, left / side, top / side, settings.size / side)
    probabilities = source.soft_labels(plan.name)
    cells = cut_soft(probabilities, image.width, image.height, part, settings.size // SOFT_CELL)
    return *sample, cells.flip(2) if plan.mirrored else cells


def part_of(box: Box, left: float, top: float, share: float) -> tuple[float, float, float, float]:
    """Return the part of a box that starts at these shares of its sides and spans ``share``."""
    x0, y0, x1, y1 = box
    across, down = x1 - x0, y1 - y0
    x, y = x0 + left * across, y0 + top * down
    return x, y, x + share * across, y + share * down
