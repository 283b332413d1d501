"""The PASCAL VOC 2012 devkit: class names, colours, lists, images and masks.

A tree of one's own has the same folders, and its classes in ``classes.txt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import FILE, first_difference, in_short, read_classes
from deconvnet_cli.data.faults import require_no_faults
from deconvnet_cli.data.notes import note
from deconvnet_cli.data.voc_lists import (
    MASKS,
    PHOTOS,
    leads_out,
    listed_names,
    note_twins,
    paired_names,
    photos_by_name,
)
from deconvnet_cli.errors import DatasetError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
LISTS = "ImageSets/Segmentation"
IGNORE = 255  # the rim around objects, and crowds: not used in training or evaluation


def palette() -> NDArray[np.uint8]:
    """Return VOC's colour map, uint8 256 x 3.

    Bits 0, 3 and 6 of a label are the highest bits of R, bits 1, 4 and 7 those of G, and bits 2
    and 5 those of B. So neighbouring labels get very different colours.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        colours[:, channel] |= (((labels >> bit) & 1) << place).astype(np.uint8)
    return colours


@dataclass(frozen=True)
class VocTree:
    """The ``VOC2012/`` folder of a devkit, or a tree of one's own.

    Attributes:
        root: The folder.
        classes: The names of the labels in the masks, in order.
        rgb: Whether masks in the classes' colours (RGB) are read as well as indices.
    """

    root: Path
    classes: tuple[str, ...] = CLASSES
    rgb: bool = False

    @cached_property
    def _listed(self) -> dict[Path, dict[str, list[Path]]]:
        return {}  # folders of photos, each of which is read once

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        return {}  # of lists, each of which is read once

    def photos(self, name: str) -> list[Path]:
        """Return the photos called ``name``, the one that is taken first; there should be one."""
        path = self.root / PHOTOS / name
        if path.parent not in self._listed:
            if not path.parent.is_dir():
                return []
            self._listed[path.parent] = photos_by_name(path.parent)
        return self._listed[path.parent].get(path.name, [])

    def image(self, name: str) -> Path:
        """Return the path of the photo called ``name``; ``NAME.jpg`` if it is missing."""
        return next(iter(self.photos(name)), self.root / PHOTOS / f"{name}.jpg")

    def mask(self, name: str) -> Path:
        """Return the path of the label PNG called ``name``."""
        return self.root / MASKS / f"{name}.png"

    def names(self, split: str) -> list[str]:
        """Return the image names of one list, in its order; it is read once.

        Without any list they are those that have a photo and a mask.

        Raises:
            DatasetError: The list is missing or empty, or some of its images or masks are missing.
        """
        if split not in self._names:
            self._names[split] = self._read(split)
        return self._names[split]

    def _read(self, split: str) -> list[str]:
        path = self.root / LISTS / f"{split}.txt"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.txt"))
            if not known:
                return self._pairs()
            raise DatasetError(f"{path}: no such list; there are: {', '.join(known)}")
        names = listed_names(path, lambda name: self.image(name).is_file())
        missing = []
        for name in dict.fromkeys(names):
            if leads_out(name):
                raise DatasetError(f"{path}: {name} leads out of the tree; list names of images")
            if gone := [str(f) for f in (self.image(name), self.mask(name)) if not f.is_file()]:
                missing.append(DatasetError(f"{' and '.join(gone)}: missing, but named in {path}"))
        require_no_faults(missing, path)
        note_twins(map(self.photos, names))
        return names

    def _pairs(self) -> list[str]:
        names, alone = paired_names(self.root)
        if not names:
            raise DatasetError(f"{self.root}: no photo with a mask of its name")
        rest = f"; {len(alone)} files without the other, such as {alone[0].name}" if alone else ""
        note(f"{self.root}: has no lists, so all {len(names)} photos with masks are taken{rest}")
        note_twins(map(self.photos, names))
        return names


def require_classes(tree: VocTree, classes: Sequence[str], source: str) -> None:
    """Raise DatasetError, which names both, unless the tree has these classes of ``source``."""
    if tuple(classes) != tree.classes:
        raise DatasetError(
            f"{source} has {in_short(classes)}, but {tree.root} has {in_short(tree.classes)}; "
            f"{first_difference(classes, tree.classes)}; give weights and a tree of the same "
            f"classes (a tree without {FILE} has VOC's)"
        )


def open_tree(folder: Path, *, rgb: bool = False) -> VocTree:
    """Return the tree at ``folder``, which is ``VOC2012/`` or the devkit folder above it.

    Its classes are those of its ``classes.txt``, or VOC's without one; ``rgb`` is as in
    :class:`VocTree`.

    Raises:
        DatasetError: Neither has JPEGImages and SegmentationClass, or its ``classes.txt`` is wrong.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; check the path")
    parts = (PHOTOS, MASKS)
    for root in (folder, folder / "VOC2012", folder / "VOCdevkit" / "VOC2012"):
        if all((root / part).is_dir() for part in parts):
            file = root / FILE
            return VocTree(root, read_classes(file) if file.is_file() else CLASSES, rgb)
    missing = next(part for part in parts if not (folder / part).is_dir())
    raise DatasetError(
        f"{folder}: not a VOC tree, {missing}/ is missing; give the devkit's VOC2012/ folder"
    )
