"""Photos in, label PNGs out."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from deconvnet_cli.errors import ImageError
from deconvnet_cli.voc import palette

MAX_PIXELS = 200_000_000  # 0.6 GB as RGB; more is a mistake or a decompression bomb


def read_photo(source: Path | bytes, name: str | None = None) -> Image.Image:
    """A photo as a viewer shows it: mode RGB, EXIF orientation applied, first frame.

    Grey, palette, CMYK and 16-bit images become RGB; transparent parts are put on black, as
    the original system continues a photo beyond its edge.

    Args:
        source: path, or the bytes of a file.
        name: what errors call it; the path unless given.

    Raises:
        ImageError: missing, empty, truncated, not an image, or over ``MAX_PIXELS``.
    """
    label = name or (str(source) if isinstance(source, Path) else "standard input")
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
    except FileNotFoundError:
        raise ImageError(f"{label}: no such file; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{label}: a folder; use `deconvnet batch` for folders") from None
    except OSError as error:
        raise ImageError(f"{label}: cannot be read ({error.strerror})") from error
    if not data:
        raise ImageError(f"{label}: the file is empty; copy or download it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's size warning: the limit below is ours
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(
                        f"{label}: {image.width}x{image.height} pixels; "
                        f"at most {MAX_PIXELS // 1_000_000} million can be read, scale it down"
                    )
                image.load()
                # Broken EXIF data say nothing; the pixels are whole all the same.
                with contextlib.suppress(SyntaxError, ValueError, TypeError, struct.error):
                    # In place: a copy of a large photo takes hundreds of megabytes.
                    ImageOps.exif_transpose(image, in_place=True)
                return _to_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(
            f"{label}: not an image that Pillow knows; give a JPEG, PNG or other photo"
        ) from None
    except Exception as error:  # decoders raise many kinds for damaged files
        what = " ".join(str(error).split())  # some messages have line breaks
        raise ImageError(
            f"{label}: damaged or truncated image ({what}); copy or download it again"
        ) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips 16-bit values at 255 instead of scaling them.
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def label_png(labels: NDArray[np.uint8]) -> bytes:
    """uint8 H x W labels as the bytes of a palette PNG in VOC's colours."""
    image = Image.fromarray(labels, mode="L")
    image.putpalette(palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
