"""The masks of COCO's annotations, drawn over one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.datasets.export import MOST_OBJECTS
from deconvnet_cli.errors import DatasetError, DependencyError

Labelled = tuple[int, Mapping[str, Any]]  # an annotation and its label, 0 where it is not taken


def masks_of_pycocotools() -> Any:
    """Return pycocotools' masks."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DependencyError(
            'COCO\'s masks need pycocotools: pip install "pycocotools>=2.0.8"'
        ) from error
    return mask


def is_crowd(item: Mapping[str, Any]) -> bool:
    """Return whether an annotation is one of several objects together, of which none is outlined.

    CVAT exports each mask as a crowd, and gives its annotations attributes, which COCO has not.
    """
    return bool(item.get("iscrowd")) and "attributes" not in item


def draw(
    annotations: Sequence[Labelled], size: tuple[int, int], source: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the mask and the numbered objects of a photo, uint8 H x W each.

    Small objects are drawn over large ones; a crowd is ignored where no object is.
    """
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    objects = np.zeros((height, width), np.uint8)
    drawn = []
    for label, item in annotations:
        if not label or not item.get("segmentation"):
            continue
        try:
            inside = _inside(item["segmentation"], width, height)
        except Exception as error:  # pycocotools raises many kinds, the plain one among them
            plain = isinstance(error, ValueError)
            why = str(error) if plain else "neither polygons nor run lengths"
            raise DatasetError(
                f"{source}: the segmentation of annotation {item.get('id')} is wrong ({why}); "
                "correct or remove it"
            ) from error
        drawn.append((not is_crowd(item), -int(inside.sum()), label, inside))
    drawn.sort(key=lambda found: found[:2])
    single = [found for found in drawn if found[0]]
    if len(single) > MOST_OBJECTS:
        raise DatasetError(f"{source}: {len(single)} objects; at most {MOST_OBJECTS} are numbered")
    number = 0
    for is_single, _, label, inside in drawn:
        mask[inside] = label if is_single else IGNORE
        number += is_single
        objects[inside] = number if is_single else 0
    return mask, objects


def _inside(segmentation: Any, width: int, height: int) -> NDArray[np.bool_]:
    """Return where an object is, bool H x W, from its polygons or run lengths."""
    masks = masks_of_pycocotools()
    if isinstance(segmentation, list):
        if not isinstance(segmentation[0], list):
            segmentation = [segmentation]  # one polygon, as pycocotools reads it
        # Slivers have no area, and pycocotools takes a first polygon of four numbers for a box.
        areas = [polygon for polygon in segmentation if len(polygon) >= 6]
        for polygon in areas or segmentation:
            if len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(f"a polygon of {len(polygon) / 2:g} points is no area")
        runs = masks.merge(masks.frPyObjects(areas, height, width))
    elif isinstance(segmentation["counts"], list):
        runs = masks.frPyObjects(segmentation, height, width)
    else:
        runs = segmentation
    if list(runs["size"]) != [height, width]:
        raise ValueError(f"run lengths of {runs['size']} pixels")
    found: NDArray[np.bool_] = masks.decode(runs).astype(bool)
    return found
