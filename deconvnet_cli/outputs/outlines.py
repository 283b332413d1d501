"""Outlines of components with fewer points, and without holes for formats that know none."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.outputs.polygons import Component, Ring, components, rings
from deconvnet_cli.runtime.opencv import cv2

LEAST = 0.25  # pixels: with less, all corners of pixels stay
ROWS = 256  # sides that are compared with all others at a time


def simplified_rings(component: Component, tolerance: float) -> list[Ring]:
    """Return the rings of a component (see ``polygons.rings``) with fewer points.

    Points are left out by the algorithm of Ramer, Douglas and Peucker: none of them is farther
    than ``tolerance`` pixels from the new line. A ring that would lose its area or cross itself
    gets half the tolerance, and so on. With 0, rings follow the pixel edges exactly.
    """
    exact = rings(component)
    return exact if tolerance <= 0 else [simplified(ring, tolerance) for ring in exact]


def simplified(ring: Ring, tolerance: float, cuts: Collection[int] = ()) -> Ring:
    """Return a closed ring with fewer points, see :func:`simplified_rings`.

    Points with an x in ``cuts`` are kept, so that parts on both sides of a cut still meet.
    """
    while tolerance >= LEAST:
        fewer = with_fewer_points(ring, tolerance, cuts)
        if doubled_area(fewer) * doubled_area(ring) > 0 and not crosses_itself(fewer):
            return fewer
        tolerance /= 2
    return ring


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


def crosses_itself(ring: Ring) -> bool:
    """Return whether two sides of a closed ring cross, other than at their ends."""
    start, end = np.array(ring[:-1], np.int64), np.array(ring[1:], np.int64)
    for first in range(0, len(start), ROWS):
        a, b = start[first : first + ROWS, None], end[first : first + ROWS, None]
        apart = side_of(a, b, start) * side_of(a, b, end)
        across = side_of(start, end, a) * side_of(start, end, b)
        if ((apart < 0) & (across < 0)).any():
            return True
    return False


def side_of(
    a: NDArray[np.int64], b: NDArray[np.int64], point: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return on which side of the lines from a to b points are: -1, 0 (on it) or 1."""
    line, offset = b - a, point - a
    side: NDArray[np.int64] = np.sign(line[..., 0] * offset[..., 1] - line[..., 1] * offset[..., 0])
    return side


def doubled_area(ring: Ring) -> int:
    """Return twice the area of a closed ring; it is negative for a hole."""
    x, y = np.array(ring, np.int64).T
    return int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())


def hole_free_outlines(component: Component, tolerance: float) -> list[Ring]:
    """Return outlines that together are the component, in formats that know no holes.

    They are the simplified outlines of :func:`without_holes`, and closed.
    """
    outlines = []
    for part, cuts in without_holes(component):
        (ring,) = rings(part)
        outlines.append(simplified(ring, tolerance, cuts) if tolerance > 0 else ring)
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
            box = translate(part.box, x0 + left, y0)
            moved = replace(part, label=component.label, box=box)
            parts += without_holes(moved, cuts | {x0 + middle})
    return parts


def translate(box: Box, x: int, y: int) -> Box:
    """Return a box moved by x and y."""
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


def flat(ring: Ring) -> list[int]:
    """Return the points of a closed ring as x, y, x, y, ..., the first not repeated."""
    return [value for point in ring[:-1] for value in point]
