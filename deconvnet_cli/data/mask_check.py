"""The faults of all masks of a list at once, so that a person mends them in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.faults import require_no_faults
from deconvnet_cli.data.label_colours import BINARY
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.notes import note
from deconvnet_cli.data.voc import IGNORE, VocTree
from deconvnet_cli.errors import DatasetError, DeconvnetError, ImageError


def is_binary(labels: NDArray[np.uint8]) -> bool:
    """Return whether these are 0 and 255 alone: 255 is then meant as a class, not as void."""
    return bool(np.array_equal(np.flatnonzero(np.bincount(labels.ravel())), (0, IGNORE)))


class Faults:
    """The faults of the photos and masks of a list.

    Attributes:
        root: The folder of the tree.
        errors: The faults.
        binary: The masks of 0 and 255 alone.
        good: How many masks have another class, or nothing but background or void.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.errors: list[DeconvnetError] = []
        self.binary: list[Path] = []
        self.good = 0

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep a fault of one photo or mask instead of ending at it."""
        try:
            yield
        except (DatasetError, ImageError) as error:
            self.errors.append(error)

    def look_at(self, path: Path, mask: NDArray[np.uint8]) -> None:
        """Remember whether a mask has 0 and 255 alone."""
        if is_binary(mask):
            self.binary.append(path)
        else:
            self.good += 1

    def require_none(self) -> None:
        """Raise an error of all faults, see :func:`deconvnet_cli.data.faults.require_no_faults`.

        Masks of 0 and 255 alone are an error if all are so; some are worth a line.

        Raises:
            DatasetError: There are several faults, or masks of 0 and 255 alone.
            ImageError: A single photo cannot be read.
        """
        require_no_faults(self.errors, self.root)
        if not self.binary:
            return
        what = f"{self.binary[0]}: has 0 and 255 alone, and 255 is ignored"
        others = f" ({len(self.binary)} masks are so)" if len(self.binary) > 1 else ""
        if not self.good:
            raise DatasetError(f"{what}{others}; {BINARY}")
        note(f"{what}{others}; if 255 is meant as a class, {BINARY}")


def require_masks(
    tree: VocTree, names: Iterable[str], on_mask: Callable[[], None] = lambda: None
) -> None:
    """Raise an error that names the masks of these photos that cannot be used, if any.

    Raises:
        DatasetError: Masks are missing or wrong.
    """
    faults = Faults(tree.root)
    for name in names:
        with faults.noted():
            faults.look_at(tree.mask(name), tree_mask(tree, name))
        on_mask()
    faults.require_none()
