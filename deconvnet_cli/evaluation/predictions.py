"""Check label PNGs of any tool against the masks of a list, and read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.decoding import Undecodable, UnknownFormat
from deconvnet_cli.data.label_png import LABEL_MODES, WrongSize, read_mask, read_png
from deconvnet_cli.data.voc import CLASSES, IGNORE, VocTree
from deconvnet_cli.errors import DatasetError


@dataclass(frozen=True)
class Problems:
    """The problems of a folder of label PNGs; both lists are empty if it has none.

    Attributes:
        missing: The names without a PNG.
        wrong: One line for each PNG that cannot be used: file, problem and remedy.
    """

    missing: list[str]
    wrong: list[str]


def problems_of(folder: Path, tree: VocTree, names: Iterable[str]) -> Problems:
    """Find all label PNGs that are missing or cannot be used.

    A PNG must be palette or grey, of its mask's size, with labels of the tree's classes; any label
    is accepted where the mask is void. Files are read one at a time, each once.

    Args:
        folder: The folder, with NAME.png for each name.
        tree: The VOC tree with the masks.
        names: The names of the images to evaluate.

    Raises:
        DatasetError: The folder does not exist, or a mask of the tree is missing or wrong.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give the one with the label PNGs")
    missing: list[str] = []
    wrong: list[str] = []
    for name in names:
        path = folder / f"{name}.png"
        if not path.is_file():
            missing.append(name)
            continue
        truth = read_mask(tree.mask(name), tree.classes)
        try:
            read_prediction(path, truth, tree.classes)
        except DatasetError as problem:
            wrong.append(str(problem))
    return Problems(missing, wrong)


def read_prediction(
    path: Path, truth: NDArray[np.uint8], classes: Sequence[str] = CLASSES
) -> NDArray[np.uint8]:
    """Read the labels of one PNG, uint8 H x W.

    Args:
        path: The PNG.
        truth: The mask of the image, H x W; any label is accepted where it is void.
        classes: The names of the labels, in order.

    Raises:
        DatasetError: The PNG cannot be used; the error names the problem and the remedy.
    """
    try:
        return _read(path, truth, classes)
    except _Wrong as problem:
        raise DatasetError(f"{path}: {problem}") from problem


class _Wrong(Exception):
    """The problem of one PNG, and the remedy; it never leaves this module."""


def _read(path: Path, truth: NDArray[np.uint8], classes: Sequence[str]) -> NDArray[np.uint8]:
    """The labels; _Wrong if they cannot be scored against ``truth`` (H x W)."""
    height, width = truth.shape
    try:
        image = read_png(path, (width, height))
    except WrongSize as found:
        raise _Wrong(
            f"{found.width}x{found.height} pixels, but its mask has {width}x{height}; "
            "save labels in the size of the photo"
        ) from None
    except OSError as error:
        raise _Wrong(f"cannot be read ({error.strerror})") from error
    except UnknownFormat:
        raise _Wrong("not a PNG; save labels as 8-bit palette or grey PNG") from None
    except Undecodable as error:
        raise _Wrong(f"damaged PNG ({error}); write it again") from error
    _check_mode(image, classes)
    labels: NDArray[np.uint8] = np.array(image)
    _check_labels(labels, truth, len(classes))
    return labels


def _check_mode(image: Image.Image, classes: Sequence[str]) -> None:
    if image.mode in LABEL_MODES:
        return
    what = f"mode {image.mode}"
    if image.mode in ("RGB", "RGBA"):
        whose = "VOC's" if tuple(classes) == CLASSES else "the classes'"
        all_known = _only_known_colours(np.asarray(image)[..., :3], classes)
        what += f", in {whose} colours" if all_known else f", in colours that are not all {whose}"
    raise _Wrong(f"{what}; save label indices (8-bit palette or grey PNG), not colours")


def _only_known_colours(pixels: NDArray[np.uint8], classes: Sequence[str]) -> bool:
    """Return whether all colours, H x W x 3, are those of the classes or of void."""
    colours = palette_for(classes)[[*range(len(classes)), IGNORE]]
    weights = np.array([65536, 256, 1])  # of red, green and blue in one number
    return bool(np.isin(pixels @ weights, colours @ weights).all())


def _check_labels(labels: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> None:
    counted = labels[truth != IGNORE]
    wrong = counted[counted >= classes]
    if not wrong.size:
        return
    which = ", ".join(str(label) for label in np.unique(wrong)[:5])
    raise _Wrong(
        f"{wrong.size} pixels have no class but label {which}; save a label "
        f"0..{classes - 1} wherever the mask is not void"
    )
