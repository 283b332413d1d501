"""Soft labels: what a teacher net thinks of each pixel, kept on disk beside the hard labels.

The teacher is a DeepLabv3-MobileNetV2 (Chen et al., 2017; Sandler et al., 2018) with its own head
and strides, which needs no training here. Its probabilities, a mean over scales and mirror
images, are kept on a grid of one point to ``CELL`` pixels, a byte a probability, in one
compressed file a photo (``DIR/NAME.npz``).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.npz import read_npz
from deconvnet_cli.training.batchnorm import load_folded

CELL = 8
MAX_BYTES = 1 << 26  # of one file unpacked: the soft labels of a photo of 200 million pixels
STRIDE = 16  # of the teacher's scores
# Longer side of the photo for each pass: the size the teacher was trained at, and above it.
SIZES = (512, 640)


def load_teacher(path: Path) -> DeconvNetMobile:
    """The teacher, in eval mode, from a folded MobileNetV2 with DeepLabv3 head.

    Raises:
        WeightsError: see :func:`deconvnet_cli.training.batchnorm.load_folded`.
    """
    net = DeconvNetMobile(strided=True)
    load_folded(net, path)
    return net.eval()


@torch.inference_mode()
def soft_labels(
    net: DeconvNetMobile, convention: InputConvention, photo: Image.Image
) -> NDArray[np.uint8]:
    """Probabilities of a photo, uint8 C x ceil(H / CELL) x ceil(W / CELL), 255 is certain.

    Args:
        net: from :func:`load_teacher`.
        convention: what it takes in; ``size`` is not used.
        photo: mode RGB.
    """
    grid = (-(-photo.height // CELL), -(-photo.width // CELL))
    total: Tensor | None = None
    for side in SIZES:
        scale = side / max(photo.size)
        width, height = (max(1, round(length * scale / STRIDE)) * STRIDE for length in photo.size)
        resized = photo.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        view = convention.prepare(torch.stack((pixels, pixels.flip(2))))
        scores = net.head(net.encode(view.contiguous(memory_format=torch.channels_last))[0])[1]
        scores = net.enlarge(scores, (height, width))
        scores = torch.stack((scores[0], scores[1].flip(2)))
        here = F.interpolate(scores, size=grid, mode="bilinear", antialias=True)
        probabilities = here.softmax(1).mean(0)
        total = probabilities if total is None else total + probabilities
    if total is None:
        raise ValueError("SIZES is empty")
    return (total * (255 / len(SIZES))).round().to(torch.uint8).numpy()


def soft_path(folder: Path, name: str) -> Path:
    """Where the soft labels of the photo called ``name`` are kept."""
    return folder / f"{name}.npz"


def write_soft(path: Path, probabilities: NDArray[np.uint8]) -> None:
    """Write one file of soft labels, uint8 C x h x w, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, probabilities=probabilities)
    write_whole(path, buffer.getvalue())


def read_soft(path: Path) -> NDArray[np.uint8]:
    """Soft labels as :func:`soft_labels` made them.

    Raises:
        DatasetError: missing or damaged.
    """
    try:
        probabilities: NDArray[np.uint8] = read_npz(path, MAX_BYTES)["probabilities"].copy()
    except FileNotFoundError:
        raise none_there(path) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError) as error:
        raise DatasetError(f"{path}: damaged soft labels ({error}); make them again") from error
    if probabilities.ndim != 3 or probabilities.dtype != np.uint8 or not probabilities.size:
        raise DatasetError(f"{path}: not soft labels of this tool; make them again")
    return probabilities


def cut_soft(
    probabilities: NDArray[np.uint8],
    width: int,
    height: int,
    box: tuple[float, float, float, float],
    size: int,
) -> Tensor:
    """The box of soft labels, float32 C x size x size; all 0 outside of the photo.

    Args:
        probabilities: of a photo of ``width`` x ``height`` pixels.
        box: in pixels of the photo; may reach over its edge.
    """
    x0, y0, x1, y1 = box
    centres = (torch.arange(size) + 0.5) / size
    across = (x0 + centres * (x1 - x0)) / width
    down = (y0 + centres * (y1 - y0)) / height
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    # grid_sample counts from -1 to 1 between the outer edges of the map.
    where = torch.stack((columns, rows), dim=-1) * 2 - 1
    values = torch.from_numpy(probabilities).float()[None] / 255
    found = F.grid_sample(values, where[None], padding_mode="border", align_corners=False)[0]
    inside = (columns > 0) & (columns < 1) & (rows > 0) & (rows < 1)
    return found * inside


def none_there(path: Path) -> DatasetError:
    """The error of a photo whose soft labels should be at ``path`` and are not."""
    return DatasetError(f"{path}: no soft labels of this photo; `deconvnet soft-labels` makes them")


def missing(folder: Path, names: list[str]) -> Iterator[str]:
    """The names that have no soft labels in the folder yet."""
    return (name for name in names if not soft_path(folder, name).is_file())
