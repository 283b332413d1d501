"""Image files from anyone, decoded by Pillow within limits.

Pillow's own limit holds for the whole process, and Pillow tries every decoder it has. Here each
call sets its limit and its formats: otherwise an EPS file, for example, would run Ghostscript.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, ImageOps

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.storage.quiet import warnings_ignored

MAX_SIDE = 1_000_000  # pixels; the logits of one such row take 84 MB
MAX_BYTES = 2_000_000_000  # of a file: 10 a pixel
ORIENTATION = 0x0112  # the EXIF tag
LABEL_FORMATS = ("PNG",)  # labels do not survive JPEG


class Undecodable(Exception):
    """A file that cannot be decoded; says why and names a remedy. Callers add the file's name."""


class UnknownFormat(Undecodable):
    """A file in none of the accepted formats."""


class Unsupported(Undecodable):
    """A whole file that is not read as it is or as it was asked; the message names the remedy."""


class TooLarge(Undecodable):
    """An image with too many pixels; the message names the remedy."""


def identify(data: bytes, formats: Sequence[str]) -> Image.Image:
    """Return the image in the bytes of a file; :func:`load` decodes its pixels.

    Args:
        formats: Pillow's names of the accepted formats. Formats that this Pillow was built
            without are ignored.

    Raises:
        UnknownFormat: The file is in none of the formats.
        TooLarge: The image has more than ``MAX_PIXELS``, or too long a side.
        Undecodable: The file is damaged at its start, or has no pixel.
    """
    with decoding():
        image = opened(data, formats)
    check_size(image.size, MAX_PIXELS)
    return image


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise TooLarge or, for an image without a pixel, Undecodable; ``size`` is width, height."""
    width, height = size
    if not width or not height:
        raise Undecodable(f"{width}x{height} pixels, so the image is empty; make it again")
    if width * height > max_pixels:
        raise TooLarge(
            f"{width}x{height} pixels are more than the {max_pixels:,} allowed; scale it down"
        )
    if max(width, height) > MAX_SIDE:
        raise TooLarge(f"{width}x{height} pixels; a side has at most {MAX_SIDE}, cut it up")


def load(image: Image.Image) -> None:
    """Decode the pixels of an identified image.

    Raises:
        Undecodable: The image is damaged or truncated.
    """
    with decoding():
        image.load()


def lies_on_its_side(image: Image.Image) -> bool:
    """Return whether the EXIF orientation of an image swaps its width and height."""
    with warnings_ignored():
        try:
            tags = getattr(image, "tag_v2", None)
            if tags is not None and image.size != (tags[256], tags[257]):
                return False  # newer Pillows swap the size of a TIFF themselves
            return image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        except Exception:  # broken EXIF data say nothing, and fail in many ways
            return False


def turn_upright(image: Image.Image) -> None:
    """Turn a loaded image as its EXIF orientation says, in place; ignore broken EXIF data.

    Raises:
        MemoryError: There is too little memory to turn the image.
    """
    with warnings_ignored():
        try:
            # A copy of a large photo would take hundreds of megabytes.
            ImageOps.exif_transpose(image, in_place=True)
        except MemoryError:
            raise
        except Exception:  # broken EXIF data fail in many ways, but the pixels are whole
            return


def opened(data: bytes, formats: Sequence[str]) -> Image.Image:
    """Return the image as the first of the formats opens it; call it within :func:`decoding`.

    Raises:
        UnknownFormat: The file is in none of the formats.
    """
    # This does what Image.open does, without its limit.
    for name in formats:
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        try:
            answer = accept is None or accept(data[:16])
            if answer and not isinstance(answer, str):  # a text names what is lacking
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # plugins raise these for files of another format
    raise UnknownFormat("not an image in a supported format")


@contextmanager
def decoding() -> Iterator[None]:
    """Turn every error of Pillow into Undecodable, and ignore its warnings."""
    with warnings_ignored():
        try:
            yield
        except Undecodable:
            raise
        except Image.DecompressionBombError as error:
            raise TooLarge("more pixels than Pillow decodes here; scale it down") from error
        except Exception as error:  # decoders raise many kinds for damaged files
            what = " ".join(str(error).split()) or type(error).__name__
            raise Undecodable(f"damaged or truncated image ({what})") from error
