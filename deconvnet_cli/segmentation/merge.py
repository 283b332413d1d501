"""Merge the logits of crops into one map of the photo."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.choices import MERGES
from deconvnet_cli.data.boxes import Box

# The weight of the crops beside the whole photo: of their mean, and of the greatest of them. Both
# were chosen by the shipped weights' IoU on VOC 2012 val.
MEAN_SHARE, MAX_SHARE = 0.3, 0.5
CONTEXT, CONTEXT_MAX = "context", "context-max"
# A class is left out of a crop if its probability is nowhere above this share of the greatest one.
# Most crops show two or three classes, and scaling the others would take most of the time.
FLOOR = 0.01
SEEN_ROWS = 4  # one row in so many is looked at for this
# A box is skipped if crops can change the labels of a smaller share of its pixels.
CHANGEABLE = 0.1
LOOKED_AT = 2  # every so many rows and columns are looked at for this


class Part(NamedTuple):
    """The part of the map that one crop changed.

    Attributes:
        classes: The numbers of the classes that matter in the crop, ascending.
        values: Their values, logits or probabilities, in the part of the box inside the photo:
            float32 K x h x w. They are empty if no part is inside.
    """

    classes: Sequence[int]
    values: Tensor


def classes_that_matter(logits: Tensor) -> Sequence[int]:
    """Return the numbers of the classes that a crop, C x h x w, can give to a pixel, ascending.

    On a GPU these are all classes, as it would have to stop to answer.
    """
    if logits.is_cuda:
        return range(len(logits))
    rows = logits[:, ::SEEN_ROWS]
    shares = (rows - rows.amax(0)).amax((1, 2))
    found: list[int] = (shares > math.log(FLOOR)).nonzero().flatten().tolist()
    return found


class Canvas:
    """The merged map of one photo, float32 C x H x W, to which crops are added one at a time.

    The map is on one device, and the logits of the crops must be on the same device.

    Merge rules:
        max: The greatest logit of all crops, at least 0. As in the original system the canvas
            starts at zero, so negative logits have no effect.
        max-probability: The greatest probability (softmax over classes) of all crops.
        mean-probability: The mean probability over the crops that cover the pixel.
        context: The mean probability over the crops that cover the pixel, weighted by
            ``MEAN_SHARE``, plus that of the whole photo, weighted by the rest. Pixels without a
            crop take the whole photo's probability alone.
        context-max: Where w is the probability in the whole photo and c that in a crop, the
            greatest of w and, over all crops, of s c + (1 - s) w, where s is ``MAX_SHARE``.

    If the whole photo is added more than once, its mean counts in the last two rules.
    """

    def __init__(
        self,
        classes: int,
        height: int,
        width: int,
        merge_rule: str,
        device: torch.device | None = None,  # None: the CPU
    ) -> None:
        self.rule = MERGES[merge_rule]
        self.merged = torch.zeros(classes, height, width, dtype=torch.float32, device=device)
        self.covered = torch.zeros(height, width, dtype=torch.float32, device=device)
        self.whole = torch.zeros_like(self.merged) if self.rule.whole else None
        self.wholes = 0

    def add(self, logits: Tensor, box: Box) -> Part:
        """Scale the logits of one crop, float32 C x h x w, to its box and merge them."""
        x0, y0, x1, y1 = box
        height, width = self.covered.shape
        left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
        classes: Sequence[int] = range(len(logits))
        values = logits
        if self.rule.probabilities:  # of the logits, most classes have a positive logit somewhere
            classes = classes_that_matter(logits)
            values = (logits if len(classes) == len(logits) else logits[classes]).softmax(0)
        if right <= left or bottom <= top or not classes:
            return Part(classes, values[:, :0, :0])
        inside = scaled(values, y1 - y0, x1 - x0)
        inside = inside[:, top - y0 : bottom - y0, left - x0 : right - x0]
        if self.whole is not None and box == (0, 0, width, height):
            merge_into(self.whole, classes, inside, torch.add)
            self.wholes += 1
            return Part(classes, inside)
        view = self.merged[:, top:bottom, left:right]
        merge_into(view, classes, inside, torch.add if self.rule.adds else torch.maximum)
        self.covered[top:bottom, left:right] += 1
        return Part(classes, inside)

    def can_change(self, step: int = 1) -> Tensor:
        """Return where crops can still change the label that the whole photo gives, bool H x W.

        With the rules that keep the whole photo's map they cannot where it prefers its label to
        the next by more than all crops can make up for. With other rules they can everywhere.

        Args:
            step: The distance of the rows and columns that are returned; 1 returns all.
        """
        if self.whole is None or not self.wholes:
            return torch.ones_like(self.covered[::step, ::step], dtype=torch.bool)
        whole = self.whole[:, ::step, ::step]
        first = whole.amax(0)
        if self.rule.adds:  # crops may all say another class, and not the first
            reached = first - MEAN_SHARE / (1 - MEAN_SHARE) * self.wholes
        else:  # a maximum takes nothing away from the first
            reached = (first - MAX_SHARE * self.wholes) / (1 - MAX_SHARE)
        near = (whole >= reached).sum(0, dtype=torch.uint8)
        return near > 1  # the label itself, and one that crops can bring above it

    def merged_map(self, step: int = 1) -> Tensor:
        """Return the merged map, C x H x W: logits (merge rule max) or unnormalised probabilities.

        Args:
            step: The distance of the rows and columns that are returned; 1 returns all.
        """
        merged, covered = self.merged[:, ::step, ::step], self.covered[::step, ::step]
        weight = 1 / covered.clamp_min(1)
        if self.whole is None:
            return merged * weight if self.rule.adds else merged
        whole = self.whole[:, ::step, ::step]
        if not self.rule.adds:
            whole = whole / max(1, self.wholes)
            return whole.add_((merged - whole).clamp_min_(0), alpha=MAX_SHARE)
        share = MEAN_SHARE * (covered > 0).to(covered.dtype)
        return (whole * ((1 - share) / max(1, self.wholes))).addcmul_(merged, share * weight)


def worth_a_crop(canvas: Canvas, boxes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return which boxes, N x 4, have at least a share ``CHANGEABLE`` of undecided pixels."""
    open_pixels = canvas.can_change(LOOKED_AT).cpu().numpy()
    height, width = open_pixels.shape
    boxes = np.floor_divide(boxes, LOOKED_AT)
    left, top = boxes[:, 0].clip(0, width), boxes[:, 1].clip(0, height)
    right, bottom = boxes[:, 2].clip(0, width), boxes[:, 3].clip(0, height)
    shares = [
        open_pixels[y0:y1, x0:x1].mean() if y1 > y0 and x1 > x0 else 0.0
        for x0, y0, x1, y1 in zip(left, top, right, bottom, strict=True)
    ]
    return np.array(shares, float) >= CHANGEABLE


def merge_into(
    view: Tensor, classes: Sequence[int], values: Tensor, merge: Callable[..., Tensor]
) -> None:
    """Merge the values of some classes, K x h x w, into a part of a map, C x h x w."""
    if len(classes) == len(view):
        merge(view, values, out=view)
        return
    for label, plane in zip(classes, values, strict=True):  # faster than an index
        merge(view[label], plane, out=view[label])


def scaled(values: Tensor, height: int, width: int) -> Tensor:
    """Return the values C x h x w at another size, bilinear and antialiased."""
    if values.shape[1:] == (height, width):
        return values
    # Without shrinking, antialiasing would change nothing and take longer.
    antialias = height < values.shape[1] or width < values.shape[2]
    return F.interpolate(
        values[None],
        size=(height, width),
        mode="bilinear",
        align_corners=False,
        antialias=antialias,
    )[0]
