"""Image files that may hold anything, decoded by Pillow within limits.

Pillow has a limit of its own, but one for the whole process, and it asks every decoder it has.
Here the limit goes with the call, and so do the formats: EPS, say, would be handed to Ghostscript.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, ImageOps

MAX_PIXELS = 200_000_000  # 0.6 GB as RGB; more is a mistake or a decompression bomb
MAX_SIDE = 1_000_000  # pixels; scores of one row of it take 84 MB
MAX_BYTES = 2_000_000_000  # of a file: 10 a pixel
PHOTO_FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF")
LABEL_FORMATS = ("PNG",)  # labels do not survive JPEG


class Undecodable(Exception):
    """What is wrong with a file, and the remedy; who asked adds the file's name."""


class UnknownFormat(Undecodable):
    """It is in none of the formats that were asked for."""


def identify(
    data: bytes, formats: Sequence[str] = PHOTO_FORMATS, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """The image in the bytes of a file, its pixels still to be loaded: see :func:`load`.

    Args:
        formats: Pillow's names; those that this Pillow was built without are passed over.
        max_pixels: width times height that it may have.

    Raises:
        Undecodable: no such image, damaged at its start, without a pixel, or too large.
    """
    with _decoding():
        image = _opened(data, formats)
    width, height = image.size
    if not width or not height:
        raise Undecodable(f"{width}x{height} pixels, so nothing to see; make it again")
    if width * height > max_pixels:
        raise Undecodable(
            f"{width}x{height} pixels; at most {max_pixels / 1e6:g} million are read, scale it down"
        )
    if max(width, height) > MAX_SIDE:
        raise Undecodable(f"{width}x{height} pixels; a side has at most {MAX_SIDE}, cut it up")
    return image


def load(image: Image.Image) -> None:
    """Decode the pixels, of the first frame.

    Raises:
        Undecodable: damaged or truncated.
    """
    with _decoding():
        image.load()


def turn_upright(image: Image.Image) -> None:
    """Turn a loaded image as its EXIF orientation says; broken EXIF data say nothing.

    Raises:
        MemoryError: there is not enough to turn it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # In place: a copy of a large photo takes hundreds of megabytes.
            ImageOps.exif_transpose(image, in_place=True)
        except MemoryError:
            raise
        except Exception:  # they fail in many ways, and the pixels are whole all the same
            return


def _opened(data: bytes, formats: Sequence[str]) -> Image.Image:
    # What Image.open does, but for its limit.
    for name in formats:
        if name not in Image.OPEN:
            Image.init()
        if name not in Image.OPEN:
            continue
        factory, accept = Image.OPEN[name]
        try:
            answer = accept is None or accept(data[:16])
            if answer and not isinstance(answer, str):  # text says what this Pillow lacks for it
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # how a plugin says that the file is not its own after all
    raise UnknownFormat("not an image in a format that is read here")


@contextmanager
def _decoding() -> Iterator[None]:
    """What Pillow raises becomes Undecodable; what it warns of goes on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Undecodable:
            raise
        except Image.DecompressionBombError as error:
            raise Undecodable("more pixels than Pillow decodes in this format") from error
        except Exception as error:  # decoders raise many kinds for damaged files
            what = " ".join(str(error).split()) or type(error).__name__
            raise Undecodable(f"damaged or truncated image ({what})") from error
