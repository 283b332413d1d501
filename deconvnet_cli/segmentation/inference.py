"""Run a net on the crops of one photo and merge their logits, or run it on the whole photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.nets.layers import HasCoarseLogits
from deconvnet_cli.runtime.devices import merge_device
from deconvnet_cli.segmentation.crops import cut, cut_on_device
from deconvnet_cli.segmentation.labels import winning_labels
from deconvnet_cli.segmentation.merge import Canvas, Part, worth_a_crop
from deconvnet_cli.segmentation.score_maps import whole_map
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.weights.files import Weights

# A function of box, width and height that returns the crop, 3 x height x width, RGB, 0 to 255.
Cutter = Callable[[Box, int, int], Tensor]
CHECK_EVERY = 4  # boxes between two checks whether more boxes still change the labels
SETTLED = 0.002  # the labels are settled if a smaller share of them changed between two checks
# Called after each crop with the number of its box (from 0), the box, the part that
# ``Canvas.add`` returned, and the canvas, which the observer must not change.
Observer = Callable[[int, Box, Part, Canvas], None]
# Called as work on a photo goes on, with the stage, and for crops how many of how many are done.
OnStep = Callable[[str, int, int], None]


def no_step(stage: str, done: int, total: int) -> None:
    """Do nothing: the default of ``on_step``."""


def logits_of(crops: Tensor, weights: Weights) -> Tensor:
    """Return the logits, float32 N x C x H x W, of crops N x 3 x H x W, RGB, 0 to 255.

    The net runs on its own device, in its own precision and memory layout. The logits are moved to
    the device where crops are merged (``devices.merge_device``).
    """
    logits: Tensor = weights.net(inputs_of(crops, weights))
    return logits.contiguous().float().to(merge_device(weights.device))


def inputs_of(crops: Tensor, weights: Weights) -> Tensor:
    """Return crops N x 3 x H x W, RGB, 0 to 255, as the net takes them, on its device."""
    parameter = next(weights.net.parameters())
    channels_last = parameter.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    inputs = weights.card.input.prepare(crops.to(parameter.device))
    return inputs.to(parameter.dtype).contiguous(memory_format=layout)


def cutter(photo: Image.Image, device: torch.device) -> Cutter:
    """Return a function that cuts boxes out of a photo, for a net on ``device``.

    On a CUDA GPU the boxes are cut there, so that the photo is copied once instead of every crop.
    Otherwise Pillow cuts them.
    """
    if device.type == "cuda":
        pixels = to_device(photo, device).permute(2, 0, 1).float()
        return partial(cut_on_device, pixels)

    def on_cpu(box: Box, width: int, height: int) -> Tensor:
        return torch.from_numpy(np.array(cut(photo, box, width, height))).permute(2, 0, 1)

    return on_cpu


def to_device(photo: Image.Image, device: torch.device) -> Tensor:
    """Return a photo as a tensor on a device, uint8 H x W x 3."""
    pixels = torch.from_numpy(np.array(photo))
    if device.type == "cuda":  # pinned memory lets the copy run in the background
        pixels = pixels.pin_memory()
    return pixels.to(device, non_blocking=True)


def whole_photo_views(
    photo: Image.Image, weights: Weights, cut_out: Cutter | None = None
) -> Iterator[Tensor]:
    """Yield the logits of each view of the whole photo in its own shape, float32 C x h x w.

    A net that takes the photo in its own size, such as FCN-8s, sees it once. Other nets see it
    scaled (``InputConvention.whole``), as it is and then mirrored; the logits are mirrored back.
    With further and coarse sides the photo is mirrored at its usual side, and as it is at each of
    the others. The coarse sides, where the decoder is left out, come last.

    Args:
        photo: The photo, mode RGB.
        cut_out: The photo's :func:`cutter`, if the caller has one.
    """
    convention = weights.card.input
    if not convention.whole:
        yield from logits_of(to_device(photo, weights.device).permute(2, 0, 1)[None], weights)
        return
    whole = (0, 0, *photo.size)
    cut_out = cut_out or cutter(photo, weights.device)

    def view(side: int) -> Tensor:
        return cut_out(whole, *convention.whole_size(*photo.size, side))

    usual = view(convention.whole)
    if not (convention.further or convention.coarse):
        logits, mirrored = logits_of(torch.stack((usual, usual.flip(2))), weights)
        yield from (logits, mirrored.flip(2))
        return
    yield logits_of(usual.flip(2)[None], weights)[0].flip(2)
    for side in convention.further:
        yield logits_of(view(side)[None], weights)[0]
    for side in convention.coarse:
        yield coarse_logits(view(side), weights, photo.height, photo.width)


def coarse_logits(crop: Tensor, weights: Weights, height: int, width: int) -> Tensor:
    """Return the logits of encoder and head alone, float32 C x height x width, of one crop."""
    net = cast(HasCoarseLogits, weights.net)
    logits = net.enlarge(net.coarse_logits(inputs_of(crop[None], weights)).float(), (height, width))
    return logits[0].to(merge_device(weights.device))


def whole_and_crops(
    photo: Image.Image, boxes: NDArray[np.int32], weights: Weights
) -> tuple[Box | None, NDArray[np.int32]]:
    """Return the whole photo, if it is the first box and seen in its own shape, and the others.

    Args:
        boxes: The boxes, int32 N x 4.
        weights: The net that is shown them, as crops of one size but for the whole photo.
    """
    whole = (0, 0, *photo.size)
    if weights.card.input.whole and len(boxes) and tuple(boxes[0].tolist()) == whole:
        return whole, boxes[1:]
    return None, boxes


def crop_logits(
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    batch_size: int,
    cut_out: Cutter | None = None,
) -> Iterator[tuple[Box, Tensor]]:
    """Yield each box with the logits of its crop, float32 C x h x w, in order.

    Crops are square. The one exception is the whole photo, if the weights take it in its own
    shape: it is then yielded once for each view (see :func:`whole_photo_views`).

    Args:
        photo: The photo, mode RGB.
        boxes: The boxes, int32 N x 4.
        batch_size: The number of crops in a forward pass.
        cut_out: The photo's :func:`cutter`, if the caller has one.
    """
    side = weights.card.input.size
    cut_out = cut_out or cutter(photo, weights.device)
    whole, others = whole_and_crops(photo, boxes, weights)
    if whole is not None:
        yield from ((whole, view) for view in whole_photo_views(photo, weights, cut_out))
    rest: list[Box] = [(x0, y0, x1, y1) for x0, y0, x1, y1 in others.tolist()]
    for start in range(0, len(rest), batch_size):
        batch = rest[start : start + batch_size]
        crops = torch.stack([cut_out(box, side, side) for box in batch])
        yield from zip(batch, logits_of(crops, weights), strict=True)


def fcn_map(photo: Image.Image, weights: Weights, *, raw: bool) -> Tensor:
    """Return FCN-8s' map of a photo in its size, see :func:`whole_map`."""
    views = list(whole_photo_views(photo, weights))
    return whole_map(views, photo.height, photo.width, raw=raw)


