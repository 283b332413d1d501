"""CVAT's "Segmentation mask" export: RGB masks, and its own lists and instances."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.faults import first_names
from deconvnet_cli.data.label_colours import PACK, instances_of
from deconvnet_cli.data.label_png import read_png
from deconvnet_cli.data.objects import NO_INSTANCE
from deconvnet_cli.data.voc import IGNORE, LISTS, palette
from deconvnet_cli.data.voc_lists import INSTANCES, MASKS, PHOTOS, listed_names
from deconvnet_cli.datasets.export import (
    MOST_OBJECTS,
    Example,
    Export,
    split_name,
    unlisted_notes,
)
from deconvnet_cli.datasets.masks import open_coloured
from deconvnet_cli.datasets.pairs import files_below, files_by_name, joined
from deconvnet_cli.errors import DatasetError

ALONE = "default"  # CVAT's list of what was put into no subset


def open_cvat(folder: Path, photos: Path | None, wanted: Sequence[str] | None) -> Export:
    """Open CVAT's "Segmentation mask" export: ``labelmap.txt`` beside ``SegmentationClass/``.

    Its lists are its splits, and ``SegmentationObject/`` has its objects, where they are there.

    Args:
        photos: The folder of the photos; ``JPEGImages`` by default.
        wanted: The classes, in the order of their labels; None takes those of ``labelmap.txt``.

    Raises:
        DatasetError: Something is missing or not of CVAT's form.
    """
    export = open_coloured(
        folder / MASKS, photos or folder / PHOTOS, folder / "labelmap.txt", wanted
    )
    splits, notes = _own_lists(folder, export)
    objects = folder / INSTANCES
    instances = files_by_name(files_below(objects, (".png",)), objects) if objects.is_dir() else {}
    without = [name for name in export.names if name not in instances]
    if instances and without:
        notes.append(f"{INSTANCES}: has no objects of: {first_names(without)}")

    def read(name: str) -> Example:
        example = export.read(name)
        if name not in instances:
            return example
        return replace(example, objects=_numbered(instances[name], example.mask))

    return replace(
        export,
        kind="CVAT's masks",
        read=read,
        splits=splits or export.splits,
        notes=(*export.notes, *notes),
    )


def _own_lists(folder: Path, export: Export) -> tuple[dict[str, list[str]], list[str]]:
    """Return the names of each list of CVAT, and what people should know of them."""
    paths = files_below(folder / LISTS, (".txt",)) if (folder / LISTS).is_dir() else []
    if [split_name(path.stem) for path in paths] in ([], [ALONE]):
        return {}, []
    known = set(export.names)
    said = {path.stem for path in export.unmasked}
    splits: dict[str, list[str]] = {}
    notes = []
    for path in paths:
        if path.stat().st_size < 2:  # a subset without photos, at most a line end
            notes.append(f"{path.name}: is empty")
            continue
        names = listed_names(path, lambda name: _named(name, known) in known)
        names = [_named(name, known) for name in names]
        splits.setdefault(split_name(path.stem), []).extend(name for name in names if name in known)
        if missing := [name for name in names if name not in known | said]:
            notes.append(f"{path.name}: names without a mask: {first_names(missing)}")
    splits = {split: names for split, names in splits.items() if names}
    if len(splits) < 2:  # one subset alone is no split
        return {}, notes
    return splits, [*notes, *unlisted_notes(known, splits)]


def _named(name: str, known: Collection[str]) -> str:
    """Return the name in the tree of a photo that a list may give with its folder, in quotes."""
    path = PurePosixPath(name.strip('"'))
    return joined(path) if joined(path) in known else path.name


def _numbered(path: Path, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the numbered objects of a mask, uint8 H x W, from CVAT's PNG of instances.

    Raises:
        DatasetError: The PNG cannot be read, has another size, or too many objects.
    """
    height, width = mask.shape
    image = read_png(path, (width, height), "export it again")
    pixels = instances_of(image if image.mode in ("P", "L") else image.convert("RGB"))
    nothing: Collection[int] = NO_INSTANCE
    if pixels.ndim == 3:
        pixels, nothing = pixels @ PACK, (palette()[list(NO_INSTANCE)] @ PACK).tolist()
    inside = (mask != 0) & (mask != IGNORE) & ~np.isin(pixels, list(nothing))
    found, numbers = np.unique(pixels[inside], return_inverse=True)
    if len(found) > MOST_OBJECTS:
        raise DatasetError(f"{path}: {len(found)} objects; at most {MOST_OBJECTS} are numbered")
    objects = np.zeros((height, width), np.uint8)
    objects[inside] = numbers.ravel() + 1
    return objects
