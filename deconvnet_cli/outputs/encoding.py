"""Encode and write the files of a segmented photo: its labels, and the files beside them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.outputs import interchange
from deconvnet_cli.outputs.class_filter import chosen_labels, mask_of
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.files import NONE, Outputs
from deconvnet_cli.outputs.outlines import simplified_rings
from deconvnet_cli.outputs.overlay import cutout, overlay
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.polygons import geojson
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.remote import RemotePath


def write_outputs(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    target: Path,
    outputs: Outputs,
    classes: Sequence[str],
    *,
    probabilities: Callable[[], NDArray[np.float32]] | None = None,
    name: str = "",
    source: Path | None = None,
    shown: NDArray[np.uint8] | None = None,
) -> list[Path]:
    """Write the chosen files of a photo, each whole or not at all.

    Args:
        photo: The photo, mode RGB.
        labels: The labels, uint8 H x W, in the size of the photo.
        target: The path of the labels; the other files are written beside it.
        outputs: The choice of files.
        classes: The names of the labels, in order.
        probabilities: A function that returns the probabilities, float32 C x h x w. It is called
            only for polygons, which then have a score, and for cut-outs, whose edges are then soft.
        name: The name of the photo in files of polygons and in notes.
        source: The photo's file, if LabelMe's JSON is to say where it is.
        shown: ``outputs.shown(labels)``, if it is known already.

    Returns:
        The paths of the files, the labels first if they are written.

    Raises:
        UsageError: The outputs name an unknown class.
        OutputError: A file cannot be written.
    """
    if shown is None:
        shown = outputs.shown(labels) if outputs.suffixes or outputs.clean_labels else labels
    found = probabilities() if probabilities and outputs.needs_probabilities else None
    place = place_of(source, target) or name if outputs.polygons == "labelme" else ""
    for suffix, path in zip(outputs.suffixes, outputs.beside(target), strict=True):
        write_whole(path, file_beside(suffix, photo, shown, outputs, classes, found, name, place))
    # The labels are written last: if they exist, all files of the photo do.
    if outputs.format != NONE:
        kept = shown if outputs.clean_labels else labels
        write_whole(target, label_file(kept, outputs.format, classes))
    return outputs.files(target)


def label_file(labels: NDArray[np.uint8], file_format: str, classes: Sequence[str]) -> bytes:
    """Return labels, uint8 H x W, as the bytes of a file in one of ``ALL_FORMATS``."""
    if file_format != "npy":
        return label_png(labels, classes)
    buffer = io.BytesIO()
    np.save(buffer, labels)
    return buffer.getvalue()


def file_beside(
    suffix: str,
    photo: Image.Image,
    labels: NDArray[np.uint8],
    outputs: Outputs,
    classes: Sequence[str],
    probabilities: NDArray[np.float32] | None = None,
    name: str = "",
    place: str = "",
) -> bytes:
    """Return the file with one of ``outputs.suffixes``; see :func:`write_outputs`.

    Args:
        labels: The labels without specks, uint8 H x W.
        probabilities: The probabilities, float32 C x h x w.
        place: The path of the photo, relative to the file, for LabelMe.
    """
    kind, tolerance = outputs.polygons, outputs.tolerance
    shared: dict[str, Any] = {"classes": classes, "only": outputs.only}
    scored = {**shared, "probabilities": probabilities}
    if suffix == ".overlay.png":
        colours = colours_of(outputs.palette, classes)
        return png_bytes(overlay(photo, labels, **shared, colours=colours, name=name), photo=True)
    if suffix == ".cutout.png":
        behind, crop = outputs.background, outputs.crop
        return png_bytes(cutout(photo, labels, **scored, background=behind, crop=crop), photo=True)
    if suffix == ".mask.png":
        inside = mask_of(labels, chosen_labels(outputs.mask, classes, "--mask"))
        return png_bytes(Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)))
    if kind == "yolo":
        return interchange.yolo(labels, **shared, tolerance=tolerance).encode()
    if kind == "labelme":
        found = interchange.labelme(labels, **shared, tolerance=tolerance, photo=place)
    elif kind == "geojson":
        outline = partial(simplified_rings, tolerance=tolerance)
        found = geojson(labels, **scored, name=name, outline=outline)
    else:
        found = coco(labels, **scored, name=name, polygons=kind != "coco", tolerance=tolerance)
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


def place_of(photo: Path | None, target: Path) -> str | None:
    """Return the path of a photo relative to a file beside ``target``; None if it has none.

    On Windows there is no relative path to another drive; the path is then a whole one.
    """
    if photo is None or isinstance(photo, RemotePath) or isinstance(target, RemotePath):
        return None
    try:
        return Path(os.path.relpath(photo.resolve(), target.parent.resolve())).as_posix()
    except ValueError:
        return photo.resolve().as_posix()