def canvas_for(photo: Image.Image, weights: Weights, merge_rule: str) -> Canvas:
    """Return an empty map of a photo, on the device where the logits of its crops come."""
    size = (len(weights.card.classes), photo.height, photo.width)
    return Canvas(*size, merge_rule, merge_device(weights.device))


def merge_crops(
    canvas: Canvas,
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    settings: SegmentSettings,
    observe: Observer | None,
    on_step: OnStep,
) -> NDArray[np.int32]:
    """Run the net on the crops of a photo, merge them, and return the boxes used, int32 N x 4.

    With ``until_settled`` and a merge rule that keeps the whole photo's map, boxes in which the
    whole photo has settled the labels are skipped (:func:`worth_a_crop`). With another rule, the
    last boxes are left out once ``CHECK_EVERY`` more have changed the labels of a share of the
    pixels below ``SETTLED``.
    """
    skips = settings.until_settled and canvas.whole is not None
    stops = settings.until_settled and not skips
    used: list[Box] = []
    before: Tensor | None = None
    total = len(boxes)

    def crops() -> Iterator[tuple[Box, Tensor]]:
        nonlocal total
        size = CHECK_EVERY if stops else settings.batch_size
        cut_out = cutter(photo, weights.device)
        if not skips:
            yield from crop_logits(photo, boxes, weights, size, cut_out)
            return
        yield from crop_logits(photo, boxes[:1], weights, size, cut_out)
        rest = boxes[1:]  # chosen once the caller has merged the first
        rest = rest[worth_a_crop(canvas, rest)]
        total = 1 + len(rest)
        yield from crop_logits(photo, rest, weights, size, cut_out)

    on_step("crops", 0, total)
    for box, logits in crops():
        part = canvas.add(logits, box)
        if not used or box != used[-1]:  # the mirror image of the whole photo has the same box
            used.append(box)
        count = len(used)
        on_step("crops", count, total)
        if observe is not None:
            observe(count - 1, box, part, canvas)
        if not stops or count % CHECK_EVERY != 1:
            continue
        labels = winning_labels(canvas.merged_map(step=4))  # one pixel in 16 is enough
        if before is not None and count > 1 and (labels != before).float().mean() < SETTLED:
            break
        before = labels
    return np.array(used, np.int32).reshape(-1, 4)
