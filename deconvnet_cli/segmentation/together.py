"""Run the nets on several photos at once, with the crops of all of them in common batches.

A GPU is then given whole batches, whatever the number of boxes of a photo. All batches of crops
have one size, so no kernel is chosen or compiled for another one, and the labels of a photo do not
depend on the photos beside it. The whole photo comes alone, before its crops, where it decides
which of them are skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.choices import MERGES
from deconvnet_cli.data.boxes import Box
from deconvnet_cli.runtime.stopwatch import Stopwatch
from deconvnet_cli.segmentation.inference import (
    Cutter,
    canvas_for,
    crop_logits,
    cutter,
    fcn_map,
    logits_of,
    whole_and_crops,
)
from deconvnet_cli.segmentation.merge import Canvas, worth_a_crop
from deconvnet_cli.segmentation.score_maps import ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred, infer, no_boxes
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, merge_rule
from deconvnet_cli.weights.files import Weights


@dataclass
class Begun:
    """A photo whose whole view is merged, and whose boxes are still to be segmented.

    Attributes:
        canvas: The merged map so far.
        cut_out: The photo's :func:`~deconvnet_cli.segmentation.inference.cutter`.
        boxes: The boxes that are still to be segmented.
        used: The boxes that are merged.
    """

    canvas: Canvas
    cut_out: Cutter
    boxes: list[Box]
    used: list[Box] = field(default_factory=list)


@torch.inference_mode()
def infer_together(
    photos: Sequence[Image.Image],
    boxes: Sequence[NDArray[np.int32] | None],
    system: System,
    settings: SegmentSettings,
) -> list[Inferred]:
    """Run the nets on several photos, and return what :func:`infer` returns for each.

    Args:
        photos: The working copies of the photos.
        boxes: The boxes of each photo, int32 N x 4; None if no net takes boxes.
        system: The nets, on the device to compute on.
        settings: How the photos are segmented; ``batch_size`` crops go into each batch.
    """
    rule = merge_rule(system, settings)
    if settings.until_settled and not MERGES[rule].whole:
        # Such a photo looks at its labels between two batches of its own.
        pairs = zip(photos, boxes, strict=True)
        return [infer(photo, system, settings, boxes=found) for photo, found in pairs]
    watch, raw = Stopwatch(), not MERGES[rule].probabilities
    used: list[list[Box]] = [[] for _ in photos]
    maps: list[Tensor] | list[None] = [None] * len(photos)
    fcn_maps: list[Tensor] | list[None] = [None] * len(photos)
    if (weights := system.deconvnet) is not None:
        with watch.timed("net"):
            begun = [
                begin(photo, no_boxes() if found is None else found, weights, rule, settings)
                for photo, found in zip(photos, boxes, strict=True)
            ]
            merge_rest(begun, weights, settings.batch_size)
            maps, used = [one.canvas.merged_map() for one in begun], [one.used for one in begun]
    if (fcn := system.fcn) is not None:
        with watch.timed("fcn"):
            fcn_maps = [fcn_map(photo, fcn, raw=raw) for photo in photos]
    ms = {name: total / len(photos) for name, total in watch.ms.items()}
    return [
        Inferred(
            photo,
            ScoreMaps(merged, of_fcn, raw),
            len(seen),
            dict(ms),
            np.array(seen, np.int32).reshape(-1, 4),
        )
        for photo, merged, of_fcn, seen in zip(photos, maps, fcn_maps, used, strict=True)
    ]


def begin(
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    rule: str,
    settings: SegmentSettings,
) -> Begun:
    """Merge the whole photo if it comes alone, and choose the boxes that are segmented after it.

    The whole photo comes alone if the net sees it in its own shape, or if its map decides which
    boxes are skipped.
    """
    canvas = canvas_for(photo, weights, rule)
    begun = Begun(canvas, cutter(photo, weights.device), [])
    skips = settings.until_settled and canvas.whole is not None
    if skips or whole_and_crops(photo, boxes, weights)[0] is not None:
        for box, logits in crop_logits(photo, boxes[:1], weights, 1, begun.cut_out):
            canvas.add(logits, box)
            begun.used = [box]
        boxes = boxes[1:]
    if skips:
        boxes = boxes[worth_a_crop(canvas, boxes)]
    begun.boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]
    return begun


def merge_rest(photos: Sequence[Begun], weights: Weights, batch_size: int) -> None:
    """Segment the boxes that are left of all photos in common batches, and merge them."""
    side = weights.card.input.size
    rest = [(begun, box) for begun in photos for box in begun.boxes]
    for start in range(0, len(rest), batch_size):
        batch = rest[start : start + batch_size]
        crops = torch.stack([begun.cut_out(box, side, side) for begun, box in batch])
        padded = F.pad(crops, (0, 0, 0, 0, 0, 0, 0, batch_size - len(batch)))
        for (begun, box), logits in zip(batch, logits_of(padded, weights), strict=False):
            begun.canvas.add(logits, box)
            begun.used.append(box)
