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
        """Return the soft labels of a photo by the teacher, uint8 C x h x w, 255 for 1.

        Raises:
            DatasetError: They are missing or damaged.
            ValueError: There is no teacher (an error of the caller).
        """
        if self.teacher is None:
            raise ValueError("no folder of soft labels")
        return read_soft(soft_path(self.teacher, name)).probabilities


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of several sizes in one tensor, row by row, one after the other.

    Attributes:
        sizes: int64 P x 2, width and height of each picture, pixels.
        starts: int64 P, where the pixels of each picture begin among those of all.
        values: uint8 T x C, the pixels of all.
    """

    sizes: Tensor
    starts: Tensor
    values: Tensor

    def one(self, number: int) -> NDArray[np.uint8]:
        """Return a picture by its number, uint8 H x W x C."""
        width, height = self.sizes[number].tolist()
        first = int(self.starts[number])
        return self.values[first : first + width * height].view(height, width, -1).numpy()

    def to(self, device: torch.device) -> Pictures:
        """Return them with their pixels on a device; sizes and starts stay here."""
        return replace(self, values=self.values.to(device))


@dataclass(frozen=True, eq=False)
class PhotoStore:
    """The photos, masks and soft labels of a run by name, decoded.

    Attributes:
        index: The number of each photo by name.
        photos: RGB.
        masks: The labels of the same pixels, one channel.
        soft: Probabilities times 255, C channels, a cell a pixel; None without a teacher.
    """

    index: dict[str, int]
    photos: Pictures
    masks: Pictures
    soft: Pictures | None = None

    def size(self, name: str) -> tuple[int, int]:
        """Return the width and height of a photo, pixels."""
        width, height = self.photos.sizes[self.index[name]].tolist()
        return width, height

    def photo_and_mask(self, name: str) -> tuple[Image.Image, NDArray[np.uint8]]:
        """Return a photo (RGB) and its mask, as ``objects.read_photo_and_mask`` reads them."""
        number = self.index[name]
        return Image.fromarray(self.photos.one(number)), self.masks.one(number)[..., 0]

    def soft_labels(self, name: str) -> NDArray[np.uint8]:
        """Return the soft labels of a photo by the teacher, uint8 C x h x w.

        Raises:
            ValueError: See :meth:`required_soft`.
        """
        return np.transpose(self.required_soft().one(self.index[name]), (2, 0, 1))

    def required_soft(self) -> Pictures:
        """Return the soft labels of all photos.

        Raises:
            ValueError: The store has none (an error of the caller).
        """
        if self.soft is None:
            raise ValueError("no soft labels in this store")
        return self.soft

    def to(self, device: torch.device) -> PhotoStore:
        """Return the store with its pixels on a device."""
        soft = None if self.soft is None else self.soft.to(device)
        return PhotoStore(self.index, self.photos.to(device), self.masks.to(device), soft)


PhotoSource = PhotoFiles | PhotoStore


def load_photos(
    files: PhotoFiles, names: Sequence[str], on_photo: Callable[[], None] = lambda: None
) -> PhotoStore:
    """Decode photos, masks and soft labels, on all cores.

    Args:
        names: The names of the photos, each once.

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
        masks.append(mask[..., None])
        if soft is not None:
            softs.append(soft.transpose(1, 2, 0))
        on_photo()
    return PhotoStore(
        index={name: number for number, name in enumerate(names)},
        photos=flat(photos),
        masks=flat(masks),
        soft=flat(softs) if softs else None,
    )


def flat(arrays: list[NDArray[np.uint8]]) -> Pictures:
    """Return pictures H x W x C, at least one, in one tensor; the list is emptied on the way."""
    channels = arrays[0].shape[2]
    sizes = torch.tensor([[array.shape[1], array.shape[0]] for array in arrays])
    areas = sizes.prod(1)
    values = torch.empty(int(areas.sum()), channels, dtype=torch.uint8)
    first = 0
    while arrays:
        rows = arrays.pop(0).reshape(-1, channels)
        values.numpy()[first : first + len(rows)] = rows
        first += len(rows)
    return Pictures(sizes, areas.cumsum(0) - areas, values)
