"""Soft edges for cut-outs: an alpha channel and foreground colours, from the probabilities."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.outputs.class_filter import mask_of
from deconvnet_cli.runtime.opencv import cv2

REACH = 2.0  # pixels of the probabilities' map on either side of a border that may be soft
LEAST_REACH = 2.0  # pixels of the photo
OPAQUE = 250  # alpha from which a pixel's colour is the foreground's own
FARTHEST = 24  # pixels from a soft pixel to the opaque ones that give it colour


def soft_alpha(
    labels: NDArray[np.uint8], chosen: Iterable[int], probabilities: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return the opacity of each pixel, uint8 H x W: soft along the edges of the chosen classes.

    Near an edge it follows the probability of the chosen classes against that of all others.
    Pixels of the chosen classes have at least 128, others at most 127, and both are all or nothing
    beyond a few pixels from the edge, so the shape is that of the labels.

    Args:
        labels: The labels, uint8 H x W, in the size of the photo.
        chosen: The labels that are kept.
        probabilities: The probabilities, float32 C x h x w; they may be smaller than the labels.
    """
    height, width = labels.shape
    kept = sorted(set(chosen))
    inside = mask_of(labels, kept)
    reach = max(LEAST_REACH, REACH * width / probabilities.shape[2])
    depth = signed_depth(inside) / reach
    band = np.abs(depth) < 1
    alpha = np.where(inside, 255, 0).astype(np.uint8)
    if not band.any():
        return alpha
    share = np.ascontiguousarray(probabilities[kept].sum(0))
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
    # After a CRF, probabilities are nearly 0 or 1: without this, edges would be stairs.
    share = cv2.GaussianBlur(share, (3, 3), 0)[band]
    depth = depth[band]
    # At the edge alpha is one half; towards the end of the band it is bound to be all or nothing.
    low = np.where(depth > 0, 0.5 + depth / 2, 0)
    high = np.where(depth > 0, 1, 0.5 + depth / 2)
    value = np.clip(share, low, high) * 255
    alpha[band] = np.where(depth > 0, np.ceil(value), np.floor(value))
    return alpha


def signed_depth(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance in pixels to the edge of a region: above 0 inside, below outside.

    The photo's edge is no edge of the region. Without any edge the depth is infinite.
    """
    if inside.all() or not inside.any():
        return np.where(inside, np.inf, -np.inf).astype(np.float32)
    mask = inside.astype(np.uint8)
    within = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    beyond = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    depth: NDArray[np.float32] = np.where(inside, within - 0.5, 0.5 - beyond).astype(np.float32)
    return depth


def foreground(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the colours of a photo, uint8 H x W x 3, without the background's at soft edges.

    A pixel that is only partly opaque shows background too, which would be a halo on another
    background. It takes the mean colour of the opaque pixels near it, more so the less opaque it
    is. A pixel without any near it keeps its own.
    """
    soft = (alpha > 0) & (alpha < OPAQUE)
    if not soft.any():
        return pixels
    result: NDArray[np.uint8] = pixels.copy()
    frame = frame_of(soft, FARTHEST + 2)
    inner, alpha, soft = result[frame], alpha[frame], soft[frame]  # a view of the result
    opaque = alpha >= OPAQUE
    depth = cv2.distanceTransform((~opaque).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    side = 2 * int(np.ceil(min(depth[soft].max(), FARTHEST))) + 3
    total = cv2.blur(inner * opaque[..., None].astype(np.float32), (side, side))
    weight = cv2.blur(opaque.astype(np.float32), (side, side))
    known = soft & (weight > 1e-4)
    near = total[known] / weight[known][:, None]
    share = alpha[known][:, None] / np.float32(255)
    inner[known] = np.rint(share * inner[known] + (1 - share) * near).clip(0, 255)
    return result


def frame_of(mask: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Return the rows and columns that hold all of a mask, and ``margin`` pixels around it."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    rows = slice(max(0, y - margin), y + height + margin)
    return rows, slice(max(0, x - margin), x + width + margin)
