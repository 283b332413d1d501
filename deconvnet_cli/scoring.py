"""Raw scores of one photo: of its crops, and of the whole of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.crops import Box, cut
from deconvnet_cli.weights import Weights


def score(crops: NDArray[np.uint8], weights: Weights) -> Tensor:
    """Raw scores float32 N x C x H x W, on the CPU, of crops uint8 N x H x W x 3, RGB.

    Computed where the net is, in the precision and the layout that it has.
    """
    like = next(weights.net.parameters())
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).to(like.device)
    rows = like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if rows else torch.contiguous_format
    inputs = weights.card.input.prepare(pixels).to(like.dtype).contiguous(memory_format=layout)
    scores: Tensor = weights.net(inputs)
    return scores.float().cpu().contiguous()


def score_whole(photo: Image.Image, weights: Weights) -> Tensor:
    """Raw scores of the whole photo in its own shape, float32 V x C x h x w at the input's size.

    V is 2 where the photo is scaled (``InputConvention.whole``): the second are those of its
    mirror image, mirrored back. In its own size, as FCN-8s has it, it is looked at once.
    """
    convention = weights.card.input
    if not convention.whole:
        return score(np.array(photo)[None], weights)
    whole = (0, 0, *photo.size)
    crop = cut(photo, whole, *convention.whole_size(*photo.size))
    scores, mirrored = score(np.stack((crop, crop[:, ::-1])), weights)
    return torch.stack((scores, mirrored.flip(2)))


def score_crops(
    photo: Image.Image,
    boxes: NDArray[np.int32],
    weights: Weights,
    batch_size: int,
) -> Iterator[tuple[Box, Tensor]]:
    """Each box with the raw scores of its crop, float32 C x h x w on the CPU, in order.

    Crops are square, but for the whole photo where the weights want it in its own shape: it then
    comes twice (see :func:`score_whole`).
    """
    convention = weights.card.input
    rest: list[Box] = [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in boxes]
    whole = (0, 0, *photo.size)
    if convention.whole and rest and rest[0] == whole:
        yield from ((whole, view) for view in score_whole(photo, weights))
        rest = rest[1:]
    for start in range(0, len(rest), batch_size):
        batch = rest[start : start + batch_size]
        crops = np.stack([cut(photo, box, convention.size, convention.size) for box in batch])
        yield from zip(batch, score(crops, weights), strict=True)
