"""The regions of a label map as COCO annotations, with masks in COCO's run-length code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.outputs.class_filter import BACKGROUND, chosen_labels
from deconvnet_cli.outputs.polygons import Component, components, mean_score


def coco(
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Iterable[str] | None = None,
    probabilities: NDArray[np.float32] | None = None,
    name: str = "",
) -> dict[str, Any]:
    """Annotations of one photo as ``pycocotools.coco.COCO`` reads them, one for each component.

    Category ids are the labels: 1 to 20 in VOC's order. Semantic segmentation does not part
    objects that touch: two people side by side are one annotation. Arguments and errors as of
    :func:`deconvnet_cli.outputs.polygons.geojson`; ``logits_of`` is there if ``probabilities`` are.
    """
    height, width = labels.shape
    chosen = chosen_labels(only, classes)
    annotations = []
    for number, component in enumerate(components(labels, chosen), 1):
        x0, y0, x1, y1 = component.box
        annotation = {
            "id": number,
            "image_id": 1,
            "category_id": component.label,
            "segmentation": {
                "size": [height, width],
                "counts": packed(runs(component, height, width)),
            },
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "area": component.area,
            "iscrowd": 0,
        }
        if probabilities is not None:
            annotation["score"] = mean_score(component, labels.shape, probabilities)
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


def runs(component: Component, height: int, width: int) -> list[int]:
    """Lengths of the runs of 0 and 1 by turns, 0 first, down the columns of a height x width mask.

    They add up to height times width. The first may be 0, the others are not.
    """
    x0, y0, x1, _ = component.box
    columns = np.zeros((x1 - x0, component.mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = component.mask.T
    steps = np.diff(columns, axis=1)
    # Columns come one after the other, so starts and ends take turns in both orders of reading.
    column, row = np.nonzero(steps)
    places = (x0 + column) * height + y0 + row
    # A run that goes on from the foot of a column to the head of the next one ends nowhere.
    seam = np.flatnonzero(places[1:] == places[:-1])
    places = np.delete(places, np.concatenate((seam, seam + 1)))
    bounds = np.concatenate(([0], places, [height * width]))
    lengths: list[int] = np.diff(bounds).tolist()
    return lengths[:-1] if lengths[-1] == 0 else lengths


def packed(lengths: Sequence[int]) -> str:
    """Run lengths as the text that COCO keeps in ``counts``.

    From the fourth on, a length is written as its difference to the one before the last. A number
    is cut in groups of five bits, the lowest first, until only its sign is left; a group is the
    character 48 + its bits, + 32 if another follows.
    """
    text = []
    for place, length in enumerate(lengths):
        number = length - (lengths[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits = number & 31
            number >>= 5
            more = number != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)
