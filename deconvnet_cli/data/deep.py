"""Photos with values of other kinds than 8 bits, decoded when their pixels are needed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data import jp2, tiff
from deconvnet_cli.data.decoding import ORIENTATION, Unsupported
from deconvnet_cli.data.png_chunks import SAMPLES, with_pixels_alone
from deconvnet_cli.data.ranges import BAND_VALUES, NOTE, add_note, eight_bits
from deconvnet_cli.data.tiff_values import values_of
from deconvnet_cli.runtime.opencv import cv2

EXIF_WORDS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # with an orientation
WORD = re.compile(rb"#[^\r\n]*|[^\s#]+")  # a comment or a number in a PGM or PPM
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of each number of samples


class DeepImage(Image.Image):
    """A photo of 8 bits, mode L, LA, RGB or RGBA, that is decoded when its pixels are needed."""

    def __init__(
        self,
        size: tuple[int, int],
        mode: str,
        decode: Callable[[], Image.Image],
        orientation: int = 1,
    ) -> None:
        super().__init__()
        self._size, self._mode = size, mode
        self._decode: Callable[[], Image.Image] | None = decode
        if orientation != 1:
            self.getexif()[ORIENTATION] = orientation

    def load(self):  # type: ignore[no-untyped-def]  # Pillow's own type is not public
        """Decode the pixels at the first call, and give access to them as Pillow does."""
        if self._decode is not None:
            decoded, self._decode = self._decode(), None
            self.im, self._mode, self._size = decoded.im, decoded.mode, decoded.size
            add_note(self, decoded.info.get(NOTE, ""))
        return super().load()


def deep_tiff(page: tiff.Page) -> DeepImage | None:
    """Return the photo of a deep page of a TIFF; None if its channels are not those of a photo."""
    colours = page.one(tiff.PHOTOMETRIC, 1)
    mode = MODES.get(page.samples)
    if mode is None or (colours == tiff.RGB) != mode.startswith("RGB"):
        return None

    def decode() -> Image.Image:
        values = values_of(page)
        return eight_bits(values, page.bits, page.one(tiff.LARGEST, 0), inverted=colours == 0)

    image = DeepImage(page.size, mode, decode, page.one(tiff.ORIENTATION, 1))
    image.format = "TIFF"
    if profile := page.all(tiff.PROFILE):
        image.info["icc_profile"] = bytes(profile)
    return image


def deep_image(data: bytes, opened: Image.Image) -> DeepImage | None:
    """Return the photo of a PNG, JPEG 2000 or PNM of over 8 bits, of which Pillow keeps only 8.

    Pillow also shows the white of a JPEG 2000 of 16 bits as black.

    Args:
        opened: The image as Pillow opened it.

    Returns:
        The photo; None if its values have 8 bits, or Pillow reads all of them.
    """
    largest, samples = _depth(data, opened)
    if largest <= 255 or samples not in MODES:
        return None
    clear = opened.info.get("transparency")  # the colour in a PNG that is transparent

    def decode() -> Image.Image:
        if opened.format == "PPM":
            values = pnm_values(data, opened)
        else:
            values = _by_opencv(data, opened, samples)
        if clear is not None:
            values[(values == clear).all(axis=-1)] = 0  # transparent parts are put on black
        return eight_bits(values, 16, largest)

    image = DeepImage(opened.size, MODES[samples], decode)
    image.format, image.info = opened.format, dict(opened.info)
    image.info.pop("transparency", None)
    # To look for these words behind the pixels of a PNG, Pillow decodes it.
    if opened.format != "PNG" or any(word in data for word in EXIF_WORDS):
        image.getexif().update(opened.getexif())
    return image


def _depth(data: bytes, opened: Image.Image) -> tuple[int, int]:
    """Return the largest value that the file may hold, and the samples of a pixel."""
    if opened.format == "PNG" and len(data) > 25:  # its first chunk says it
        return (1 << data[24]) - 1, SAMPLES.get(data[25], 0)
    if opened.format == "JPEG2000":
        bits, samples = jp2.depth(data)
        return (1 << bits) - 1, samples
    if opened.format == "PPM":
        return largest_of_pnm(opened), len(opened.getbands())
    return 255, 3


def largest_of_pnm(opened: Image.Image) -> int:
    """Return the value that the header of a PGM or PPM declares white; 255 if Pillow reads all."""
    if opened.mode in ("1", "F"):
        return 255
    kind, _, _, arguments = opened.tile[0]  # type: ignore[attr-defined]  # of Pillow's files
    if kind == "raw":
        return 65535 if "I;16B" in arguments else 255
    return int(arguments[1])


def pnm_values(data: bytes, opened: Image.Image) -> NDArray[np.uint16]:
    """Return the values of a PGM or PPM of over 8 bits as H x W x samples, unscaled.

    Pillow reads the header, but scales or drops some of the values.

    Raises:
        ValueError: The file is truncated.
    """
    kind, _, start, _ = opened.tile[0]  # type: ignore[attr-defined]
    shape = (opened.height, opened.width, len(opened.getbands()))
    count = math.prod(shape)
    if kind == "ppm_plain":
        # One word after another: a list of all would take ten times the memory of the file.
        words = (found[0] for found in WORD.finditer(data, start))
        numbers = (int(word) for word in words if not word.startswith(b"#"))
        values = np.fromiter(numbers, np.uint16, count)
    else:
        values = np.frombuffer(data, ">u2", count, start).astype(np.uint16)
    return np.minimum(values, largest_of_pnm(opened), out=values).reshape(shape)


def _by_opencv(data: bytes, opened: Image.Image, samples: int) -> NDArray[Any]:
    values = _decoded(with_pixels_alone(data) if opened.format == "PNG" else data)
    if values is None:
        raise ValueError(f"{opened.format} of over 8 bits")
    values = values.reshape(*values.shape[:2], -1)
    wanted = (opened.height, opened.width, {2: 4}.get(samples, samples))
    if values.dtype != np.uint16 or values.shape not in (wanted, (*wanted[:2], samples)):
        raise Unsupported(f"a {opened.format} of over 8 bits that is not read; save it with 8 bits")
    if values.shape[2] > 2:
        rows = max(1, BAND_VALUES // values[0].size)
        for band in np.split(values, range(rows, len(values), rows)):  # a copy would be large
            band[..., :3] = band[..., 2::-1].copy()  # OpenCV begins with blue
    return np.asarray(values)


def _decoded(content: bytes) -> NDArray[Any] | None:
    """Return what OpenCV reads from the bytes, which are given up before more is done."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
