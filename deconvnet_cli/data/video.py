"""Video clips, read one frame at a time by OpenCV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.data.decoding import Undecodable, check_size
from deconvnet_cli.data.images import missing
from deconvnet_cli.data.notes import note
from deconvnet_cli.data.video_files import head_of, is_video
from deconvnet_cli.errors import ImageError, why
from deconvnet_cli.runtime.opencv import cv2

USUAL_RATE = 25.0  # frames a second, of a clip that does not say
FASTEST = 1000.0  # frames a second; what says more counts ticks of a clock
# A header may name more frames than there are: an estimate, or frames that an edit has cut off. It
# is no sign of damage if they are at most this share of all, and at most a second.
SLACK = 0.05
CONVERT = "convert it: ffmpeg -i CLIP -c:v libx264 NEW.mp4"


@dataclass(frozen=True)
class Frame:
    """A frame of a clip.

    Attributes:
        number: Its number, from 0.
        seconds: The time at which it is shown.
        photo: Its picture, mode RGB, upright.
    """

    number: int
    seconds: float
    photo: Image.Image


@dataclass(frozen=True, eq=False)
class Clip:
    """An open video clip.

    Attributes:
        capture: OpenCV's reader, a ``cv2.VideoCapture``.
        rate: The frames a second, the mean if they vary.
        count: The number of frames by the file's header; None if it does not say.
        max_pixels: The largest accepted product of width and height.
    """

    path: Path
    capture: Any
    rate: float
    count: int | None
    max_pixels: int


@contextmanager
def opened_clip(path: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Clip]:
    """Open a clip, and close it at the end of the ``with`` block.

    Raises:
        ImageError: The file is missing, empty, damaged or no video, or OpenCV cannot decode it.
    """
    try:
        if path.is_dir():
            raise ImageError(f"{path}: a folder; give the file of a video")
        head = head_of(path)
    except FileNotFoundError:
        raise ImageError(missing(str(path), "video")) from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({why(error)})") from error
    if not head:
        raise ImageError(f"{path}: the file is empty; copy or download it again")
    # Anything else is kept from FFmpeg, which would follow the addresses in a text of playlists.
    if not is_video(head):
        raise ImageError(f"{path}: not a video, in spite of its name; give an MP4, MOV or AVI")
    capture = cv2.VideoCapture()
    try:
        try:
            opened = capture.open(str(path), backend())
        except (cv2.error, UnicodeError, SystemError) as error:
            raise ImageError(f"{path}: OpenCV cannot open it ({error})") from error
        if not opened:
            raise ImageError(
                f"{path}: damaged, cut off, or of a kind that OpenCV does not read; copy it again, "
                f"or {CONVERT}"
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        rate, count = (capture.get(name) for name in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        known = math.isfinite(rate) and 0 < rate <= FASTEST
        yield Clip(
            path,
            capture,
            rate if known else USUAL_RATE,
            int(count) if math.isfinite(count) and count > 0 else None,
            max_pixels,
        )
    finally:
        capture.release()


def frames(clip: Clip, every: int = 1) -> Iterator[Frame]:
    """Yield each ``every``-th frame of an open clip, the first one first.

    Raises:
        ImageError: The clip has no frames, fewer than its header says, or too large ones. The
            frames before are yielded first.
    """
    read = 0
    while clip.capture.grab():
        if read % every == 0:
            # FFmpeg gives the time of a frame in milliseconds, or 0 for all if it has none.
            seconds = clip.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or read / clip.rate
            yield Frame(read, seconds, picture(clip, read))
        read += 1
    if read == 0:
        raise ImageError(f"{clip.path}: no frame can be decoded; copy it again, or {CONVERT}")
    missing = (clip.count or 0) - read
    if missing > min(clip.rate, SLACK * (clip.count or 0)):
        raise ImageError(
            f"{clip.path}: damaged or cut off: {read} of {clip.count} frames can be read; what was "
            "written of them stays"
        )
    if missing > 0:
        note(f"{clip.path}: has {read} frames, though its header says {clip.count}")


def backend() -> int:
    """Return OpenCV's number of FFmpeg, or of any reader if it has no FFmpeg."""
    has_ffmpeg = cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG)
    return int(cv2.CAP_FFMPEG if has_ffmpeg else cv2.CAP_ANY)


def picture(clip: Clip, number: int) -> Image.Image:
    """Decode the frame that was grabbed, mode RGB.

    Raises:
        ImageError: It cannot be decoded, or has too many pixels.
    """
    good, pixels = clip.capture.retrieve()
    if not good or pixels is None or not pixels.size:
        raise ImageError(f"{clip.path}: frame {number} cannot be decoded; cut the clip before it")
    height, width = pixels.shape[:2]
    try:
        check_size((width, height), clip.max_pixels)
    except Undecodable as error:
        raise ImageError(f"{clip.path}: {error}") from error
    colours: NDArray[np.uint8] = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return Image.fromarray(colours)
