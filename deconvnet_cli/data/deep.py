"""Photos with values of other kinds than 8 bits, made 8-bit by what the file says and by range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data import tiff
from deconvnet_cli.data.decoding import ORIENTATION, Unsupported
from deconvnet_cli.data.png_chunks import with_pixels_alone
from deconvnet_cli.runtime.opencv import cv2

BAND_VALUES = 1 << 22  # values that are scaled at a time
# The largest values of integers by which photos are stored: 8, 10, 12, 14, 16 and 24 bits.
WHITES = (255, 1023, 4095, 16383, 65535, (1 << 24) - 1)
FEW = 0.01  # share of values outside the range that do not count: highlights and noise
NOTE = "deconvnet note"  # the key in ``Image.info`` of a word about how a photo was read
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # of each number of samples
PNG_SAMPLES = {0: 1, 2: 3, 4: 2, 6: 4}  # of each colour type but the palette


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
            remarks = [info[NOTE] for info in (self.info, decoded.info) if NOTE in info]
            self.info.update(decoded.info)
            if remarks:
                self.info[NOTE] = "; ".join(remarks)
        return super().load()


def deep_tiff(page: tiff.Page) -> DeepImage | None:
    """Return the photo of a deep page of a TIFF; None if its channels are not those of a photo."""
    colours = page.one(tiff.PHOTOMETRIC, 1)
    mode = MODES.get(page.samples)
    if mode is None or (colours == tiff.RGB) != mode.startswith("RGB"):
        return None

    def decode() -> Image.Image:
        values = tiff.values_of(page)
        return eight_bits(values, page.bits, page.one(tiff.LARGEST, 0), inverted=colours == 0)

    image = DeepImage(page.size, mode, decode, page.one(tiff.ORIENTATION, 1))
    image.format = "TIFF"
    if profile := page.all(tiff.PROFILE):
        image.info["icc_profile"] = bytes(profile)
    return image


def deep_image(data: bytes, opened: Image.Image) -> DeepImage | None:
    """Return the photo of a PNG or JPEG 2000 of over 8 bits, of which Pillow keeps only 8.

    Pillow also shows the white of a JPEG 2000 of 16 bits as black.

    Args:
        data: The bytes of the file.
        opened: The image as Pillow opened it.

    Returns:
        The photo; None if its values have 8 bits, or Pillow reads all of them.
    """
    bits, samples = {"PNG": _png_depth, "JPEG2000": _jp2_depth}.get(opened.format or "", _eight)(
        data
    )
    if bits <= 8 or samples not in MODES or "transparency" in opened.info:
        return None

    def decode() -> Image.Image:
        content = with_pixels_alone(data) if opened.format == "PNG" else data
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None:
            raise ValueError(f"{bits}-bit {opened.format}")
        values = values.reshape(*values.shape[:2], -1)
        wanted = (opened.height, opened.width, {2: 4}.get(samples, samples))
        if values.dtype != np.uint16 or values.shape not in (wanted, (*wanted[:2], samples)):
            raise Unsupported(f"a {bits}-bit {opened.format} that is not read; save it with 8 bits")
        order = {1: (0,), 2: (0, 1), 3: (2, 1, 0), 4: (2, 1, 0, 3)}[values.shape[2]]
        declared = (1 << bits) - 1 if opened.format == "JPEG2000" else 0
        return eight_bits(values[..., order], 16, declared)

    image = DeepImage(opened.size, MODES[samples], decode)
    image.format, image.info = opened.format, dict(opened.info)
    image.getexif().update(opened.getexif())
    return image


def _eight(data: bytes) -> tuple[int, int]:
    return 8, 3


def _png_depth(data: bytes) -> tuple[int, int]:
    """Return the bits of a value and the samples of a pixel, as the first chunk says."""
    return (data[24], PNG_SAMPLES.get(data[25], 0)) if len(data) > 25 else (8, 0)


def _jp2_depth(data: bytes) -> tuple[int, int]:
    """Return the bits of a value and the samples of a pixel, as the codestream's head says."""
    place = data.find(b"\xff\x4f\xff\x51")
    if place < 0 or len(data) < place + 43:
        return 8, 0
    return (data[place + 42] & 127) + 1, int.from_bytes(data[place + 40 : place + 42], "big")


def eight_bits(
    values: NDArray[Any], bits: int, declared: int = 0, *, inverted: bool = False
) -> Image.Image:
    """Return values H x W x samples as an 8-bit image; samples 2 and 4 end with alpha.

    Args:
        values: Integers or floats.
        bits: The bits of a value as stored.
        declared: The largest value that the file declares; 0 if it declares none.
        inverted: Whether the smallest value is white.

    Raises:
        Unsupported: See :func:`black_and_white`.
    """
    height, width, samples = values.shape
    colours = samples - 1 if samples in (2, 4) else samples
    low, high = black_and_white(values[..., :colours], bits, declared)
    if colours < samples:
        _, opaque = black_and_white(values[..., colours:], bits, declared)
    result = np.empty(values.shape, np.uint8)
    rows = max(1, BAND_VALUES // max(1, width * samples))
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        scaled = _scaled(values[band, :, :colours], low, high)
        result[band, :, :colours] = 255 - scaled if inverted else scaled
        if colours < samples:
            result[band, :, colours:] = _scaled(values[band, :, colours:], 0, opaque)
    image = Image.fromarray(result[..., 0] if samples == 1 else result)
    if values.dtype.kind != "f" and not declared and high < _largest(values, bits):
        kind = f"{int(high).bit_length()} bits"
        image.info[NOTE] = (
            f"none of its {bits}-bit values is over {high:g}; they are read as {kind}"
        )
    return image


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore", over="ignore"):  # a file may hold NaNs of any kind
        scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        scaled = np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255)
    return np.rint(scaled).astype(np.uint8)


def _largest(values: NDArray[Any], bits: int) -> int:
    return (1 << bits) - 1 if values.dtype.kind == "u" else (1 << (bits - 1)) - 1


def black_and_white(values: NDArray[Any], bits: int, declared: int = 0) -> tuple[float, float]:
    """Return the values that are shown black and white.

    Floats end at 1, 255, 65535 or at their largest value; integers at the declared value, or at
    the largest of the 8, 10, 12, 14, 16, 24 or all bits that they need. Signed integers over more
    than half of their range are centred at 0.

    Raises:
        Unsupported: Many values are below 0, so black and white cannot be told.
    """
    whole = np.ma.masked_invalid(values, copy=False) if values.dtype.kind == "f" else values
    if not whole.size or (isinstance(whole, np.ma.MaskedArray) and not whole.count()):
        return 0, 1
    low, high = float(whole.min()), float(whole.max())
    largest = _largest(values, bits)
    if low < 0 and float((whole < 0).mean()) > FEW:
        if values.dtype.kind == "i" and high - low > largest:
            return -largest - 1, largest
        raise Unsupported(
            f"values from {low:g} to {high:g}, so black and white cannot be told; "
            "save it with values from 0, as an 8-bit PNG"
        )
    if values.dtype.kind == "f":
        if high <= 1 or float((whole > 1).mean()) <= FEW:
            return 0, 1
        return 0, next(white for white in (255, 65535, high) if high <= white)
    if 0 < high <= declared <= largest:
        return 0, declared
    return 0, next((white for white in WHITES if high <= white <= largest), largest)
