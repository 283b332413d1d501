"""Photos from files, bytes and streams, as upright RGB images."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.data.decoding import (
    MAX_BYTES,
    TooLarge,
    Undecodable,
    UnknownFormat,
    Unsupported,
    load,
    turn_upright,
)
from deconvnet_cli.data.notes import note
from deconvnet_cli.data.photo_files import identify_photo
from deconvnet_cli.data.profiles import in_srgb
from deconvnet_cli.data.ranges import NOTE, add_note, eight_bits
from deconvnet_cli.errors import ImageError, why
from deconvnet_cli.storage.files import read_stream, read_whole

FLAT_VALUES, FLAT_SHARE = 4, 0.998  # a photo with this share of pixels in so few values is noted
# So is one with this share of pixels so dark, as 12 bits are that were taken for 16. Night photos
# have more lights than that, even of the moon alone.
DARK_VALUE, DARK_SHARE = 16, 0.9999
STRAIGHT = {"La": "LA", "RGBa": "RGBA"}  # the mode of each whose colours are times alpha
FEW_PIXELS = 64  # say nothing of what a photo shows
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")  # how a URL begins as a path: it loses a slash
BAND_PIXELS = 1 << 20  # pixels of a photo that become RGB at a time
DRAWN = b"Software\0deconvnet"  # the text in pictures, by which `batch` tells them from photos


def read_photo(
    source: Path | bytes | IO[bytes],
    name: str | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    page: int | None = None,
    tell: Callable[[str], None] = note,
) -> Image.Image:
    """Return a photo as a viewer shows it: mode RGB, EXIF orientation applied.

    Grey, palette, CMYK and 16-bit images become RGB, and colour profiles are applied.
    Transparent parts are put on black, as the original system continues a photo beyond its edge.
    The file's name does not matter. A note says that a file has several pages, or that a photo is
    nearly black or of one colour.

    Args:
        source: The path of a regular file, its bytes, or a stream that is read to its end.
        name: The name used in errors; the path by default.
        max_pixels: The largest accepted product of width and height. With noise of 9 million
            pixels, reading took 8 bytes a pixel for a JPEG, up to 23 for other files of 8 bits, and
            up to 43 for 16 bits; the bytes of the file are among them.
        page: The page or frame of a file of several, from 1 on; None takes the first one, and a
            note says that there are others.
        tell: The function that is called with each note; by default it goes to standard error.

    Raises:
        ImageError: The file is missing, empty, truncated, not an image, a pipe or a device; it has
            no such page; or the image has no pixel or is over ``max_pixels``, ``MAX_SIDE`` or
            ``MAX_BYTES``.
    """
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    try:
        with identify_photo(_content(source, label), max_pixels, page) as image:
            load(image)
            photo = as_shown(image)
            remark = image.info.get(NOTE)
    except UnknownFormat as error:
        raise ImageError(f"{label}: {error}; give a JPEG, PNG or other photo") from error
    except (Unsupported, TooLarge) as error:
        raise ImageError(f"{label}: {error}") from error
    except Undecodable as error:
        raise ImageError(f"{label}: {error}; copy or download it again") from error
    except MemoryError as error:
        raise ImageError(f"{label}: too little memory for its pixels; scale it down") from error
    tell_of(photo, remark, label, tell)
    return photo


def tell_of(
    photo: Image.Image, remark: str | None, label: str, tell: Callable[[str], None] = note
) -> None:
    """Tell how a photo was read, if there is a remark, and that it shows nothing, if so."""
    if remark:
        tell(f"{label}: {remark}")
    if doubt := shows_nothing(photo):
        tell(f"{label}: is nearly {doubt}; check whether it is the photo that you mean")


def shows_nothing(photo: Image.Image) -> str:
    """Return "one colour" or "black" if an RGB photo of many pixels is nearly that, else ""."""
    pixels = photo.width * photo.height
    if pixels < FEW_PIXELS:
        return ""
    counts = np.array(photo.histogram()).reshape(3, 256)
    near = [np.convolve(channel, np.ones(FLAT_VALUES)).max() for channel in counts]
    if min(near) >= FLAT_SHARE * pixels:
        return "one colour"
    dark = counts[:, : DARK_VALUE + 1].sum(axis=1)
    return "black" if dark.min() >= DARK_SHARE * pixels else ""


def _content(source: Path | bytes | IO[bytes], label: str) -> bytes:
    """Return the bytes of a file; raise ImageError if it is empty or cannot be read."""
    try:
        if isinstance(source, Path):
            data = read_whole(source, MAX_BYTES)
        else:
            data = source if isinstance(source, bytes) else read_stream(source, MAX_BYTES)
    except FileNotFoundError:
        raise ImageError(missing(label)) from None
    except IsADirectoryError:
        raise ImageError(f"{label}: a folder; use `deconvnet batch` for folders") from None
    except OSError as error:
        piped = isinstance(source, Path) and source.is_fifo()
        remedy = "; read it as standard input: `... | deconvnet segment - -o FILE`" if piped else ""
        raise ImageError(f"{label}: cannot be read ({why(error)}){remedy}") from error
    if not data:
        raise ImageError(f"{label}: the file is empty; copy or download it again")
    return data


def missing(label: str, what: str = "photo") -> str:
    """Return the message for a photo or video that is not there, with what its name suggests."""
    if found := URL.match(label):
        url = URL.sub(r"\1://", label, count=1)
        taken = what == "photo" and found[1].lower() not in ("http", "https")
        remedy = "`deconvnet batch` takes URLs" if taken else f"download the {what} first"
        return f"{url}: a URL, not a file; {remedy}"
    several = what == "photo" and (label.startswith("@") or "*" in label or "?" in label)
    more = "; `deconvnet batch` takes lists and globs" if several else ""
    return f"{label}: no such file; check the path{more}"


def _bands(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], Image.Image]]:
    """Yield a few rows at a time with their box: copies of the whole image take much memory."""
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        yield box, image.crop(box)


def as_shown(image: Image.Image) -> Image.Image:
    """Return a loaded image as :func:`read_photo` does, turning it upright in place."""
    turn_upright(image)
    if image.mode in STRAIGHT:
        image = image.convert(STRAIGHT[image.mode])
    if image.mode.startswith("I") or image.mode == "F":
        image = _from_deep(image)
    return _to_rgb(in_srgb(image, _to_rgb))


def _from_deep(image: Image.Image) -> Image.Image:
    """Return an image of 16-bit, 32-bit or float values as an 8-bit one; keep what it says."""
    bits = 16 if image.mode.startswith("I;16") else 32
    shown = eight_bits(np.asarray(image)[..., None], bits)
    add_note(image, shown.info.get(NOTE, ""))
    if "icc_profile" in image.info:
        shown.info["icc_profile"] = image.info["icc_profile"]
    return shown


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    alphas = image.info.get("transparency")
    if isinstance(alphas, bytes):  # one for each palette colour; a damaged file may have more
        image.info["transparency"] = alphas[:256]
    photo = Image.new("RGB", image.size)
    for box, band in _bands(image):
        photo.paste(_band_to_rgb(band), box)
    if "icc_profile" in image.info:
        photo.info["icc_profile"] = image.info["icc_profile"]
    return photo


def _band_to_rgb(band: Image.Image) -> Image.Image:
    if band.has_transparency_data:  # not "A" in its bands, as those of LAB are L, A, B
        rgba = band.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return band.convert("RGB")


def png_bytes(image: Image.Image, *, photo: bool = False, drawn: bool = True) -> bytes:
    """Return an image encoded as a PNG file, which says who drew it unless it has a palette.

    Args:
        photo: Whether it shows a photo. Then zlib searches for runs alone, since a photo hardly
            repeats itself: this takes a third of the time, for 3 to 12 % more bytes.
        drawn: Whether this package drew it; a photo as it was read must not say so.
    """
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compress_type": zlib.Z_RLE} if photo else {}
    if drawn and image.mode != "P":  # label PNGs are known by their palette
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add(b"tEXt", DRAWN)
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()
