"""Exports with a mask a photo: Roboflow's, RGB with a colour table, grey with names of values."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import is_background, with_background
from deconvnet_cli.data.decoding import LABEL_FORMATS
from deconvnet_cli.data.label_colours import PACK
from deconvnet_cli.data.label_png import read_png
from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.datasets.export import Example, Export, class_notes, oriented_photo, splits_below
from deconvnet_cli.datasets.pairs import Pairs, files_below, pair
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

MAX_TABLE_BYTES = 1 << 20
Colour = tuple[int, int, int]
Reader = Callable[[Path], NDArray[np.uint8]]
MASK_FORMATS = (*LABEL_FORMATS, "TIFF")
MASK_SUFFIXES = (".png",), (".tif", ".tiff")  # the second if there are none of the first
MASK = "_mask"  # how the names of Roboflow's masks end
PHOTOS_REMEDY = "export with images, or say where they are with --photos DIR"
COLOUR_LINE = re.compile(r"(.{1,200}?)[\s,:]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})\s*(?::.*)?")
VOID = "void"  # a class of this name in a colour table is ignored, and CamVid's "Void" too


def open_coloured(masks: Path, photos: Path, table: Path, wanted: Sequence[str] | None) -> Export:
    """Open a folder of RGB masks, whose colours a table names.

    Raises:
        DatasetError: Something is missing, or the table cannot be read.
    """
    colours = read_colour_table(table)
    names = [name for name in colours if not is_background(name) and name.lower() != VOID]
    classes = with_background(names if wanted is None else wanted, str(masks))
    codes = {
        red << 16 | green << 8 | blue: (
            IGNORE if name.lower() == VOID else classes.index(name) if name in classes else 0
        )
        for name, (red, green, blue) in colours.items()
    }
    if len(codes) < len(colours):
        raise DatasetError(f"{masks}: two classes have one colour in the table; give each its own")
    codes.setdefault(0, 0)

    def labels_of(path: Path) -> NDArray[np.uint8]:
        image = read_png(path, formats=MASK_FORMATS)
        if image.mode[0] in "IF":
            raise DatasetError(f"{path}: has over 8 bits a pixel; save it with 8")
        packed = np.array(image.convert("RGB")) @ PACK
        words = "colour #{:06x} is of no class in the table; add it, or export without smooth edges"
        return _looked_up(packed, codes, path, words)

    notes = class_notes(names, classes)
    return _paired(_pairs(masks, photos), masks, classes, labels_of, "RGB masks", notes)


def open_roboflow(folder: Path, wanted: Sequence[str] | None) -> Export:
    """Open Roboflow's "Semantic Segmentation Masks": ``_classes.csv`` beside photos and masks.

    Raises:
        DatasetError: Something is missing or not of Roboflow's form.
    """
    tables = sorted(folder.rglob("_classes.csv"))
    if not tables:
        raise DatasetError(f"{folder}: no _classes.csv; export it as semantic segmentation masks")
    values = _pixel_values(tables[0])
    if any(_pixel_values(table) != values for table in tables[1:]):
        raise DatasetError(f"{folder}: its splits have different classes; export them together")
    classes = with_background(list(values.values()) if wanted is None else wanted, str(tables[0]))
    lookup = {
        value: classes.index(name) if name in classes else 0 for value, name in values.items()
    }
    masks = [path for path in files_below(folder, (".png",)) if path.stem.endswith(MASK)]
    homes = {table.parent for table in tables}
    for mask in masks:
        if not homes & {*mask.parents}:
            raise DatasetError(
                f"{mask}: no _classes.csv in its folder or above; export all splits again"
            )
    pairs = pair(masks, folder, folder, "put it beside its mask, or export again", MASK)

    def labels_of(path: Path) -> NDArray[np.uint8]:
        words = "value {} is of no class in the table; export again"
        return _looked_up(_values(path), lookup, path, words)

    notes = class_notes(values.values(), classes)
    return _paired(pairs, folder, classes, labels_of, "Roboflow's masks", notes)


def open_grey(masks: Path, photos: Path, wanted: Sequence[str] | None) -> Export:
    """Open a folder of grey masks, in which 0 is background.

    The values of several classes are 1, 2 ..., and 255 is ignored; that of one class is 1 or 255.

    Args:
        wanted: The names of the classes; "object" alone unless given.

    Raises:
        DatasetError: A mask or photo is missing.
    """
    classes = with_background(wanted or ["object"], str(masks))
    single = len(classes) == 2
    lookup = {**{label: label for label in range(len(classes))}, IGNORE: 1 if single else IGNORE}
    pairs = _pairs(masks, photos)

    def labels_of(path: Path) -> NDArray[np.uint8]:
        values = _values(path)
        if single and (values == 1).any() and (values == IGNORE).any():
            raise DatasetError(f"{path}: has 1 and 255, and one class has one value; remove one")
        words = (
            "value {} is of no class; give the names of the values 1, 2 ... with --classes FILE, "
            "or those of any values with --colours FILE (lines: cat 64 64 64); if they number the "
            "objects of one class, say --kind objects"
        )
        return _looked_up(values, lookup, path, words)

    # Some lists, such as CamVid's codes.txt, begin with the name of 0: this tells.
    values = f"value 0 is background, 1 is {classes[1]}, {len(classes) - 1} is {classes[-1]}"
    notes = () if single else (values,)
    return _paired(pairs, masks, classes, labels_of, "grey masks", notes)


def open_objects(masks: Path, photos: Path, wanted: Sequence[str] | None) -> Export:
    """Open a folder of grey masks whose values number the objects of one class; 0 is background.

    Args:
        wanted: The name of the class; "object" unless given.

    Raises:
        DatasetError: More than one class is named, or a mask or photo is missing.
    """
    classes = with_background(wanted or ["object"], str(masks))
    if len(classes) != 2:
        raise DatasetError(f"{masks}: numbered objects have one class, not {len(classes) - 1}")

    def labels_of(path: Path) -> NDArray[np.uint8]:
        labels: NDArray[np.uint8] = (_values(path) != 0).astype(np.uint8)
        return labels

    return _paired(_pairs(masks, photos), masks, classes, labels_of, "numbered objects")


def read_colour_table(path: Path) -> dict[str, Colour]:
    """Return the colour of each class from lines such as ``cat:64,0,0`` or ``cat 64 0 0``.

    CVAT's ``labelmap.txt`` is of this form; what follows the colour is not used.

    Raises:
        DatasetError: The file cannot be read, or a line names no class, one twice, or no colour.
    """
    try:
        text = read_whole(path, MAX_TABLE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a readable table of colours ({why(error)})") from error
    table: dict[str, Colour] = {}
    for line in text.split("\n"):
        if not line.strip() or line.startswith("#"):
            continue
        found = COLOUR_LINE.fullmatch(line.strip())
        if not found:
            raise DatasetError(f"{path}: {line.strip()!r} is no class with a colour: cat:64,0,0")
        name = found[1]
        red, green, blue = (int(part) for part in found.group(2, 3, 4))
        if max(red, green, blue) > 255:
            raise DatasetError(f"{path}: {line.strip()!r}: colours are 0 to 255")
        if name in table:
            raise DatasetError(f"{path}: {name!r} is there twice; leave one line of it")
        table[name] = red, green, blue
    return table


def _pixel_values(path: Path) -> dict[int, str]:
    """Return the name of each value of Roboflow's ``_classes.csv``."""
    try:
        rows = list(csv.reader(io.StringIO(read_whole(path, MAX_TABLE_BYTES).decode("utf-8-sig"))))
        return {int(value): name.strip() for value, name in rows[1:]}
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise DatasetError(f"{path}: not Roboflow's table of classes ({why(error)})") from error


