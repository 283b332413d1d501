"""Soft labels: the probabilities of each pixel that a teacher gives, stored on disk.

They are stored on a grid of one point to ``CELL`` pixels, one byte a probability, in one
compressed file a photo (``DIR/NAME.npz``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError, UsageError, why
from deconvnet_cli.storage.files import make_folder, write_whole
from deconvnet_cli.storage.npz import read_npz

CELL = 8
MAX_BYTES = 1 << 26  # of an unpacked file: enough for a photo of 200 million pixels


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """The soft labels of a photo.

    Attributes:
        probabilities: The probabilities, uint8 C x h x w, 255 for 1, see :func:`on_grid`.
        teacher: The weights and settings of the teacher; "" in files of earlier versions.
        classes: The names of the classes, in order.
    """

    probabilities: NDArray[np.uint8]
    teacher: str = ""
    classes: tuple[str, ...] = CLASSES


def on_grid(probabilities: Tensor, width: int, height: int) -> NDArray[np.uint8]:
    """Return the soft labels of a photo, uint8 C x ceil(H / CELL) x ceil(W / CELL), 255 for 1.

    Args:
        probabilities: The probabilities of the photo, C x h x w, in this size or a smaller one.
    """
    grid = (-(-height // CELL), -(-width // CELL))
    points = F.interpolate(probabilities[None].cpu(), size=grid, mode="bilinear", antialias=True)[0]
    stored: NDArray[np.uint8] = (points * 255).round().to(torch.uint8).numpy()
    return stored


def soft_path(folder: Path, name: str) -> Path:
    """Return the path of the soft labels of the photo called ``name``."""
    return folder / f"{name}.npz"


def write_soft(path: Path, soft: SoftLabels) -> None:
    """Write the soft labels of a photo to one file, and make its folder."""
    arrays = {
        "probabilities": soft.probabilities,
        "teacher": np.array(soft.teacher),
        "classes": np.array(soft.classes),
    }
    make_folder(path.parent)  # names in lists may have folders
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def read_soft(path: Path) -> SoftLabels:
    """Read what :func:`write_soft` wrote.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    try:
        content = read_npz(path, MAX_BYTES)
        probabilities: NDArray[np.uint8] = content["probabilities"].copy()
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no soft labels of this photo; `deconvnet soft-labels` makes them"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path}: damaged soft labels ({error}); make them again") from error
    if probabilities.ndim != 3 or probabilities.dtype != np.uint8 or not probabilities.size:
        raise DatasetError(f"{path}: not soft labels of this tool; make them again")
    classes = tuple(map(str, content.get("classes", CLASSES)))
    if len(classes) != len(probabilities):
        raise DatasetError(f"{path}: not soft labels of this tool; make them again")
    return SoftLabels(probabilities, str(content.get("teacher", "")), classes)


def cut_soft(
    probabilities: NDArray[np.uint8],
    width: int,
    height: int,
    box: tuple[float, float, float, float],
    size: int,
) -> Tensor:
    """Cut a box out of soft labels: float32 C x size x size, all 0 outside the photo.

    Args:
        probabilities: The soft labels of the photo, uint8 C x h x w.
        width, height: The size of the photo, pixels.
        box: The box, in pixels of the photo; it may reach beyond its edge.
        size: The side of the result.
    """
    x0, y0, x1, y1 = box
    centres = (torch.arange(size) + 0.5) / size
    across = (x0 + centres * (x1 - x0)) / width
    down = (y0 + centres * (y1 - y0)) / height
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    # grid_sample takes -1 and 1 as the outer edges of the map.
    positions = torch.stack((columns, rows), dim=-1) * 2 - 1
    values = torch.from_numpy(probabilities).float()[None] / 255
    found = F.grid_sample(values, positions[None], padding_mode="border", align_corners=False)[0]
    inside = (columns > 0) & (columns < 1) & (rows > 0) & (rows < 1)
    return found * inside


def to_make(folder: Path, names: list[str], teacher: str) -> Iterator[str]:
    """Yield the names of photos whose soft labels are missing or damaged.

    Raises:
        UsageError: Soft labels there are of another teacher.
    """
    for name in names:
        path = soft_path(folder, name)
        try:
            made_by = read_soft(path).teacher
        except DatasetError:
            yield name
            continue
        if made_by != teacher:
            who = "another teacher" if made_by else "an earlier version, which does not tell whose"
            raise UsageError(f"{path}: soft labels of {who}; give another folder with -o")
