"""Soft labels: a teacher net's class probabilities of each pixel, stored on disk.

The teacher is a DeepLabv3-MobileNetV2 (Chen et al., 2017; Sandler et al., 2018) with its own head
and strides; it needs no training here. Its probabilities are a mean over scales and mirror
images. They are stored on a grid of one point to ``CELL`` pixels, one byte a probability, in one
compressed file a photo (``DIR/NAME.npz``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.npz import read_npz
from deconvnet_cli.training.batchnorm import load_folded

CELL = 8
MAX_BYTES = 1 << 26  # of an unpacked file: enough for a photo of 200 million pixels
# The longer side of the photo in each pass: the size the teacher was trained at, and a larger one.
SIZES = (512, 640)


def load_teacher(path: Path) -> DeconvNetMobile:
    """Load the teacher, in eval mode, from a folded MobileNetV2 with DeepLabv3 head.

    Raises:
        WeightsError: See :func:`deconvnet_cli.training.batchnorm.load_folded`.
    """
    net = DeconvNetMobile(strided=True)
    load_folded(net, path)
    return net.eval()


@torch.inference_mode()
def soft_labels(
    net: DeconvNetMobile, convention: InputConvention, photo: Image.Image
) -> NDArray[np.uint8]:
    """Return a photo's probabilities, uint8 C x ceil(H / CELL) x ceil(W / CELL), 255 for 1.

    Args:
        net: A net from :func:`load_teacher`.
        convention: The net's input convention; its ``size`` and ``whole`` are not used.
        photo: The photo, mode RGB.
    """
    found = []
    for side in SIZES:
        width, height = convention.whole_size(*photo.size, side)
        resized = photo.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        views = convention.prepare(torch.stack((pixels, pixels.flip(2))))
        logits = net.head(net.encode(views.contiguous(memory_format=torch.channels_last))[0])[1]
        logits = net.enlarge(logits, (height, width))
        found.append(on_grid(logits, photo))
    return in_bytes(torch.stack(found).mean(0))


def on_grid(logits: Tensor, photo: Image.Image) -> Tensor:
    """Return the probabilities at the points of a photo's soft labels, C x h x w.

    Args:
        logits: 2 x C x H x W, of the photo and of its mirror image.
    """
    grid = (-(-photo.height // CELL), -(-photo.width // CELL))
    views = torch.stack((logits[0], logits[1].flip(2)))
    return F.interpolate(views, size=grid, mode="bilinear", antialias=True).softmax(1).mean(0)


def in_bytes(probabilities: Tensor) -> NDArray[np.uint8]:
    """Return probabilities as they are stored: 255 for 1."""
    stored: NDArray[np.uint8] = (probabilities * 255).round().to(torch.uint8).numpy()
    return stored


def soft_path(folder: Path, name: str) -> Path:
    """Return the path of the soft labels of the photo called ``name``."""
    return folder / f"{name}.npz"


def write_soft(path: Path, probabilities: NDArray[np.uint8], teacher: str = "") -> None:
    """Write one file of soft labels, uint8 C x h x w, with the SHA-256 of the teacher's file."""
    arrays = {"probabilities": probabilities, "teacher": np.array(teacher)}
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def read_soft(path: Path) -> NDArray[np.uint8]:
    """Read soft labels as :func:`soft_labels` returned them.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    return read_soft_and_teacher(path)[0]


def read_soft_and_teacher(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Read what :func:`write_soft` wrote; the teacher of an earlier version's file is "".

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
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path}: damaged soft labels ({error}); make them again") from error
    if probabilities.ndim != 3 or probabilities.dtype != np.uint8 or not probabilities.size:
        raise DatasetError(f"{path}: not soft labels of this tool; make them again")
    return probabilities, str(content.get("teacher", ""))


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

    Args:
        teacher: The SHA-256 of the teacher's file.

    Raises:
        UsageError: Soft labels there are of another teacher.
    """
    for name in names:
        path = soft_path(folder, name)
        try:
            _, made_by = read_soft_and_teacher(path)
        except DatasetError:
            yield name
            continue
        if made_by not in ("", teacher):
            raise UsageError(f"{path}: soft labels of another teacher; give another folder with -o")
