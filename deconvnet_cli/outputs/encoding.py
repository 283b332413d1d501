"""Encode overlays, cut-outs, masks and polygons as the bytes of their files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.outputs import interchange
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.outlines import simplified_rings
from deconvnet_cli.outputs.overlay import overlay
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.polygons import geojson


def overlay_file(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    classes: Sequence[str],
    only: Sequence[str] | None,
    palette: str,
    name: str = "",
) -> bytes:
    """Return the PNG of an overlay in one of ``files.PALETTES``; see ``overlay.overlay``."""
    colours = colours_of(palette, classes)
    return png_bytes(
        overlay(photo, labels, colours=colours, classes=classes, only=only, name=name), photo=True
    )


def mask_file(labels: NDArray[np.uint8], names: Sequence[str], classes: Sequence[str]) -> bytes:
    """Return the grey PNG of the mask of the named classes; labels are uint8 H x W."""
    return png_bytes(Image.fromarray(interchange.binary_mask(labels, names, classes)))


def polygon_file(
    kind: str,
    labels: NDArray[np.uint8],
    *,
    classes: Sequence[str],
    only: Sequence[str] | None,
    probabilities: NDArray[np.float32] | None,
    name: str,
    place: str,
    tolerance: float,
) -> bytes:
    """Return the file of polygons or masks of one of the ``files.POLYGONS``.

    Arguments are those of ``polygons.geojson``, and these:

    Args:
        kind: The kind of file.
        place: The path of the photo, relative to the file.
        tolerance: How far outlines may be from the pixel edges, in pixels.
    """
    shared: dict[str, Any] = {"classes": classes, "only": only}
    scored = {**shared, "probabilities": probabilities, "name": name}
    if kind == "yolo":
        return interchange.yolo(labels, **shared, tolerance=tolerance).encode()
    if kind == "labelme":
        found = interchange.labelme(labels, **shared, tolerance=tolerance, photo=place)
    elif kind == "geojson":
        found = geojson(
            labels, **scored, outline=lambda component: simplified_rings(component, tolerance)
        )
    else:
        found = coco(labels, **scored, polygons=kind != "coco", tolerance=tolerance)
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"
