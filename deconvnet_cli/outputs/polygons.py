"""Turn a label map into polygons: GeoJSON in pixel coordinates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    """A connected component of one class, whose pixels touch along edges, not only at corners.

    Attributes:
        label: The label of the class.
        box: The tightest box, (x0, y0, x1, y1) in pixels, half open.
        area: The number of pixels.
        mask: The pixels of the box that belong to the component, bool, in the size of the box.
    """

    label: int
    box: Box
    area: int
    mask: NDArray[np.bool_]


def components(labels: NDArray[np.uint8], chosen: Iterable[int]) -> list[Component]:
    """Return the components of the chosen labels, ordered by label, then by falling area.

    Args:
        labels: The labels, uint8 H x W.
        chosen: The labels whose components are returned.
    """
    found = []
    for label in chosen:
        mask = (labels == label).astype(np.uint8)
        if not mask.any():  # most classes do not occur, and this check is fast
            continue
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number, (x, y, width, height, area) in enumerate(stats[1:].tolist(), 1):
            inside = numbers[y : y + height, x : x + width] == number
            found.append(Component(label, (x, y, x + width, y + height), area, inside))
    # The position of the first pixel makes the order independent of OpenCV's.
    return sorted(found, key=lambda c: (c.label, -c.area, c.box[1], c.box[0] + c.mask[0].argmax()))


def rings(component: Component) -> list[Ring]:
    """Return the outline of a component, then the outlines of its holes, along pixel edges.

    Pixel (x, y) is the square from (x, y) to (x + 1, y + 1), so corners have whole coordinates and
    the area inside is the number of pixels. Rings are closed: the last point equals the first. No
    ring crosses or touches itself; a hole may touch another ring at a point. The sum over a ring
    of x times the next y, minus y times the next x, is positive for the outline and negative for
    holes.
    """
    # OpenCV's contours run through the centres of pixels. At twice the size they lie next to the
    # edges of the original pixels, and halving moves them onto the corners.
    doubled = component.mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parents = np.reshape(hierarchy, (-1, 4))[:, 3]
    order = np.argsort(parents >= 0, kind="stable")  # the outline is the one without a parent
    return [
        closed(corners((contours[i].reshape(-1, 2) + 1) // 2) + component.box[:2], parents[i] < 0)
        for i in order
    ]


def corners(points: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the points of a ring, N x 2, at which it turns."""
    points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turning: NDArray[np.int32] = points[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    return turning


def closed(points: NDArray[np.int32], outline: bool) -> Ring:
    """Return N x 2 points as a closed ring, in the direction of an outline or of a hole."""
    ring: Ring = points.tolist()
    if (doubled_area([*ring, ring[0]]) > 0) != outline:
        ring.reverse()
    return [*ring, ring[0]]


def doubled_area(ring: Ring) -> int:
    """Return twice the area of a closed ring; it is negative for a hole."""
    x, y = np.array(ring, np.int64).T
    return int((x[:-1] * y[1:] - x[1:] * y[:-1]).sum())


def mean_probability(
    component: Component, size: tuple[int, int], probabilities: NDArray[np.float32]
) -> float:
    """Return the mean probability of a component's class over its pixels.

    Args:
        component: The component.
        size: The height and width of the label map.
        probabilities: The probabilities of the same photo, float32 C x h x w; they may be smaller
            than the label map.
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
    outline: Callable[[Component], list[Ring]] = rings,
) -> dict[str, Any]:
    """Return a GeoJSON FeatureCollection (RFC 7946) with a Polygon for each component.

    Coordinates are pixels, x to the right and y down from the upper left corner of the photo, not
    degrees as in the RFC. The properties are class, label, area in pixels, share of the photo and,
    if ``probabilities`` are given, score: the mean probability of the class in the component.

    Args:
        labels: The labels, uint8 H x W.
        classes: The names of the labels, in order.
        only: The names of the classes to include; None includes all but the background.
        probabilities: The probabilities, float32 C x h x w, see :func:`mean_probability`.
        name: The name of the photo.
        outline: Returns the rings of a component, by default along pixel edges.

    Raises:
        UsageError: ``only`` names an unknown class.
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
            properties["score"] = mean_probability(component, labels.shape, probabilities)
        features.append(
            {
                "type": "Feature",
                "id": number,
                "bbox": list(component.box),
                "properties": properties,
                "geometry": {"type": "Polygon", "coordinates": outline(component)},
            }
        )
    height, width = labels.shape
    about = {"image": name, "width": width, "height": height}
    return {"type": "FeatureCollection", **about, "features": features}
