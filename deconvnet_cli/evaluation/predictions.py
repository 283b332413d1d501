"""The label PNGs of any tool for the photos of a list: found, checked against the masks, read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.label_png import read_labels, tree_mask
from deconvnet_cli.data.mask_check import Faults, is_binary
from deconvnet_cli.data.voc import CLASSES, IGNORE, VocTree
from deconvnet_cli.errors import DatasetError


@dataclass(frozen=True)
class Predictions:
    """The label PNGs of a folder, and their problems.

    Attributes:
        files: The PNG of each name that has one.
        missing: The names without a PNG.
        wrong: One line for each PNG that cannot be used: file, problem and remedy.
    """

    files: dict[str, Path]
    missing: list[str]
    wrong: list[str]


def find_predictions(folder: Path, tree: VocTree, names: Sequence[str]) -> Predictions:
    """Find the label PNGs of a list, and all that are missing or cannot be used.

    A PNG must be palette or grey, of its mask's size, with labels of the tree's classes; any label
    is accepted where the mask is void. Files are read one at a time, each once.

    Args:
        folder: The folder, which or whose subfolders have NAME.png for each name.

    Raises:
        DatasetError: The folder does not exist, two PNGs in subfolders are of one name, or masks
            of the tree are missing or wrong.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; give the one with the label PNGs")
    found = Predictions({}, [], [])
    masks = Faults(tree.root)
    for name, path in files_of_names(folder, names, ".png").items():
        if not path.is_file():
            found.missing.append(name)
            continue
        found.files[name] = path
        with masks.noted():
            truth = tree_mask(tree, name)
            masks.look_at(tree.mask(name), truth)
            try:
                read_prediction(path, truth, tree.classes, rgb=tree.rgb)
            except DatasetError as problem:
                found.wrong.append(str(problem))
    masks.require_none()
    return found


def read_prediction(
    path: Path,
    truth: NDArray[np.uint8],
    classes: Sequence[str] = CLASSES,
    *,
    rgb: bool = False,
) -> NDArray[np.uint8]:
    """Read the labels of one PNG, uint8 H x W.

    Args:
        truth: The mask of the photo, H x W; any label is accepted where it is void.
        rgb: Whether PNGs in the classes' colours (RGB) are read as well.

    Raises:
        DatasetError: The PNG cannot be used; the error names the problem and the remedy.
    """
    height, width = truth.shape
    labels = read_labels(path, classes, rgb=rgb, size=(width, height))
    counted = labels[truth != IGNORE]
    wrong = counted[counted >= len(classes)]
    if wrong.size:
        which = ", ".join(str(label) for label in np.unique(wrong)[:5])
        binary = "; it has 0 and 255 alone, so save the label of the class in place of 255"
        raise DatasetError(
            f"{path}: {wrong.size} pixels have no class but label {which}; save a label "
            f"0..{len(classes) - 1} wherever the mask is not void"
            f"{binary if is_binary(labels) else ''}"
        )
    return labels


def files_of_names(folder: Path, names: Sequence[str], suffix: str) -> dict[str, Path]:
    """Return the path of each name: ``NAME`` with the suffix in the folder, whether or not there.

    If the folder has none of them, those in its subfolders are taken, where `batch` puts them for
    a list of photos in folders.

    Raises:
        DatasetError: Two files in subfolders are of one name.
    """
    files = {name: folder / f"{name}{suffix}" for name in names}
    if any(path.is_file() for path in files.values()):
        return files
    ends = {path.relative_to(folder).as_posix(): name for name, path in files.items()}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{suffix}")):
        parts = path.relative_to(folder).parts
        for start in range(1, len(parts)):
            name = ends.get("/".join(parts[start:]))
            if name is None:
                continue
            other = found.setdefault(name, path)
            if other != path:
                raise DatasetError(
                    f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)} are "
                    f"both of {name}; give the folder of one of them"
                )
    return files | found
