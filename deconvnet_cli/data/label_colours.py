"""The labels of masks by their colours, as programs that shrink PNGs put palettes in another order.

Known colours are those of the classes and, for classes of one's own, VOC's of the same labels, in
which many tools write masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.colours import own_palette, palette_for
from deconvnet_cli.data.voc import CLASSES, IGNORE, palette

COLOURED = ("RGB", "RGBA")
GREY = 0x010101
PACK = np.array([65536, 256, 1])  # red, green and blue in one number
BINARY = "`deconvnet dataset import --kind grey` makes 255 a class"
IMPORT = "`deconvnet dataset import --colours TABLE` makes label PNGs of them"
Labels = Mapping[int, int]  # by colour, packed


class WrongColours(Exception):
    """A mask whose colours or mode say no labels; the message ends with the remedy."""


def labels_of(
    image: Image.Image, classes: Sequence[str], *, rgb: bool = False
) -> NDArray[np.uint8]:
    """Return the labels of a decoded PNG, uint8 H x W; they may be beyond the classes.

    A palette is read by its colours if all that are used are known. A palette of greys is read by
    these if all of them are labels, as in a grey PNG that was shrunk, and else by its indices.

    Args:
        image: The decoded PNG in its own mode.
        rgb: Whether RGB images are read as well, by the known colours.

    Raises:
        WrongColours: The palette has other colours, or the mode is not read.
    """
    labels: NDArray[np.uint8]
    if image.mode == "P":
        return _from_palette(image, classes)
    if image.mode == "L":
        labels = np.array(image)
        return labels
    if image.mode == "1" and not np.array(image).any():  # a shrunk mask of background alone
        return np.zeros((image.height, image.width), np.uint8)
    if image.mode not in COLOURED:
        binary = f", not black and white; {BINARY}" if image.mode == "1" else ""
        raise WrongColours(
            f"mode {image.mode}; save label indices (8-bit palette or grey PNG){binary}"
        )
    packed = np.asarray(image)[..., :3] @ PACK
    whose = "VOC's" if tuple(classes) == CLASSES else "the classes'"
    used = np.unique(packed).tolist()
    tables = _known(classes)
    table = next((table for table in tables if table.keys() >= set(used)), None)
    if table is not None and rgb:
        return _looked_up(packed, {code: table[code] for code in used})
    if table is not None:
        raise WrongColours(
            f"mode {image.mode}, in {whose} colours; save label indices (8-bit palette or grey "
            "PNG), not colours, or have these read by --rgb"
        )
    other = next(code for code in used if code not in tables[0])
    raise WrongColours(
        f"mode {image.mode}, in colours that are not all {whose}, as #{other:06x}; save label "
        f"indices (8-bit palette or grey PNG), not colours; {IMPORT}"
    )


def instances_of(image: Image.Image) -> NDArray[np.generic]:
    """Return the pixels of a PNG of instances, with background 0 and void 255 by their colours.

    The numbers of the instances may be others than in the file, where VOC's palette is reordered.
    """
    pixels = np.array(image)
    colours = image.getpalette() if image.mode == "P" else None
    if not colours:
        return pixels
    packed = (np.array(colours).reshape(-1, 3) @ PACK).tolist()
    used = np.unique(pixels).tolist()
    for codes in ((palette() @ PACK).tolist(), range(0, GREY * 256, GREY)):
        lookup = _by_colour(used, packed, {code: label for label, code in enumerate(codes)})
        if lookup is not None:
            return _looked_up(pixels, lookup)
    return pixels


def _known(classes: Sequence[str]) -> list[Labels]:
    """Return the labels by colour in each palette that masks of these classes may have."""
    labels = [*range(len(classes)), IGNORE]
    palettes = [palette_for(classes)]
    if tuple(classes) != CLASSES:
        palettes.append(palette())
    return [
        dict(zip((colours[labels] @ PACK).tolist(), labels, strict=True)) for colours in palettes
    ]


def _from_palette(image: Image.Image, classes: Sequence[str]) -> NDArray[np.uint8]:
    indices: NDArray[np.uint8] = np.array(image)
    colours = np.array(image.getpalette() or (), np.int64).reshape(-1, 3)
    used = np.unique(indices).tolist()
    packed = (colours @ PACK).tolist()
    last = max((label for label in used if label != IGNORE), default=0)
    # Labels beyond own classes have colours too: they are told as labels without a name.
    are_own = tuple(classes) != CLASSES
    own = own_palette(max(len(classes), last + 1)) if are_own else palette()
    for usual in (own, palette()):
        if used[-1] < len(packed) and (usual[used] == colours[used]).all():
            return indices
    tables = _known(classes)
    if (colours == colours[:, :1]).all() and not any(
        table.keys() >= set(packed) for table in tables
    ):
        labels = [*range(len(classes)), IGNORE]
        by_grey = {GREY * label: label for label in labels}
        if not by_grey.keys() >= set(packed) or packed == [0, GREY * IGNORE]:
            return indices
        tables = [by_grey]
    for table in tables:
        lookup = _by_colour(used, packed, table)
        if lookup is not None:
            return _looked_up(indices, lookup)
    foreign = [
        index for index in used if packed[index : index + 1] and packed[index] not in tables[0]
    ]
    other = (foreign or used)[0]
    # A tree without classes.txt has VOC's: whoever has lost that file sees why.
    whose = "the classes" if are_own else "VOC's classes"
    raise WrongColours(
        f"its palette has other colours than {whose}, as #{packed[other]:06x} at {other}; save "
        f"label indices as a grey PNG if they are right; otherwise, {IMPORT}"
    )


def _by_colour(used: Sequence[int], packed: Sequence[int], table: Labels) -> Labels | None:
    """Return the label of each used index; None if a colour is of no class.

    An index has no colour of its own if the palette ends before it, or has its colour earlier: so
    tools fill up palettes. It stays as it is if all the others do. So does void, which is
    white in some masks.
    """
    lookup: dict[int, int] = {}
    bare = []
    for index in used:
        if index >= len(packed) or packed.index(packed[index]) < index:
            bare.append(index)
        elif packed[index] in table:
            lookup[index] = table[packed[index]]
        elif index == IGNORE:
            bare.append(index)
        else:
            return None
    if bare and any(index != label for index, label in lookup.items()):
        return None
    return lookup | {index: index for index in bare}


def _looked_up(values: NDArray[np.integer], lookup: Labels) -> NDArray[np.uint8]:
    """Return the label of each value; the lookup has all of them."""
    codes = np.array(sorted(lookup))
    labels = np.array([lookup[code] for code in codes.tolist()], np.uint8)
    found: NDArray[np.uint8] = labels[np.searchsorted(codes, values)]
    return found
