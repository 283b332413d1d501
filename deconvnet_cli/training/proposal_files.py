"""The proposals of an image list, found once, on all cores, and kept in one file.

A file knows by which settings and versions its boxes were found, and the size and time of change
of every photo. Boxes that no longer agree with these are found again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli import __version__
from deconvnet_cli.data.boxes import rescaled
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.reporting import console
from deconvnet_cli.runtime.cores import cores
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.segmentation.proposals import edge_boxes, propose
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentSettings
from deconvnet_cli.segmentation.working_copy import working_copy
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.npz import read_npz

MAX_BYTES = 1 << 32  # of an unpacked file: 2000 boxes of each of 130,000 photos


@dataclass(frozen=True, eq=False)
class PhotoBoxes:
    """The boxes of one photo, and the state of its file when they were found.

    Attributes:
        stamp: The size of the photo's file in bytes, and its time of change in nanoseconds.
        boxes: The boxes, int32 N x 4, [x0, y0, x1, y1), in pixels of the photo, best first;
            but with a count the whole photo comes before them.
    """

    stamp: tuple[int, int]
    boxes: NDArray[np.int32]


def find_boxes(photo: Image.Image, count: int | None) -> NDArray[np.int32]:
    """Return boxes of a photo, int32 N x 4, in its pixels.

    Args:
        photo: The photo, mode RGB.
        count: How many boxes a prediction shows the net: these are returned, the whole photo
            first, enlarged as there. None returns all boxes of EdgeBoxes, small ones too, not
            enlarged.

    Raises:
        DependencyError, ImageError: EdgeBoxes cannot be run.
    """
    work = working_copy(photo, SegmentSettings.max_side)
    settings = settings_of(count)
    if count is None:
        boxes, _ = next(edge_boxes(np.asarray(work), settings))
    else:
        boxes = propose(np.asarray(work), settings).boxes
    return rescaled(boxes, work.size, photo.size)


def settings_of(count: int | None) -> ProposalSettings:
    """Return the settings with which :func:`find_boxes` finds boxes."""
    settings = SegmentSettings().boxes
    return replace(settings, min_side=0.0) if count is None else replace(settings, count=count)


def search_of(count: int | None) -> str:
    """Return all that the boxes depend on beside the photo, as JSON."""
    parts = {
        "deconvnet": __version__,
        "opencv": cv2.__version__,
        "shown": count,
        "max_side": SegmentSettings.max_side,
        "settings": asdict(settings_of(count)),
    }
    return json.dumps(parts, sort_keys=True)


def boxes_path(folder: Path, split: str, count: int | None) -> Path:
    """Return the path of the proposals of one image list; see :func:`find_boxes` for ``count``."""
    return folder / f"{quote(split, safe='')}-{count or 'all'}.npz"


def list_boxes(
    folder: Path,
    tree: VocTree,
    lists: Iterable[str],
    count: int | None,
    on_photo: Callable[[], None] = lambda: None,
) -> dict[str, NDArray[np.int32]]:
    """Return the boxes of all photos of some image lists by name, from one file a list.

    Boxes that are missing or out of date are found, and the file is written anew. If an error or
    ``on_photo`` ends this early, the boxes that were found until then are kept.

    Args:
        count: See :func:`find_boxes`.
        on_photo: A function that is called for each photo of each list.

    Raises:
        ImageError: A photo cannot be read.
        OutputError: The file cannot be written.
    """
    found: dict[str, PhotoBoxes] = {}
    for split in lists:
        names = list(dict.fromkeys(tree.names(split)))
        path = boxes_path(folder, split, count)
        kept = _read_or_say(path, search_of(count))
        known = kept | found  # the lists of a run may share photos
        stamps = {name: _stamp(tree.image(name)) for name in names}
        current = {
            name: known[name]
            for name in names
            if name in known and known[name].stamp == stamps[name]
        }

        def find(name: str) -> NDArray[np.int32]:
            return find_boxes(read_photo(tree.image(name)), count)

        try:
            for _ in current:
                on_photo()
            # EdgeBoxes runs without Python's lock, and threads begin sooner than processes.
            open_names = [name for name in names if name not in current]
            for name, result in in_order(open_names, find, cores()):
                current[name] = PhotoBoxes(stamps[name], result())
                on_photo()
        finally:
            before = {name: photo.stamp for name, photo in kept.items()}
            if current and before != {name: stamps[name] for name in current}:
                write_boxes(path, search_of(count), current)
        found |= current
    return {name: photo.boxes for name, photo in found.items()}


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _read_or_say(path: Path, search: str) -> dict[str, PhotoBoxes]:
    """Return the boxes in the file that this search found; say if it is damaged."""
    try:
        return read_boxes(path, search)
    except DatasetError as error:
        console.failure(error)
        return {}


def write_boxes(path: Path, search: str, photos: dict[str, PhotoBoxes]) -> None:
    """Write the boxes of photos to one file.

    Args:
        search: The text that :func:`search_of` returned.
        photos: The boxes by the name of the photo, at least one.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays: dict[str, Any] = {
        "search": np.array(search),
        "names": np.array(list(photos)),
        "stamps": np.array([photo.stamp for photo in photos.values()], np.int64),
        "counts": np.array([len(photo.boxes) for photo in photos.values()], np.int64),
        "boxes": np.concatenate([photo.boxes for photo in photos.values()]),
    }
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))


def read_boxes(path: Path, search: str) -> dict[str, PhotoBoxes]:
    """Return the boxes of photos by name; none if the file is missing or of another search.

    Raises:
        DatasetError: The file is damaged.
    """
    try:
        arrays = read_npz(path, MAX_BYTES)
        names, stamps, counts, boxes = (
            arrays[name] for name in ("names", "stamps", "counts", "boxes")
        )
        if (
            names.dtype.kind != "U"
            or stamps.dtype != np.int64
            or counts.dtype != np.int64
            or boxes.dtype != np.int32
            or names.shape != counts.shape
            or stamps.shape != (len(counts), 2)
            or boxes.shape != (counts.sum(), 4)
            or counts.min() < 0
        ):
            raise ValueError("arrays that do not fit together")
        if str(arrays["search"]) != search:
            return {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: damaged proposals ({why(error)}), found anew") from error
    parts = np.split(boxes, np.cumsum(counts)[:-1])
    return {
        str(name): PhotoBoxes((int(size), int(time)), part)
        for name, (size, time), part in zip(names, stamps, parts, strict=True)
    }
