"""Turn label maps into COCO annotations: masks in COCO's run-length encoding, or polygons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.outputs.class_filter import BACKGROUND, chosen_labels
from deconvnet_cli.outputs.outlines import flat, hole_free_outlines
from deconvnet_cli.outputs.polygons import Component, components, mean_probability


def coco(
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    name: str = "",
    polygons: bool = False,
    tolerance: float = 1.0,
) -> dict[str, Any]:
    """Return the annotations of one photo for ``pycocotools.coco.COCO``, one for each component.

    Category ids are the labels: 1 to 20 in VOC's order. Semantic segmentation does not separate
    objects that touch, so two people side by side are one annotation. The arguments and errors are
    those of :func:`deconvnet_cli.outputs.polygons.geojson`. Annotations have a ``score``, as COCO
    calls it, if ``probabilities`` are given. With ``polygons``, the segmentation of each is
    polygons without holes, within ``tolerance`` pixels of the pixel edges.
    """
    height, width = labels.shape
    chosen = chosen_labels(only, classes)
    annotations = []
    for number, component in enumerate(components(labels, chosen), 1):
        x0, y0, x1, y1 = component.box
        mask: Any
        if polygons:
            mask = [flat(ring) for ring in hole_free_outlines(component, tolerance)]
        else:
            counts = encode_runs(runs(component, height, width))
            mask = {"size": [height, width], "counts": counts}
        annotation = {
            "id": number,
            "image_id": 1,
            "category_id": component.label,
            "segmentation": mask,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": component.area,
            "iscrowd": 0,
        }
        if probabilities is not None:
            annotation["score"] = mean_probability(component, labels.shape, probabilities)
        annotations.append(annotation)
    categories = [
        {"id": label, "name": classes[label], "supercategory": ""}
        for label in range(len(classes))
        if label != BACKGROUND or label in chosen
    ]
    return {
        "info": {},
        "licenses": [],
        "images": [{"id": 1, "file_name": name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": categories,
    }


def merged(parts: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return one COCO file of many, with ids that are unique.

    Args:
        parts: The name of each photo, and the annotations that :func:`coco` returned for it.

    Raises:
        LookupError, TypeError, ValueError: A part is not of this form.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    categories: dict[int, dict[str, Any]] = {}
    for number, (name, part) in enumerate(parts, 1):
        (image,) = part["images"]
        images.append({**image, "id": number, "file_name": name})
        for annotation in part["annotations"]:
            annotations.append({**annotation, "id": len(annotations) + 1, "image_id": number})
        categories.update({int(category["id"]): category for category in part["categories"]})
    return {
        "info": {},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [categories[label] for label in sorted(categories)],
    }


def runs(component: Component, height: int, width: int) -> list[int]:
    """Return the lengths of the runs of 0 and 1 in the component's mask, column by column.

    The mask has the size height x width. Runs alternate, beginning with 0, and their lengths add
    up to height times width. Only the first length may be 0.
    """
    x0, y0, x1, _ = component.box
    columns = np.zeros((x1 - x0, component.mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = component.mask.T
    steps = np.diff(columns, axis=1)
    # Within each column, starts and ends of runs alternate.
    column, row = np.nonzero(steps)
    borders = (x0 + column) * height + y0 + row
    # A run that continues from the bottom of a column to the top of the next does not end there.
    seam = np.flatnonzero(borders[1:] == borders[:-1])
    borders = np.delete(borders, np.concatenate((seam, seam + 1)))
    bounds = np.concatenate(([0], borders, [height * width]))
    lengths: list[int] = np.diff(bounds).tolist()
    return lengths[:-1] if lengths[-1] == 0 else lengths


def encode_runs(lengths: Sequence[int]) -> str:
    """Return run lengths as the text that COCO keeps in ``counts``.

    From the fourth length on, the difference to the length two before it is written. A number is
    split into groups of five bits, the lowest first, until only its sign is left. Each group
    becomes the character 48 + its bits, + 32 if another group follows.
    """
    text = []
    for index, length in enumerate(lengths):
        number = length - (lengths[index - 2] if index > 2 else 0)
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)