def _values(path: Path) -> NDArray[np.uint8]:
    """Return the grey of each pixel, in a palette too if it has as many greys as indices."""
    image = read_png(path, formats=MASK_FORMATS)
    values = np.array(image.convert("L") if image.mode == "1" else image)
    if values.ndim == 2 and image.mode != "P":
        return values
    pixels = np.array(image.convert("RGBA"))
    greys = pixels[..., 0]
    grey = bool((pixels[..., :3] == greys[..., None]).all())
    if values.ndim == 2:
        return greys if grey and len(np.unique(greys)) == len(np.unique(values)) else values
    if not grey or (pixels[..., 3] < 255).any():
        raise DatasetError(
            f"{path}: a mask in mode {image.mode}, not palette or grey; save it so, or give its "
            "colours with --colours FILE (lines: cat 64 0 0)"
        )
    return greys


def _looked_up(
    values: NDArray[np.generic], lookup: Mapping[int, int], path: Path, wrong: str
) -> NDArray[np.uint8]:
    """Return the labels of values; DatasetError names one that is ``wrong``, as no class has it."""
    known, where = np.unique(values, return_inverse=True)
    for value in known.tolist():
        if value not in lookup:
            raise DatasetError(f"{path}: {wrong.format(value)}")
    labels = np.array([lookup[value] for value in known.tolist()], np.uint8)
    return labels[where].reshape(values.shape)


def _pairs(masks: Path, photos: Path) -> Pairs:
    """Return photo and mask by name; every mask must have its photo."""
    for suffixes in MASK_SUFFIXES:
        if files := files_below(masks, suffixes, (photos,)):
            break
    else:
        raise DatasetError(f"{masks}: no masks (.png or .tif); labels do not survive JPEG")
    return pair(files, masks, photos, PHOTOS_REMEDY)


def _paired(
    pairs: Pairs,
    root: Path,
    classes: tuple[str, ...],
    labels_of: Reader,
    kind: str,
    notes: tuple[str, ...] = (),
) -> Export:
    def read(name: str) -> Example:
        file, path = pairs.found[name]
        mask = labels_of(path)
        photo, content = oriented_photo(file, mask.shape[::-1], str(file))
        return Example(photo, content, mask)

    names = tuple(sorted(pairs.found))
    splits, more = splits_below(root, {name: pairs.found[name][1] for name in names})
    return Export(kind, classes, names, read, splits, (*notes, *more), pairs.unmasked)
