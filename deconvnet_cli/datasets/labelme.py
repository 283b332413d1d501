"""LabelMe JSON: a file a photo, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deconvnet_cli.data.classes import (
    IGNORED,
    LONGEST_NAME,
    is_background,
    is_name,
    with_background,
)
from deconvnet_cli.data.decoding import LABEL_FORMATS, Undecodable, identify, load
from deconvnet_cli.data.suffixes import ALL_SUFFIXES
from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.datasets.export import (
    MOST_OBJECTS,
    Example,
    Export,
    class_notes,
    find_photo,
    form_fault,
    oriented_photo,
    photo_place,
    splits_below,
    whole_number,
)
from deconvnet_cli.datasets.pairs import files_below, files_by_name
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

MAX_BYTES = 1 << 28  # of one file, which may hold its photo


def open_labelme(folder: Path, photos: Path | None, wanted: Sequence[str] | None) -> Export:
    """Open a folder of LabelMe files.

    Args:
        photos: The folder of the photos; by default they are looked for beside the files.
        wanted: The classes, in the order of their labels; None takes all, by name.

    Raises:
        DatasetError: A file cannot be read, or is not of LabelMe's form.
    """
    files = files_by_name(files_below(folder, (".json",)), folder)
    contents: dict[str, Any] = {}
    faults: dict[str, DatasetError] = {}  # each is told when its photo's turn comes
    for name, path in files.items():
        try:
            contents[name] = _load(path)
        except DatasetError as error:
            faults[name] = error
    if faults and not contents:
        raise next(iter(faults.values()))
    found = {str(shape["label"]) for content in contents.values() for shape in content["shapes"]}
    found = {name for name in found if name != IGNORED and not is_background(name)}
    classes = with_background(wanted if wanted is not None else sorted(found), str(folder))
    owners: dict[Path, str] = {}

    def read(name: str) -> Example:
        if name in faults:
            raise faults[name]
        path, content = files[name], contents[name]
        size = int(content["imageWidth"]), int(content["imageHeight"])
        place = path.parent.relative_to(folder)
        folders = [photos / place, photos] if photos else [path.parent, folder]
        source = _photo(path, content, folders, owners)
        named = str(source) if isinstance(source, Path) else f"{path}, imageData"
        photo, data = oriented_photo(source, size, named)
        mask, objects = draw_shapes(content["shapes"], classes, size, str(path))
        return Example(photo, data, mask, objects)

    paths = [photo_place(str(content.get("imagePath") or "")) for content in contents.values()]
    stems = [path.stem for path in files.values()] + [path.name for path in paths]
    named = {normalize("NFC", stem) for stem in stems}
    shown = files_below(photos or folder, ALL_SUFFIXES)
    unmasked = tuple(path for path in shown if normalize("NFC", path.stem) not in named)
    splits, notes = splits_below(folder, files)
    notes = (*class_notes(found, classes), *notes)
    return Export("LabelMe JSON", classes, tuple(files), read, splits, notes, unmasked)


def _load(path: Path) -> Any:
    """Return a LabelMe file as plain values, with the names that it must have.

    Labels are without the space around them.
    """
    try:
        content = json.loads(read_whole(path, MAX_BYTES))
        for shape in content["shapes"]:
            if not isinstance(shape["label"], str) or not isinstance(shape["points"], list):
                raise ValueError("a shape has no label or no points")
            shape["label"] = shape["label"].strip()
            if not is_name(shape["label"]):
                label = shape["label"]
                raise DatasetError(
                    f"{path}: the label {label!r:.120} is no name, which has 1 to {LONGEST_NAME} "
                    "printable characters; rename it"
                )
        if min(whole_number(content, field) for field in ("imageWidth", "imageHeight")) < 1:
            raise ValueError("its photo has no pixels")
        return content
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path}: not a LabelMe file ({form_fault(error)}); save it again"
        ) from error


def _photo(path: Path, content: Any, folders: list[Path], owners: dict[Path, str]) -> Path | bytes:
    """Return the file of the photo, or its bytes where the annotation holds them."""
    try:
        return find_photo(folders, str(content.get("imagePath") or ""), path, owners)
    except DatasetError:
        if not content.get("imageData"):
            raise
    try:
        return base64.b64decode(content["imageData"], validate=False)
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: its photo cannot be decoded ({error})") from error


def draw_shapes(
    shapes: Sequence[Any], classes: Sequence[str], size: tuple[int, int], source: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return mask and numbered objects, uint8 H x W each; later shapes lie over earlier ones."""
    mask = np.zeros(size[::-1], np.uint8)
    objects = np.zeros(size[::-1], np.uint8)
    groups: dict[Any, int] = {}
    for index, shape in enumerate(shapes):
        name = shape["label"]
        meaning = IGNORE if name == IGNORED else 0 if is_background(name) else None
        if meaning is None and name not in classes:
            continue
        inside = _inside(shape, size, source)
        if meaning is not None:
            mask[inside], objects[inside] = meaning, 0
            continue
        group = shape.get("group_id")
        key = ("shape", index) if group is None else (name, str(group))
        number = groups.setdefault(key, len(groups) + 1)
        if number > MOST_OBJECTS:
            raise DatasetError(f"{source}: over {MOST_OBJECTS} objects; they are numbered in bytes")
        mask[inside], objects[inside] = classes.index(name), number
    return mask, objects


def _inside(shape: Any, size: tuple[int, int], source: str) -> NDArray[np.bool_]:
    """Return where a shape is, bool H x W."""
    kind = shape.get("shape_type") or "polygon"
    image = Image.new("1", size)
    draw = ImageDraw.Draw(image)
    try:
        points = [(float(x), float(y)) for x, y in shape["points"]]
        if not np.isfinite(points).all():
            raise ValueError("a point is at no finite place")
        if kind in ("polygon", "rectangle", "rotation") and len(points) > 2:  # as X-AnyLabeling has
            draw.polygon(points, fill=1, outline=1)
        elif kind in ("rectangle", "mask") and len(points) == 2:
            (x0, y0), (x1, y1) = points
            left, top, right, bottom = min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
            if kind == "rectangle":
                draw.rectangle((left, top, right, bottom), fill=1, outline=1)
            else:
                image.paste(_bitmap(shape["mask"]), (round(left), round(top)))
        elif kind == "circle" and len(points) == 2:
            (x, y), (at_x, at_y) = points
            radius = float(np.hypot(at_x - x, at_y - y))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1, outline=1)
        else:
            raise ValueError(
                f"a {kind} of {len(points)} points is no area; draw a polygon, rectangle or circle"
            )
    except (TypeError, ValueError, OverflowError, KeyError, Undecodable) as error:
        raise DatasetError(f"{source}: {shape['label']}: {error}") from error
    return np.array(image)


def _bitmap(text: str) -> Image.Image:
    """Return a shape's own bitmap, mode 1, from the base64 of a PNG."""
    with identify(base64.b64decode(text), LABEL_FORMATS) as image:
        load(image)
        return Image.fromarray(np.array(image).astype(bool))
