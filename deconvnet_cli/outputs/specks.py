"""Remove specks: parts of a label map that are too small to mean anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.runtime.opencv import cv2

LABELS = 256  # values of a byte
MOST_PARTS = 100_000  # of a map whose parts are looked at one by one; noise has millions


def without_specks(labels: NDArray[np.uint8], min_area: float) -> NDArray[np.uint8]:
    """Return labels in which each part below ``min_area`` has the label around it.

    A part is a connected component: pixels of one label, background included, that touch along
    edges. A speck takes the label with which it shares the longest border, counting only parts
    that are large enough or have taken a label already; of equal borders, the smaller label wins.
    No part of the result is a speck. If all parts are, the largest one counts as large enough.
    In a map of over 100,000 parts, each pixel of a speck first takes the label of the nearest pixel
    of another part. If over 100,000 parts remain, specks may remain too.

    Args:
        labels: The labels, uint8 H x W.
        min_area: The least area: a share of the map if below 1, otherwise a number of pixels.
    """
    least = min_area * labels.size if min_area < 1 else min_area
    if least <= 1:
        return labels
    numbers, owners, areas = numbered_parts(labels)
    settled = large(areas, least)
    if len(settled) > MOST_PARTS and not settled.all():
        labels = nearest_settled(labels, settled[numbers])
        numbers, owners, areas = numbered_parts(labels)
        settled = large(areas, least)
    if settled.all() or len(settled) > MOST_PARTS:
        return labels
    part, other, length = borders(numbers, settled)
    new = owners.copy()
    while len(part):
        ready = settled[other]
        # The border of each speck with each label, in pixel edges.
        pairs, place = np.unique(part[ready] * LABELS + new[other[ready]], return_inverse=True)
        shared = np.bincount(place, weights=length[ready])
        speck, label = np.divmod(pairs, LABELS)
        order = np.lexsort((-label, shared, speck))
        new[speck[order]] = label[order]  # the last of a speck counts: its longest border
        settled[speck] = True
        part, other, length = (values[~settled[part]] for values in (part, other, length))
    result: NDArray[np.uint8] = new.astype(np.uint8)[numbers]
    return result


def large(areas: NDArray[np.int64], least: float) -> NDArray[np.bool_]:
    """Return which parts are large enough, at least the largest one."""
    enough = areas >= least
    enough[areas.argmax()] = True
    return enough


def nearest_settled(labels: NDArray[np.uint8], settled: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return labels in which all other pixels have the label of the nearest settled one.

    Args:
        labels: The labels, uint8 H x W.
        settled: Which pixels keep their label, H x W, at least one.
    """
    _, nearest = cv2.distanceTransformWithLabels(
        (~settled).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label_of = np.zeros(int(nearest.max()) + 1, np.uint8)
    label_of[nearest[settled]] = labels[settled]
    found: NDArray[np.uint8] = label_of[nearest]
    return found


def numbered_parts(
    labels: NDArray[np.uint8],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each pixel's part, H x W, and each part's label and area."""
    numbers = np.empty(labels.shape, np.int32)
    owners: list[int] = []
    areas: list[int] = []
    for label in np.flatnonzero(Image.fromarray(labels).histogram()).tolist():
        inside = cv2.inRange(labels, label, label)
        left, top, width, height = cv2.boundingRect(inside)
        around = np.s_[top : top + height, left : left + width]
        inside = inside[around]
        _, marks, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=4)
        np.add(marks, len(owners) - 1, out=numbers[around], where=inside > 0)
        areas += stats[1:, cv2.CC_STAT_AREA].tolist()
        owners += [label] * (len(stats) - 1)
    return numbers, np.array(owners, np.int64), np.array(areas, np.int64)


def borders(
    numbers: NDArray[np.int32], settled: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the borders of all specks: the speck, the part beside it, and the pixel edges."""
    found = []
    for near, far in ((numbers[:, 1:], numbers[:, :-1]), (numbers[1:], numbers[:-1])):
        differ = near != far
        found += [(near[differ], far[differ]), (far[differ], near[differ])]
    one, other = (np.concatenate(side).astype(np.int64) for side in zip(*found, strict=True))
    small = ~settled[one]
    pairs, lengths = np.unique(one[small] * len(settled) + other[small], return_counts=True)
    part, beside = np.divmod(pairs, len(settled))
    return part, beside, lengths
