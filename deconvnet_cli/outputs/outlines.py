"""Outlines of components with fewer points, and without holes for formats that know none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.outputs.polygons import Component, Ring, components, doubled_area, rings
from deconvnet_cli.runtime.opencv import cv2

LEAST = 0.25  # pixels: with less, all corners of pixels stay
ROWS = 64  # boxes that are compared with others at a time
ENDS = np.s_[:-1], np.s_[1:]  # where the sides of a closed ring start and end


def simplified_rings(component: Component, tolerance: float) -> list[Ring]:
    """Return the rings of a component (see ``polygons.rings``) with fewer points.

    Points are left out by the algorithm of Ramer, Douglas and Peucker: none of them is farther
    than ``tolerance`` pixels from the new line. A ring that would lose its area, cross or touch
    itself, or cross another one gets half the tolerance, and so on. With 0, rings follow the pixel
    edges exactly.
    """
    return simplified(rings(component), tolerance)


def simplified(exact: list[Ring], tolerance: float, cuts: Collection[int] = ()) -> list[Ring]:
    """Return the closed rings of a component with fewer points, see :func:`simplified_rings`.

    Points with an x in ``cuts`` are kept, so that parts on both sides of a cut still meet.
    """
    tolerances = [tolerance] * len(exact)
    found = list(exact)
    again = set(range(len(exact))) if tolerance >= LEAST else set()
    while again:
        for number in again:
            left = tolerances[number]
            ring = exact[number]
            found[number] = with_fewer_points(ring, left, cuts) if left >= LEAST else ring
        lost = {
            number
            for number, ring in enumerate(found)
            if doubled_area(ring) * doubled_area(exact[number]) <= 0
        }
        # Exact rings are never wrong beside each other, so this ends.
        again = {each for each in lost | wrong_rings(found) if tolerances[each] >= LEAST}
        for number in again:
            tolerances[number] /= 2
    return found


def with_fewer_points(ring: Ring, tolerance: float, cuts: Collection[int]) -> Ring:
    """Return the ring that the algorithm leaves, which may cross itself."""
    points = np.array(ring[:-1], np.int32)
    kept = np.flatnonzero(np.isin(points[:, 0], list(cuts)))
    if not len(kept):
        fewer: Ring = cv2.approxPolyDP(points[:, None], tolerance, True)[:, 0].tolist()
        fewer.append(fewer[0])
    else:
        points = np.roll(points, -kept[0], axis=0)
        points = np.concatenate((points, points[:1]))
        ends = [*(kept - kept[0]).tolist(), len(points) - 1]
        fewer = points[:1].tolist()
        for start, end in pairwise(ends):
            piece = cv2.approxPolyDP(points[start : end + 1, None], tolerance, False)
            fewer += piece[1:, 0].tolist()
    return fewer


def wrong_rings(found: Sequence[Ring]) -> set[int]:
    """Return the numbers of the rings that make a polygon invalid.

    They cross or touch themselves or cross each other, or they are holes outside the outline,
    which is the first ring, or inside another hole, and then the ring around them. Two rings may
    have a corner in common.
    """
    start, end = (np.concatenate([np.array(ring[of], np.int64) for ring in found]) for of in ENDS)
    counts = [len(ring) - 1 for ring in found]
    owner = np.repeat(np.arange(len(found)), counts)
    following = np.arange(len(start)) + 1
    following[np.cumsum(counts) - 1] -= counts
    wrong: set[int] = set()
    for one, other in close_boxes(np.minimum(start, end), np.maximum(start, end)):
        a, b, c, d = start[one], end[one], start[other], end[other]
        to_c = side_of(a, b, c)
        cross = (to_c * side_of(a, b, d) < 0) & (side_of(c, d, a) * side_of(c, d, b) < 0)
        between = ((np.minimum(a, b) <= c) & (c <= np.maximum(a, b))).all(1)
        corner = (a == c).all(1) | (b == c).all(1)
        allowed = np.where(owner[one] == owner[other], following[one] == other, corner)
        bad = cross | ((to_c == 0) & between & ~allowed)
        wrong.update(owner[one[bad]].tolist(), owner[other[bad]].tolist())
    # The others share no points but corners, so each side is inside another ring or outside it.
    middles = np.split(start + end, np.cumsum(counts)[:-1])
    around = [2 * np.array(ring, np.float32)[:, None] for ring in found]
    for hole in range(1, len(found)):
        if not all(is_inside(around[0], middle) for middle in middles[hole]):
            wrong |= {0, hole}
    corners = np.array([(ring.min((0, 1)), ring.max((0, 1))) for ring in around])
    low, high = corners[1:, 0], corners[1:, 1]
    for some, others in close_boxes(low, high):
        for hole, other in zip((some + 1).tolist(), (others + 1).tolist(), strict=True):
            if any(is_inside(around[other], middle) for middle in middles[hole]):
                wrong |= {hole, other}
    return wrong


def close_boxes(
    low: NDArray[Any], high: NDArray[Any]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the numbers of all pairs of boxes that overlap or touch, each pair in both orders."""
    order = np.argsort(low[:, 0], kind="stable")
    low, high = low[order], high[order]
    for first in range(0, len(order), ROWS):
        rows = slice(first, first + ROWS)
        last = np.searchsorted(low[:, 0], high[rows, 0].max(), "right")
        others = slice(first, last)  # the pairs with those before were found before
        near = (low[rows, None] <= high[others]) & (low[others] <= high[rows, None])
        one, other = (order[first + each] for each in np.nonzero(np.triu(near.all(2), 1)))
        yield np.concatenate((one, other)), np.concatenate((other, one))


