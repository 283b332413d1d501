"""The values of a photo that are black and white, and the photo in 8 bits between them.

Files seldom say what is white: values of 12 bits lie in 16, and floats end at 1, at 255 or at the
sun. So the range of the values tells it, and a note says what was taken.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.decoding import Unsupported

BAND_VALUES = 1 << 20  # values that are scaled at a time
# The largest values of integers by which photos are stored: 8, 10, 12, 14, 16 and 24 bits.
WHITES = (255, 1023, 4095, 16383, 65535, (1 << 24) - 1)
FEW = 0.01  # share of values outside the range that do not count: highlights, noise and stamps
RARE = 0.0001  # share of values of any size that do not count, such as hot pixels
OVERSHOOT = 1.1  # times white: what sharpening and lossy compression may add to it
HIGHLIGHTS = 0.1  # share of floats over 1 that are shown white if most are below it
HIGHEST_HDR = 16  # floats whose highlights end here are no values of 8 bits or more
DARKEST = 4  # white is at most this many times the median, so that such a photo is not black
NOTE = "deconvnet note"  # the key in ``Image.info`` of a word about how a photo was read


class Range(NamedTuple):
    """The values that are shown black and white, and a note if the file did not say so."""

    black: float
    white: float
    remark: str = ""


def add_note(image: Image.Image, remark: str) -> None:
    """Add a word about how a photo was read."""
    if remark:
        image.info[NOTE] = "; ".join(filter(None, (image.info.get(NOTE), remark)))


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
    low, high, remark = black_and_white(values[..., :colours], bits, declared)
    if colours < samples:
        opaque = _opaque(values[..., colours:], bits, high)
        clear = low if (values[..., colours:] < 0).any() else 0.0
    result = np.empty(values.shape, np.uint8)
    rows = max(1, BAND_VALUES // max(1, width * samples))
    for top in range(0, height, rows):
        band = slice(top, top + rows)
        scaled = _scaled(values[band, :, :colours], low, high)
        result[band, :, :colours] = 255 - scaled if inverted else scaled
        if colours < samples:
            result[band, :, colours:] = _scaled(values[band, :, colours:], clear, opaque)
    image = Image.fromarray(result[..., 0] if samples == 1 else result)
    add_note(image, remark)
    return image


def _opaque(alpha: NDArray[Any], bits: int, white: float) -> float:
    """Return the value of alpha that is opaque, which alpha itself may not reach.

    It is what is white in the colours. If alpha goes beyond that, it is the largest value of the
    bits. For floats it is 1, or white if alpha goes beyond 1, or the end of alpha's own range.
    """
    if alpha.dtype.kind != "f":
        largest = (1 << (bits if alpha.dtype.kind == "u" else bits - 1)) - 1
        return white if _few(alpha > white) else largest
    for end in (1.0, white):
        if _few(alpha > end):
            return end
    return black_and_white(alpha, bits).white


def _few(there: NDArray[np.bool_]) -> bool:
    return bool(np.count_nonzero(there) <= FEW * there.size)


def _scaled(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    with np.errstate(invalid="ignore", over="ignore"):  # a file may hold NaNs of any kind
        scaled = (values.astype(np.float64) - low) * (255 / (high - low))
        scaled = np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255)
    return np.rint(scaled).astype(np.uint8)


def black_and_white(values: NDArray[Any], bits: int, declared: int = 0) -> Range:
    """Return the values that are shown black and white.

    Integers end at the declared value, unless it is the largest that the bits allow, or at the
    largest of the 8, 10, 12, 14, 16, 24 or all bits that they need. Floats end at 1, at the end of
    their highlights, or as integers do. Few values over white do not count. Signed integers over
    more than half of their range are centred at 0.

    Raises:
        Unsupported: Many values are below 0, so black and white cannot be told.
    """
    floats = values.dtype.kind == "f"
    if floats and not (finite := np.isfinite(values)).all():
        values = values[finite]
    if not values.size:
        return Range(0, 1)
    low, high = float(values.min()), float(values.max())
    largest = (1 << bits) - 1 if values.dtype.kind == "u" else (1 << (bits - 1)) - 1
    if low < 0 and float((values < 0).mean()) > FEW:
        if values.dtype.kind == "i" and high - low > largest:
            return Range(-largest - 1, largest)
        raise Unsupported(
            f"values from {low:g} to {high:g}, so black and white cannot be told; "
            "save it with values from 0, as an 8-bit PNG"
        )
    if floats:
        return _range_of_floats(values, high)
    if 0 < high <= declared < largest:
        return Range(0, declared)
    white = next((white for white in WHITES if white < largest and _ends_at(values, white)), 0)
    if not white:
        return Range(0, largest)
    ends = f"none of its {bits}-bit values is over {white}"
    if high > white:
        ends = f"nearly all of its {bits}-bit values end near {white}"
    return Range(0, white, f"{ends}; they are read as {white.bit_length()} bits")


def _range_of_floats(values: NDArray[Any], high: float) -> Range:
    """Return the range of finite floats, few of which are below 0."""
    over = float((values > 1).mean())
    if over <= FEW:
        return Range(0, 1)
    most = float(np.quantile(values, 1 - FEW, method="lower"))
    median = float(np.median(values[values > 0]))  # black around an object says nothing
    if over <= HIGHLIGHTS and median < 1:
        white = 1.0
    elif median < 1 or most < HIGHEST_HDR:
        white = max(1.0, min(most, DARKEST * median))
    else:
        white = next((white for white in WHITES if _ends_at(values, white)), high)
    return Range(0, white, f"its values reach {high:g}; {white:g} is taken for white")


def _ends_at(values: NDArray[Any], white: int) -> bool:
    """Return whether a photo ends near a value, but for hot pixels and a stamp.

    A dark photo of more bits is not cut off: its lights are of many values up to the largest one.
    A stamp has the largest one alone.
    """
    over = values > int(OVERSHOOT * white)  # integers are compared faster with one
    if np.count_nonzero(over) > FEW * values.size:
        return False
    return bool(np.count_nonzero(values[over] < values.max()) <= RARE * values.size)
