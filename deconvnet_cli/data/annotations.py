"""The objects of a photo as VOC's ``Annotations/NAME.xml`` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from deconvnet_cli.data.boxes import Box
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

MAX_BYTES = 1 << 20  # of one file: hundreds of objects take some kilobytes


def read_annotation(path: Path, classes: Sequence[str]) -> list[tuple[int, Box]]:
    """Return the label and the box of each object in a file of VOC's form.

    VOC counts pixels from 1 and its boxes include their last pixel; the returned ones are half
    open and count from 0. Objects that the file calls difficult are left out, as VOC does.

    Raises:
        DatasetError: The file cannot be read, is not of VOC's form, or names an unknown class.
    """
    try:
        root = ElementTree.fromstring(_without_entities(read_whole(path, MAX_BYTES)))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DatasetError(f"{path}: not readable as XML ({error})") from error
    found = []
    for item in root.iter("object"):
        name = (item.findtext("name") or "").strip()
        if name not in classes:
            raise DatasetError(f"{path}: unknown class {name!r}; known: {', '.join(classes)}")
        if (item.findtext("difficult") or "0").strip() == "1":
            continue
        found.append((classes.index(name), _box(item, path)))
    return found


def _without_entities(content: bytes) -> bytes:
    """Return the content, or raise ValueError if it declares entities, which can explode.

    UTF-16 would hide such a declaration, and is refused.
    """
    if b"\0" in content:
        raise ValueError("it has zero bytes; save it as UTF-8")
    if b"<!ENTITY" in content or b"<!DOCTYPE" in content:
        raise ValueError("it declares a document type")
    return content


def _box(item: ElementTree.Element, path: Path) -> Box:
    """Return the half-open box of an object."""
    try:
        x0, y0, x1, y1 = (
            round(float(item.findtext(f"bndbox/{name}") or ""))
            for name in ("xmin", "ymin", "xmax", "ymax")
        )
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: an object has no box of four numbers") from error
    if x1 < x0 or y1 < y0:
        raise DatasetError(f"{path}: an object's box ends before it begins ({x0} {y0} {x1} {y1})")
    return x0 - 1, y0 - 1, x1, y1
