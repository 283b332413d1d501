"""Small photos, cut from those in ``tests/data``."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from deconvnet_cli.nets.inputs import VGG_INPUT
from helpers.paths import DATA


def pixels(path: Path) -> np.ndarray:
    """The values of an image file: of a label PNG, the labels."""
    with Image.open(path) as image:
        return np.array(image)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG, with its length and checksum."""
    check = zlib.crc32(kind + content).to_bytes(4, "big")
    return len(content).to_bytes(4, "big") + kind + content + check


def pieces(size: tuple[int, int]) -> list[Image.Image]:
    """Eight parts of two photos in this size (width, height)."""
    found = []
    for name in ("astronaut.jpg", "chelsea.jpg"):
        with Image.open(DATA / name) as photo:
            across, down = photo.width // 2, photo.height // 2
            for left, top in ((0, 0), (across, 0), (0, down), (across, down)):
                part = photo.crop((left, top, left + across, top + down))
                found.append(part.resize(size, Image.Resampling.BILINEAR))
    return found


def shown(size: tuple[int, int]) -> torch.Tensor:
    """These as a VGG net is shown them, 8 x 3 x height x width."""
    pixels = torch.from_numpy(np.stack([np.array(part) for part in pieces(size)]))
    return VGG_INPUT.prepare(pixels.permute(0, 3, 1, 2))
