"""Tiny video clips, made by OpenCV's writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
UPRIGHT = b"".join(value.to_bytes(4, "big") for value in (1 << 16, 0, 0, 0, 1 << 16, 0))


def write_clip(path: Path, frames: Sequence[Image.Image], rate: float = 24.0) -> Path:
    """A clip of these frames, which have even sizes."""
    codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), codec, rate, frames[0].size)
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(np.asarray(frame), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def grey_frames(count: int, size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    """Frames that are known by their grey, 20 steps apart."""
    return [Image.new("RGB", size, (20 * number,) * 3) for number in range(count)]


def turn(path: Path) -> None:
    """Mark an MP4 as filmed with the phone held upright: to be shown turned clockwise."""
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0)
    matrix = b"".join((value % (1 << 32)).to_bytes(4, "big") for value in turned)
    data = path.read_bytes()
    start = data.index(UPRIGHT, data.index(b"tkhd"))
    path.write_bytes(data[:start] + matrix + data[start + len(matrix) :])


def read_clip(path: Path) -> tuple[float, list[np.ndarray]]:
    """The frames a second and all frames, RGB, of a clip."""
    reader = cv2.VideoCapture(str(path))
    assert reader.isOpened(), path
    found = []
    while True:
        good, frame = reader.read()
        if not good:
            return reader.get(cv2.CAP_PROP_FPS), found
        found.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
