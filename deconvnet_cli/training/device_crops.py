"""Whole batches of crops, cut, mirrored and coloured where the photos are: on a GPU, or a CPU.

The result is that of ``segmentation.crops`` and ``samples`` up to rounding. Pillow's bilinear
resize is separable: each side of a crop is a matrix, output pixels x photo pixels, whose rows are
triangles that widen where the box shrinks. So a batch is two products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.training.photo_store import PhotoStore
from deconvnet_cli.training.samples import CropPlan

UNCHANGED = (1.0, 1.0, 1.0)  # factors of colour


@dataclass(frozen=True, eq=False)
class CropPlans:
    """Where the crops of a batch come from, and how they are changed. N crops, on one device.

    Attributes:
        sizes: int64 N x 2, width and height of the photos, pixels.
        starts: int64 N, where the pixels of the photos begin in the store.
        soft_sizes, soft_starts: The same of the photos' soft labels, in cells.
        boxes: int64 N x 4, (x0, y0, x1, y1) in pixels of the photo, half open; may reach over its
            edge.
        offsets: int64 N x 2, left and top of the crop in the box resized to ``side``.
        mirrored: bool N.
        colours: float32 N x 3, factors of brightness, contrast and saturation; ones change
            nothing.
        labels: int64 N, the one class that is labelled beside background; -1 labels all.
        side: The side that a box is resized to, pixels.
        size: The side of the crop, pixels, at most ``side``.
        reach: The largest width and height of a box within its photo, pixels. A GPU would have to
            be waited for to know it.
        shrinking: The largest factor, rounded up, by which a box shrinks; at least 1.
    """

    sizes: Tensor
    starts: Tensor
    soft_sizes: Tensor
    soft_starts: Tensor
    boxes: Tensor
    offsets: Tensor
    mirrored: Tensor
    colours: Tensor
    labels: Tensor
    side: int
    size: int
    reach: tuple[int, int]
    shrinking: int

    def to(self, device: torch.device) -> CropPlans:
        """Return the plans on a device, without waiting for the copy."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate(store: PhotoStore, plans: Sequence[CropPlan], side: int, size: int) -> CropPlans:
    """Return plans as one batch, on the CPU.

    Args:
        plans: The plans, at least one.
        side: The side that a box is resized to, pixels.
        size: The side of the crops, pixels.
    """
    numbers = torch.tensor([store.index[plan.name] for plan in plans])
    sizes = store.photos.sizes[numbers]
    grids = store.soft or store.photos  # without soft labels, nothing looks at these
    boxes = torch.tensor([plan.box for plan in plans])
    within = torch.minimum(boxes[:, 2:], sizes) - boxes[:, :2].clamp_min(0)
    width, height = within.amax(0).clamp_min(1).tolist()
    longest = int((boxes[:, 2:] - boxes[:, :2]).max())
    return CropPlans(
        sizes=sizes,
        starts=store.photos.starts[numbers],
        soft_sizes=grids.sizes[numbers],
        soft_starts=grids.starts[numbers],
        boxes=boxes,
        offsets=torch.tensor([(plan.left, plan.top) for plan in plans]),
        mirrored=torch.tensor([plan.mirrored for plan in plans]),
        colours=torch.tensor([plan.colours or UNCHANGED for plan in plans]),
        labels=torch.tensor([-1 if plan.label is None else plan.label for plan in plans]),
        side=side,
        size=size,
        reach=(width, height),
        shrinking=max(1, -(-longest // side)),
    )


def cut_crops(store: PhotoStore, plans: CropPlans) -> tuple[Tensor, Tensor]:
    """Cut a batch of crops and their labels.

    Returns:
        Crops uint8 N x 3 x S x S, RGB; labels int64 N x S x S, 255 outside of the photo.
    """
    low = torch.minimum(plans.boxes[:, :2].clamp_min(0), plans.sizes)
    high = torch.maximum(torch.minimum(plans.boxes[:, 2:], plans.sizes), low)
    width, height = plans.reach
    columns = low[:, :1] + torch.arange(width, device=low.device)
    rows = low[:, 1:] + torch.arange(height, device=low.device)
    inside = (rows < high[:, 1:])[:, :, None] & (columns < high[:, :1])[:, None, :]
    at = plans.starts[:, None, None] + rows[:, :, None] * plans.sizes[:, 0, None, None]
    at = at + columns[:, None, :]
    pixels = store.photos.values[torch.where(inside, at, 0)].permute(0, 3, 1, 2).float()
    pixels = pixels * inside[:, None]
    across = _resize_matrix(plans, 0, columns)
    down = _resize_matrix(plans, 1, rows)
    # Pillow rounds between the two directions as well.
    wide = (pixels @ across[:, None].transpose(2, 3)).add_(0.5).floor_()
    crops = (down[:, None] @ wide).add_(0.5).floor_().clamp_(0, 255)
    crops = _mirror(_coloured(crops, plans.colours), plans.mirrored)
    return crops.to(torch.uint8), _mirror(_cut_masks(store, plans), plans.mirrored)


def cut_soft_labels(store: PhotoStore, plans: CropPlans, cells: int) -> Tensor:
    """Cut the soft labels of a batch, float32 N x C x cells x cells; 0 outside of the photo.

    Raises:
        ValueError: See :meth:`PhotoStore.required_soft`.
    """
    values = store.required_soft().values
    grid = plans.soft_sizes
    size = plans.sizes
    centres = (torch.arange(cells, device=grid.device) + 0.5) / cells
    extent = (plans.boxes[:, 2:] - plans.boxes[:, :2]).float()
    begin = plans.boxes[:, :2] + plans.offsets / plans.side * extent
    # N x 2 x cells: shares of the photo's width and height.
    where = (begin[:, :, None] + centres * (extent * plans.size / plans.side)[:, :, None]) / size[
        :, :, None
    ]
    inside = (where > 0) & (where < 1)
    last = (grid - 1)[:, :, None]
    at = torch.minimum((where * grid[:, :, None] - 0.5).clamp_min(0), last)
    before = at.floor().long()
    after = torch.minimum(before + 1, last)
    share = at - before
    first = plans.soft_starts[:, None, None]
    total: Tensor | float = 0.0
    for row, row_share in ((before[:, 1], 1 - share[:, 1]), (after[:, 1], share[:, 1])):
        for column, column_share in ((before[:, 0], 1 - share[:, 0]), (after[:, 0], share[:, 0])):
            cell = first + row[:, :, None] * grid[:, 0, None, None] + column[:, None, :]
            weight = row_share[:, :, None] * column_share[:, None, :]
            total = total + values[cell].float() * (weight / 255)[..., None]
    shown = inside[:, 1, :, None] & inside[:, 0, None, :]
    soft = (torch.as_tensor(total) * shown[..., None]).permute(0, 3, 1, 2)
    return _mirror(soft, plans.mirrored)


def _resize_matrix(plans: CropPlans, axis: int, pixels: Tensor) -> Tensor:
    """Return the resize of one axis as matrices, float32 N x S x P.

    Args:
        axis: 0 for columns, 1 for rows.
        pixels: int64 N x P, the pixels of the photo that the matrices are multiplied with.
    """
    begin = plans.boxes[:, axis]
    length = (plans.boxes[:, 2 + axis] - begin).float()
    scale = (length / plans.side)[:, None, None]
    outputs = torch.arange(plans.size, device=pixels.device) + plans.offsets[:, axis, None]
    centre = (outputs[:, :, None] + 0.5) * scale
    width = scale.clamp_min(1)
    at = (pixels - begin[:, None])[:, None, :] + 0.5
    weight = (1 - (at - centre).abs() / width).clamp_min(0)
    # Normalised over the whole box, of which the photo may hold a part only.
    total = _triangle_sum(centre, width, length[:, None, None], plans.shrinking)
    return weight / total


def _triangle_sum(centre: Tensor, width: Tensor, length: Tensor, widest: int) -> Tensor:
    """Return the sum of a triangle over the pixels of a box, N x S x 1.

    Args:
        centre: N x S x 1, where the triangle stands, pixels of the box.
        width: N x 1 x 1, half its base, at least one pixel.
        length: N x 1 x 1, of the box, pixels.
        widest: The largest width, rounded up, pixels.
    """
    around = torch.arange(-widest - 1, widest + 2, device=centre.device) + 0.5
    at = centre.floor() + around
    weight = (1 - (at - centre).abs() / width).clamp_min(0)
    return (weight * ((at > 0) & (at < length))).sum(2, keepdim=True)


def _cut_masks(store: PhotoStore, plans: CropPlans) -> Tensor:
    """Return the labels of the crops, int64 N x S x S, by the nearest pixel."""
    outputs = torch.arange(plans.size, device=plans.boxes.device)
    extent = (plans.boxes[:, 2:] - plans.boxes[:, :2]).double() / plans.side
    at = (outputs + plans.offsets[:, :, None] + 0.5) * extent[:, :, None]
    at = at.floor().long() + plans.boxes[:, :2, None]
    size = plans.sizes[:, :, None]
    inside = (at >= 0) & (at < size)
    shown = inside[:, 1, :, None] & inside[:, 0, None, :]
    pixel = plans.starts[:, None, None] + at[:, 1, :, None] * size[:, 0, :, None]
    labels = store.masks.values[torch.where(shown, pixel + at[:, 0, None, :], 0), 0].long()
    one = plans.labels[:, None, None]
    other = (one >= 0) & (labels != one) & (labels != IGNORE)
    return torch.where(shown, torch.where(other, 0, labels), IGNORE)


def _coloured(crops: Tensor, colours: Tensor) -> Tensor:
    """Return crops N x 3 x S x S, 0 to 255, with brightness, contrast and saturation changed."""
    brightness, contrast, saturation = colours[:, :, None, None, None].unbind(1)
    mean = brightness * crops.mean((1, 2, 3), keepdim=True)
    grey = crops.mean(1, keepdim=True)
    changed = brightness * (saturation * crops + (1 - saturation) * grey)
    changed = (contrast * changed + mean * (1 - contrast)).round_().clamp_(0, 255)
    return torch.where((colours == 1).all(1)[:, None, None, None], crops, changed)


def _mirror(batch: Tensor, mirrored: Tensor) -> Tensor:
    """Return a batch N x ... x W in which the entries that are to be mirrored are."""
    shape = (-1, *(1,) * (batch.ndim - 1))
    return torch.where(mirrored.view(shape), batch.flip(-1), batch)
