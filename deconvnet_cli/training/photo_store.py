"""The photos, masks and soft labels of a run: in files, or decoded once and held in memory.

In memory, or on a GPU, all photos lie one after the other in a single uint8 tensor, and so do masks
and soft labels: one allocation each, which processes can share and a GPU can gather from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.data.objects import read_photo_and_mask, upright_size
from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.runtime.cores import cores
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.training.soft_labels import read_soft, soft_path


@dataclass(frozen=True)
class PhotoFiles:
    """The photos, masks and soft labels of a tree by name, read anew each time.

    Attributes:
        tree: The VOC tree.
        teacher: The folder of soft labels, or None.
        sizes: The sizes that were read already, by name.
    """

    tree: VocTree
    teacher: Path | None = None
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def size(self, name: str) -> tuple[int, int]:
        """Return the width and height of a photo, pixels.

        Raises:
            ImageError: The photo cannot be read.
        """
        if name not in self.sizes:
            self.sizes[name] = upright_size(self.tree.image(name))
        return self.sizes[name]

    def photo_and_mask(self, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
        """Return a photo, mode RGB, and its mask, uint8 H x W.

        Raises:
            ImageError: The photo cannot be read.
            DatasetError: The mask cannot be read or has another size.
        """
        return read_photo_and_mask(self.tree, name)

    def soft_labels(self, name: str) -> NDArray[np.uint8]:
        """Return the soft labels of a photo, uint8 C x h x w, 255 times the probabilities.

        Raises:
            DatasetError: They are missing or damaged.
            ValueError: There is no teacher (an error of the caller).
        """
        if self.teacher is None:
            raise ValueError("no folder of soft labels")
        return read_soft(soft_path(self.teacher, name)).probabilities


@dataclass(frozen=True, eq=False)
class PhotoStore:
    """The photos, masks and soft labels of a run by name, decoded, flat.

    Attributes:
        index: The number of each photo by name.
        sizes: int64 P x 2, width and height of each photo, pixels.
        starts: int64 P, where the pixels of each photo begin among those of all.
        pixels: uint8 T x 3, RGB, row by row, photo by photo.
        masks: uint8 T, the labels of the same pixels.
        soft_sizes: int64 P x 2, width and height of each photo's soft labels, in cells.
        soft_starts: int64 P, where the cells of each photo begin.
        soft: uint8 U x C, probabilities times 255, cell by cell; None without a teacher.
    """

    index: dict[str, int]
    sizes: Tensor
    starts: Tensor
    pixels: Tensor
    masks: Tensor
    soft_sizes: Tensor
    soft_starts: Tensor
    soft: Tensor | None = None

    def size(self, name: str) -> tuple[int, int]:
        """Return the width and height of a photo, pixels."""
        width, height = self.sizes[self.index[name]].tolist()
        return width, height

    def photo_and_mask(self, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
        """Return a photo (RGB) and its mask, as ``objects.read_photo_and_mask`` reads them."""
        number = self.index[name]
        width, height = self.sizes[number].tolist()
        first = int(self.starts[number])
        rows = slice(first, first + width * height)
        photo = self.pixels[rows].view(height, width, 3).numpy()
        return Image.fromarray(photo), self.masks[rows].view(height, width).numpy()

    def soft_labels(self, name: str) -> NDArray[np.uint8]:
        """Return the soft labels of a photo, uint8 C x h x w.

        Raises:
            ValueError: The store has no soft labels (an error of the caller).
        """
        if self.soft is None:
            raise ValueError("no soft labels in this store")
        number = self.index[name]
        width, height = self.soft_sizes[number].tolist()
        first = int(self.soft_starts[number])
        cells = self.soft[first : first + width * height].view(height, width, -1)
        return cells.permute(2, 0, 1).numpy()

    def to(self, device: torch.device) -> PhotoStore:
        """Return the store with its large tensors on a device; sizes and starts stay here."""
        soft = None if self.soft is None else self.soft.to(device)
        pixels, masks = self.pixels.to(device), self.masks.to(device)
        return replace(self, pixels=pixels, masks=masks, soft=soft)


PhotoSource = PhotoFiles | PhotoStore


def load_photos(
    files: PhotoFiles, names: Sequence[str], on_photo: Callable[[], None] = lambda: None
) -> PhotoStore:
    """Decode photos, masks and soft labels, on all cores.

    Args:
        names: The names of the photos, each once.
        on_photo: Called after each photo.

    Raises:
        ImageError: A photo cannot be read.
        DatasetError: A mask or soft labels are missing, damaged or of another size.
    """

    def read(name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8] | None]:
        photo, mask = files.photo_and_mask(name)
        soft = None if files.teacher is None else files.soft_labels(name)
        return np.asarray(photo), mask, soft

    photos, masks, softs = [], [], []
    for _, result in in_order(names, read, cores()):
        photo, mask, soft = result()
        photos.append(photo)
        masks.append(mask)
        if soft is not None:
            softs.append(soft.transpose(1, 2, 0))
        on_photo()
    sizes = _sizes(photos)
    soft_sizes = _sizes(softs) if softs else torch.zeros(len(names), 2, dtype=torch.int64)
    return PhotoStore(
        index={name: number for number, name in enumerate(names)},
        sizes=sizes,
        starts=_starts(sizes),
        pixels=_flat(photos, 3),
        masks=_flat(masks, 1)[:, 0],
        soft_sizes=soft_sizes,
        soft_starts=_starts(soft_sizes),
        soft=_flat(softs, softs[0].shape[2]) if softs else None,
    )


def _sizes(arrays: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return widths and heights, int64 P x 2, of arrays H x W x channels."""
    return torch.tensor([[array.shape[1], array.shape[0]] for array in arrays], dtype=torch.int64)


def _starts(sizes: Tensor) -> Tensor:
    """Return where each of some pictures begins, int64 P, if they lie one after the other."""
    areas = sizes.prod(1)
    return areas.cumsum(0) - areas


def _flat(arrays: list[NDArray[np.uint8]], channels: int) -> Tensor:
    """Return pictures as one tensor, pixel by pixel; the list is emptied on the way."""
    total = sum(array.size // channels for array in arrays)
    flat = torch.empty(total, channels, dtype=torch.uint8)
    first = 0
    while arrays:
        rows = arrays.pop(0).reshape(-1, channels)
        flat.numpy()[first : first + len(rows)] = rows
        first += len(rows)
    return flat
