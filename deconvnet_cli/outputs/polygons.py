"""The regions of a label map as polygons: GeoJSON in pixel coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.runtime.opencv import cv2

Ring = list[list[int]]


@dataclass(frozen=True, eq=False)
class Component:
    """A connected component of one class; its pixels touch along edges, not only at corners.

    Attributes:
        label: the class.
        box: (x0, y0, x1, y1) in pixels, half open, as tight as can be.
        area: pixels.
        mask: bool, the size of the box: which of its pixels.
    """

    label: int
    box: Box
    area: int
    mask: NDArray[np.bool_]


def components(labels: NDArray[np.uint8], chosen: Iterable[int]) -> list[Component]:
    """The components of the chosen labels: by label, the largest first.

    Args:
        labels: uint8 H x W.
    """
    found = []
    for label in chosen:
        mask = (labels == label).astype(np.uint8)
        if not mask.any():  # most classes are not in a photo; looking is quicker than counting
            continue
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number, (x, y, width, height, area) in enumerate(stats[1:].tolist(), 1):
            inside = numbers[y : y + height, x : x + width] == number
            found.append(Component(label, (x, y, x + width, y + height), area, inside))
    # The first pixel tells any two apart, so that OpenCV's order does not matter.
    return sorted(found, key=lambda c: (c.label, -c.area, c.box[1], c.box[0] + c.mask[0].argmax()))


def rings(component: Component) -> list[Ring]:
    """The outline of a component, then those of its holes, along the edges of its pixels.

    Pixel (x, y) is the square from (x, y) to (x + 1, y + 1), so the corners are whole numbers and
    the area inside is the number of pixels. Rings are closed: the last point is the first. No
    ring crosses or touches itself; a hole may touch another ring at a point. The sum over a ring
    of x times the next y, less y times the next x, is above 0 for the outline and below for holes.
    """
    # OpenCV's contours run through the centres of pixels. In twice the size a pixel has a centre
    # on each of its sides, and halving brings it to the corner.
    doubled = component.mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = np.reshape(hierarchy, (-1, 4))[:, 3]
    order = np.argsort(parents >= 0, kind="stable")  # the outline is the one without a parent
    return [
        closed(corners((contours[i].reshape(-1, 2) + 1) // 2) + component.box[:2], parents[i] < 0)
        for i in order
    ]


def corners(points: NDArray[np.int32]) -> NDArray[np.int32]:
    """The points of a ring N x 2 where it turns."""
    points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    come, go = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turning: NDArray[np.int32] = points[come[:, 0] * go[:, 1] != come[:, 1] * go[:, 0]]
    return turning


def closed(points: NDArray[np.int32], outline: bool) -> Ring:
    """A ring of N x 2 points, the first at the end as well, in the direction of outline or hole."""
    following = np.roll(points, -1, axis=0).astype(np.int64)
    doubled_area = (points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum()
    if (doubled_area > 0) != outline:
        points = points[::-1]
    ring: Ring = np.concatenate((points, points[:1])).tolist()
    return ring


def mean_score(
    component: Component, size: tuple[int, int], probabilities: NDArray[np.float32]
) -> float:
    """The mean probability of a component's class over its pixels.

    Args:
        size: (height, width) of the label map.
        probabilities: float32 C x h x w of the same photo; may be smaller than it.
    """
    x0, y0, x1, y1 = component.box
    rows = np.arange(y0, y1) * probabilities.shape[1] // size[0]
    columns = np.arange(x0, x1) * probabilities.shape[2] // size[1]
    part = probabilities[component.label][rows[:, None], columns]
    return round(float(part[component.mask].mean(dtype=np.float64)), 4)


def geojson(
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    name: str = "",
) -> dict[str, Any]:
    """A GeoJSON FeatureCollection (RFC 7946): a Feature with a Polygon for each component.

    Coordinates are pixels, x to the right and y down from the upper left corner of the photo, and
    not the degrees that the RFC has in mind. Properties: class, label, area in pixels, share of
    the photo, and score, the mean probability of the class there, if ``probabilities`` are given.

    Args:
        labels: uint8 H x W.
        classes: names of the labels, in order.
        only: names of the classes that are taken; None takes all but the background.
        probabilities: float32 C x h x w, see :func:`mean_score`.
        name: of the photo.

    Raises:
        UsageError: ``only`` names no class that there is.
    """
    features = []
    for number, component in enumerate(components(labels, chosen_labels(only, classes)), 1):
        properties = {
            "class": classes[component.label],
            "label": component.label,
            "area": component.area,
            "share": round(component.area / labels.size, 6),
        }
        if probabilities is not None:
            properties["score"] = mean_score(component, labels.shape, probabilities)
        features.append(
            {
                "type": "Feature",
                "id": number,
                "bbox": list(component.box),
                "properties": properties,
                "geometry": {"type": "Polygon", "coordinates": rings(component)},
            }
        )
    height, width = labels.shape
    about = {"image": name, "width": width, "height": height}
    return {"type": "FeatureCollection", **about, "features": features}
