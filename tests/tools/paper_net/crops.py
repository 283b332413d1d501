"""Crops that went through the frozen part of the trunk once, in files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deconvnet_cli.data.voc import CLASSES, open_tree
from deconvnet_cli.nets.deconvnet_vgg16 import ENCODER
from deconvnet_cli.nets.inputs import VGG_INPUT
from deconvnet_cli.training.samples import SOFT_CELL, CropDataset
from deconvnet_cli.training.settings import changed, default_settings
from deconvnet_cli.training.setup import build_datasets
from tests.tools.paper_net.teacher import write_soft_labels

LISTS = ("trainaug", "coco", "caltech")
SIDE = 224
FROZEN = 4  # blocks of the trunk
POOLS = ((64, 112), (128, 56), (256, 28), (512, 14))  # channels and side of their pools


@dataclass(frozen=True)
class Crops:
    """Crops that went through the trunk's first four blocks.

    Attributes:
        pool4: bfloat16 as uint16, N x 100352 (14 x 14 x 512).
        switches: Those of pool1 .. pool4, four to a byte, each 0 to 3: its place in the window.
        labels: uint8 N x 224 x 224.
        soft: The teacher's probabilities in cells of 4 x 4 pixels, uint8 N x 21 x 56 x 56; all 0
            outside the photo and in crops of stage 1.
    """

    pool4: np.ndarray
    switches: np.ndarray
    labels: np.ndarray
    soft: np.ndarray

    def maps(self, numbers: np.ndarray) -> Tensor:
        """Return the maps after pool4, bfloat16 N x 512 x 14 x 14."""
        values = torch.from_numpy(self.pool4[numbers].view(np.int16)).view(torch.bfloat16)
        return values.view(-1, 14, 14, 512).permute(0, 3, 1, 2)

    def places(self, numbers: np.ndarray, depth: int) -> list[Tensor]:
        """Return the switches of the last ``depth`` of these pools, uint8 N x h x w x C."""
        bytes_of = [channels * side * side // 4 for channels, side in POOLS]
        skipped = sum(bytes_of[: len(POOLS) - depth])
        packed = torch.from_numpy(self.switches[numbers][:, skipped:])
        places = torch.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], -1).flatten(1)
        pools = POOLS[len(POOLS) - depth :]
        parts = places.split([channels * side * side for channels, side in pools], 1)
        shaped = zip(parts, pools, strict=True)
        return [part.view(-1, side, side, channels) for part, (channels, side) in shaped][::-1]

    def label_maps(self, numbers: np.ndarray) -> Tensor:
        """Return the labels, int64 N x 224 x 224."""
        return torch.from_numpy(self.labels[numbers].astype(np.int64))

    def soft_labels(self, numbers: np.ndarray) -> Tensor:
        """Return the teacher's probabilities, float32 N x 21 x 56 x 56."""
        return torch.from_numpy(self.soft[numbers]).float() / 255


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pooled map and the places of the maxima, 0 to 3, uint8 N x h x w x C."""
    n, channels, height, width = x.shape
    windows = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, channels)
    best, place = windows[:, :, 0, :, 0], torch.zeros((), dtype=torch.uint8)
    for number in range(1, 4):
        value = windows[:, :, number // 2, :, number % 2]
        place = torch.where(value > best, torch.tensor(number, dtype=torch.uint8), place)
        best = torch.maximum(best, value)
    return best.permute(0, 3, 1, 2), place


def samples_of_stage(tree: Path, stage: int, count: int, work: Path, seed: int = 3) -> CropDataset:
    """Return the crops of a stage, half of them drawn evenly over the classes.

    The folder ``work`` holds the proposals and, for stage 2, the soft labels; what is not there is
    made first.
    """
    voc, soft = open_tree(tree), work / "soft"
    if stage == 2:
        write_soft_labels(voc, LISTS, soft)
    changes = {
        "lists": LISTS,
        "crops": count,
        "balanced": 0.5,
        "colour": 0.2,
        "seed": seed,
        "boxes": "shown" if stage == 2 else "overlapping",
        "whole": 0.15,
        "accumulate": 1,
        # The soft labels know all classes, the crops of stage 1 only that of their object.
        "teacher": str(soft) if stage == 2 else "",
    }
    settings = changed(default_settings("deconvnet-vgg16", stage), changes, "this script")
    return build_datasets(voc, settings, work / "proposals", silent)[0]


@torch.no_grad()
def encode(samples: CropDataset, trunk: dict[str, Tensor], count: int, folder: Path) -> Crops:
    """Send crops through the trunk and keep the results in a folder; return them."""
    switches = sum(channels * side * side for channels, side in POOLS) // 4
    kinds = {
        "pool4": (np.uint16, (100_352,)),
        "switches": (np.uint8, (switches,)),
        "labels": (np.uint8, (SIDE, SIDE)),
        "soft": (np.uint8, (len(CLASSES), SIDE // SOFT_CELL, SIDE // SOFT_CELL)),
    }
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        into = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (count, *shape))
            for name, (kind, shape) in kinds.items()
        }
        half = {name: value.bfloat16() for name, value in trunk.items()}
        for first in range(0, count, 4):
            rows = slice(first, min(first + 4, count))
            numbers = range(rows.start, rows.stop)
            crops, labels, *soft = zip(*(samples[number] for number in numbers), strict=True)
            x, packed = VGG_INPUT.prepare(torch.stack(crops)).bfloat16(), []
            x = x.contiguous(memory_format=torch.channels_last)
            for block in ENCODER[:FROZEN]:
                for layer in block:
                    kernel, bias = half[f"{layer.name}.weight"], half[f"{layer.name}.bias"]
                    x = F.conv2d(x, kernel, bias, padding=1).relu_()
                x, place = pool(x)
                four = place.reshape(len(place), -1, 4)
                packed.append(sum(four[..., i] << 2 * i for i in range(4)))
            flat = x.permute(0, 2, 3, 1).flatten(1).contiguous()
            into["pool4"][rows] = flat.view(torch.int16).numpy().view(np.uint16)
            into["switches"][rows] = torch.cat(packed, 1).numpy()
            into["labels"][rows] = torch.stack(labels).numpy().astype(np.uint8)
            for cells in soft:
                into["soft"][rows] = (torch.stack(cells) * 255).round().to(torch.uint8).numpy()
        for array in into.values():
            array.flush()
        (folder / "done").touch()
    return Crops(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in kinds))


def silent(description: str, total: int) -> Callable[[], None]:
    """Print what begins, and return a function that does nothing."""
    print(description, flush=True)
    return lambda: None