def is_inside(ring: NDArray[np.float32], point: NDArray[np.int64]) -> bool:
    """Return whether a point is inside a ring, N x 1 x 2."""
    return cv2.pointPolygonTest(ring, point.tolist(), False) > 0


def side_of(
    a: NDArray[np.int64], b: NDArray[np.int64], point: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return on which side of the lines from a to b points are: -1, 0 (on it) or 1."""
    line, offset = b - a, point - a
    side: NDArray[np.int64] = np.sign(line[..., 0] * offset[..., 1] - line[..., 1] * offset[..., 0])
    return side


def hole_free_outlines(component: Component, tolerance: float) -> list[Ring]:
    """Return outlines that together are the component, in formats that know no holes.

    They are the simplified outlines of :func:`without_holes`, and closed.
    """
    outlines = []
    for part, cuts in without_holes(component):
        outlines += simplified(rings(part), tolerance, cuts)
    return outlines


def without_holes(
    component: Component, cuts: frozenset[int] = frozenset()
) -> list[tuple[Component, frozenset[int]]]:
    """Return a component cut into parts without holes, by vertical lines through its holes.

    The line through the median hole comes first, so that at most half of the holes are on each
    side of it, and so on.

    Each part comes with the x of all lines, those of ``cuts`` among them. One ring with a narrow
    cut to each hole would do by the rules of geometry, but Pillow (LabelMe) and OpenCV (YOLO) draw
    such rings wrongly now and then.
    """
    _, *holes = rings(component)
    if not holes:
        return [(component, cuts)]
    x0, y0, _, _ = component.box
    sides = [(min(xs), max(xs)) for xs in ([x for x, _ in hole] for hole in holes)]
    middles = sorted((left + right + 1) // 2 for left, right in sides)
    middle = middles[len(middles) // 2] - x0
    parts = []
    for left, mask in ((0, component.mask[:, :middle]), (middle, component.mask[:, middle:])):
        for part in components(mask.astype(np.uint8), (1,)):
            x = x0 + left
            box = part.box[0] + x, part.box[1] + y0, part.box[2] + x, part.box[3] + y0
            moved = replace(part, label=component.label, box=box)
            parts += without_holes(moved, cuts | {x0 + middle})
    return parts


def flat(ring: Ring) -> list[int]:
    """Return the points of a closed ring as x, y, x, y, ..., the first not repeated."""
    return [value for point in ring[:-1] for value in point]
