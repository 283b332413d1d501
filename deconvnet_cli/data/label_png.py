"""The one reader and the one writer of label PNGs.

Every PNG of labels is read through :func:`read_png`: masks of a tree, maps of instances,
predictions of other tools and files of a submission. The callers differ in what they accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.decoding import (
    LABEL_FORMATS,
    MAX_BYTES,
    Undecodable,
    UnknownFormat,
    identify,
    load,
)
from deconvnet_cli.data.images import DRAWN, png_bytes
from deconvnet_cli.data.label_colours import WrongColours, labels_of
from deconvnet_cli.data.png_chunks import SIGNATURE
from deconvnet_cli.data.voc import CLASSES, IGNORE, VocTree, palette
from deconvnet_cli.errors import DatasetError, why
from deconvnet_cli.storage.files import read_whole

LABEL_PNG, DRAWN_PICTURE = "label PNG", "drawn picture"  # kinds that this package makes of photos
HEAD = 2048  # bytes of a PNG that have its texts and its palette
FIRST_COLOURS = 8  # generated colours after which a palette is known
SAVE_IT_SO = "save labels as 8-bit palette or grey PNG in the size of the photo"


def png_head(path: Path) -> bytes:
    """Return the first ``HEAD`` bytes of a file; none of a pipe, or if it cannot be read.

    Who reads the file whole reports that.
    """
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return file.read(HEAD)
    except OSError:
        pass
    return b""


def made_kind(head: bytes) -> str:
    """Return the kind of a PNG with this head that is no photo, or "" for all other files."""
    if has_label_palette(head):
        return LABEL_PNG
    return DRAWN_PICTURE if head.startswith(SIGNATURE) and b"tEXt" + DRAWN in head else ""


def has_label_palette(head: bytes) -> bool:
    """Return whether a file with this head is a PNG with VOC's palette or that of own classes."""
    _, mark, rest = head.partition(b"PLTE")
    if not (head.startswith(SIGNATURE) and mark and len(rest) >= 768):
        return False
    colours = np.frombuffer(rest[:768], np.uint8).reshape(256, 3)
    if (colours == palette()).all():
        return True
    count = int(np.append(colours[1:IGNORE].any(axis=1), False).argmin()) + 1
    known = min(count, FIRST_COLOURS)
    own = palette_for([str(label) for label in range(known)])
    own[known:count] = colours[known:count]
    return count > 1 and bool((colours == own).all())


def read_png(
    path: Path,
    size: tuple[int, int] | None = None,
    remedy: str = SAVE_IT_SO,
    formats: Sequence[str] = LABEL_FORMATS,
) -> Image.Image:
    """Return the decoded image of a PNG in its own mode: palette, grey or any other.

    Args:
        size: The width and height of its photo, which it must have. They are checked before any
            pixel is decoded. None accepts all sizes.
        remedy: What to do about a PNG that cannot be used, for errors.
        formats: The formats that are accepted, by Pillow's names.

    Raises:
        DatasetError: The file cannot be read, is in none of the formats, is damaged, or has another
            size.
    """
    image: Image.Image
    try:
        with identify(read_whole(path, MAX_BYTES), formats) as image:
            if size is not None and image.size != size:
                raise DatasetError(
                    f"{path}: {image.width}x{image.height} pixels, "
                    f"but its photo has {size[0]}x{size[1]}; {remedy}"
                )
            load(image)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such label PNG") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except UnknownFormat as error:
        raise DatasetError(f"{path}: not a {' or '.join(formats)}; {remedy}") from error
    except Undecodable as error:
        raise DatasetError(f"{path}: not a readable PNG ({error}); {remedy}") from error
    return image


def read_labels(
    path: Path,
    classes: Sequence[str],
    *,
    rgb: bool = False,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Return the labels of a PNG, uint8 H x W; they may be beyond the classes.

    Args:
        rgb: Whether PNGs in the classes' colours (RGB) are read as well.
        size: See :func:`read_png`.

    Raises:
        DatasetError: See :func:`read_png`; or the file has other modes or colours.
    """
    image = read_png(path, size)
    try:
        return labels_of(image, classes, rgb=rgb)
    except WrongColours as error:
        raise DatasetError(f"{path}: {error}") from error


def read_mask(
    path: Path,
    classes: Sequence[str] = CLASSES,
    *,
    rgb: bool = False,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Return the labels of a ground-truth PNG, uint8 H x W: places in ``classes``; 255 is void.

    Raises:
        DatasetError: See :func:`read_labels`; or a label is beyond the classes.
    """
    mask = read_labels(path, classes, rgb=rgb, size=size)
    wrong = (mask >= len(classes)) & (mask != IGNORE)
    if wrong.any():
        raise DatasetError(
            f"{path}: label {mask[wrong][0]}; labels are 0..{len(classes) - 1} and 255; "
            "name its class in the tree's classes.txt, or correct the mask"
        )
    return mask


def tree_mask(tree: VocTree, name: str, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Return the mask of a photo of a tree, as :func:`read_mask` does."""
    return read_mask(tree.mask(name), tree.classes, rgb=tree.rgb, size=size)


def label_png(labels: NDArray[np.uint8], classes: Sequence[str] = CLASSES) -> bytes:
    """Return uint8 H x W labels as a palette PNG in the colours of the classes (VOC's own)."""
    image = Image.fromarray(labels, mode="L")
    image.putpalette(palette_for(classes).tobytes())
    return png_bytes(image)
