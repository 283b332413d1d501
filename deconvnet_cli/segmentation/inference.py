"""Raw scores of one photo: of its crops, and of the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.runtime.devices import merge_device
from deconvnet_cli.segmentation.crops import cut, cut_on_device
from deconvnet_cli.weights.files import Weights

# Cuts a box out, in a width and a height: 3 x height x width, RGB, 0 to 255.
Cutter = Callable[[Box, int, int], Tensor]


def logits_of(crops: Tensor, weights: Weights) -> Tensor:
    """Raw scores float32 N x C x H x W of crops N x 3 x H x W, RGB, 0 to 255.

    Computed where the net is, in the precision and the layout that it has; they come to where
    they are merged (``devices.merge_device``).
    """
    like = next(weights.net.parameters())
    rows = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if rows else torch.contiguous_format
    inputs = weights.card.input.prepare(crops.to(like.device))
    scores: Tensor = weights.net(inputs.to(like.dtype).contiguous(memory_format=layout))
    return scores.contiguous().float().to(merge_device(like.device))


def cutter(photo: Image.Image, device: torch.device) -> Cutter:
    """What cuts boxes out of a photo for a net on a device.

    On a GPU that has CUDA they are cut there: the photo crosses over once, in the place of every
    crop. Else Pillow cuts them.
    """
    if device.type == "cuda":
        pixels = on_device(photo, device).permute(2, 0, 1).float()
        return partial(cut_on_device, pixels)

    def on_cpu(box: Box, width: int, height: int) -> Tensor:
        return torch.from_numpy(np.array(cut(photo, box, width, height))).permute(2, 0, 1)

    return on_cpu


def on_device(photo: Image.Image, device: torch.device) -> Tensor:
    """A photo as uint8 H x W x 3 on a device."""
    pixels = torch.from_numpy(np.array(photo))
    if device.type == "cuda":  # from pinned memory nobody waits for the copy
        pixels = pixels.pin_memory()
    return pixels.to(device, non_blocking=True)


def whole_photo_logits(
    photo: Image.Image, weights: Weights, cut_out: Cutter | None = None
) -> Tensor:
    """Raw scores of the whole photo in its own shape, float32 V x C x h x w at the input's size.

    V is 2 where the photo is scaled (``InputConvention.whole``): the second are those of its
    mirror image, mirrored back. In its own size, as FCN-8s has it, it is looked at once.

    Args:
        cut_out: of this photo, if there is one already.
    """
    convention = weights.card.input
    if not convention.whole:
        return logits_of(on_device(photo, weights.device).permute(2, 0, 1)[None], weights)
    whole = (0, 0, *photo.size)
    cut_out = cut_out or cutter(photo, weights.device)
    crop = cut_out(whole, *convention.whole_size(*photo.size))
    scores, mirrored = logits_of(torch.stack((crop, crop.flip(2))), weights)
    return torch.stack((scores, mirrored.flip(2)))


def crop_logits(
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    batch_size: int,
) -> Iterator[tuple[Box, Tensor]]:
    """Each box with the raw scores of its crop, float32 C x h x w, in order.

    Crops are square, but for the whole photo where the weights want it in its own shape: it then
    comes twice (see :func:`whole_photo_logits`).
    """
    convention = weights.card.input
    rest: list[Box] = [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes]
    whole = (0, 0, *photo.size)
    cut_out = cutter(photo, weights.device)
    if convention.whole and rest and rest[0] == whole:
        yield from ((whole, view) for view in whole_photo_logits(photo, weights, cut_out))
        rest = rest[1:]
    for start in range(0, len(rest), batch_size):
        batch = rest[start : start + batch_size]
        crops = torch.stack([cut_out(box, convention.size, convention.size) for box in batch])
        yield from zip(batch, logits_of(crops, weights), strict=True)
