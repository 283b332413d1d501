"""Label maps in the forms of annotation tools: LabelMe's JSON, YOLO's text, CVAT's colours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import BACKGROUND, chosen_labels
from deconvnet_cli.outputs.outlines import flat, hole_free_outlines
from deconvnet_cli.outputs.polygons import components

LABELME_VERSION = "5.5.0"  # the version of LabelMe whose form this is
DIGITS = 6  # of YOLO's coordinates, which are shares of the photo


def labelme(
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    tolerance: float = 1.0,
    photo: str = "",
) -> dict[str, Any]:
    """Return LabelMe's JSON: a polygon for each component.

    A component with holes is cut into polygons without, which share a group. Components are
    ordered by falling area, since LabelMe draws later shapes over earlier ones.

    Args:
        labels: The labels, uint8 H x W.
        classes: The names of the labels, in order.
        only: The names of the classes to include; None includes all but the background.
        tolerance: How far outlines may be from the pixel edges, in pixels.
        photo: The path of the photo, relative to the JSON.

    Raises:
        UsageError: ``only`` names an unknown class.
    """
    height, width = labels.shape
    found = components(labels, chosen_labels(only, classes))
    shapes: list[dict[str, Any]] = []
    for group, component in enumerate(sorted(found, key=lambda component: -component.area), 1):
        outlines = hole_free_outlines(component, tolerance)
        for ring in outlines:
            shape: dict[str, Any] = {
                "label": classes[component.label],
                "points": [[float(x), float(y)] for x, y in ring[:-1]],
                "group_id": group if len(outlines) > 1 else None,
            }
            shapes.append(
                {**shape, "description": "", "shape_type": "polygon", "flags": {}, "mask": None}
            )
    return {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": photo,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def yolo(
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    tolerance: float = 1.0,
) -> str:
    """Return YOLO's segmentation text: a line for each polygon, ``class x y x y ...``.

    Coordinates are shares of the photo's width and height. Classes are numbered as in
    :func:`yolo_names`. A component with holes is cut into polygons without. The
    arguments and errors are those of :func:`labelme`.
    """
    height, width = labels.shape
    numbers = {name: number for number, name in enumerate(yolo_names(classes, only))}
    lines = []
    for component in components(labels, chosen_labels(only, classes)):
        for ring in hole_free_outlines(component, tolerance):
            shares = np.reshape(flat(ring), (-1, 2)) / (width, height)
            places = " ".join(f"{share:.{DIGITS}g}" for share in shares.ravel().tolist())
            lines.append(f"{numbers[classes[component.label]]} {places}\n")
    return "".join(lines)


def yolo_names(classes: Sequence[str], only: Iterable[str] | None) -> list[str]:
    """Return the classes of YOLO's text: all but the background, unless that is chosen."""
    first = 0 if BACKGROUND in chosen_labels(only, classes) else 1
    return list(classes[first:])


def yolo_yaml(classes: Sequence[str], only: Iterable[str] | None = None) -> str:
    """Return YOLO's ``data.yaml`` for photos in ``images/`` beside the folder of the texts."""
    names = [f"  {n}: {json.dumps(name)}" for n, name in enumerate(yolo_names(classes, only))]
    head = "# The texts must be in a folder labels/, the photos beside it in images/."
    return "\n".join([head, "train: ../images", "val: ../images", "names:", *names]) + "\n"


def check_labelmap(classes: Sequence[str]) -> None:
    """Raise UsageError if a class has a name that CVAT's ``labelmap.txt`` cannot hold.

    Its lines are cut at colons, and those that begin with # are comments.
    """
    for name in classes:
        if ":" in name or name.startswith("#"):
            raise UsageError(
                f"--format cvat: CVAT cannot read the class name {name!r}, for its colon or "
                "leading #; give --polygons coco-polygons"
            )


def labelmap(classes: Sequence[str]) -> str:
    """Return CVAT's ``labelmap.txt``: the colour of each class in the label PNGs."""
    colours = palette_for(classes).tolist()
    lines = [
        f"{name}:{','.join(map(str, colour))}::"
        for name, colour in zip(classes, colours, strict=False)
    ]
    return "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n"
