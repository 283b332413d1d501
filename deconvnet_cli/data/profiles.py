"""Colour profiles: the colours of a photo as a viewer shows them, in sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of each colour space
STEPS = (0, 16, 64, 128, 192, 255)  # of each channel in the colours that are tried
LARGEST_KEPT = 4 << 20  # bytes of a profile that is kept with what it does
SAME = 2  # the largest difference in 8 bits between profiles of the same colours


def in_srgb(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return an 8-bit image with its ICC profile applied, or as it is.

    Profiles that change no colour, are damaged or are meant for another mode are ignored.

    Args:
        to_rgb: Makes a palette image or one with transparency RGB, without the profile.
    """
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return image
    kept = len(data) <= LARGEST_KEPT
    mode, transform = (_transform_to_srgb if kept else _transform_to_srgb.__wrapped__)(data)
    if transform is None:
        return image
    if mode == "RGB" and image.mode in ("RGB", "RGBA", "RGBX", "P", "PA"):
        image = to_rgb(image)
    elif mode == "L" and (
        image.mode in ("LA", "1") or (image.mode == "L" and "transparency" in image.info)
    ):
        image = to_rgb(image).convert("L")
    if image.mode != mode:
        return image
    try:
        return transform.apply(image, image if mode == "RGB" else None)
    except (OSError, ValueError):
        return image


@lru_cache(maxsize=16)  # the photos of a folder have few profiles
def _transform_to_srgb(data: bytes) -> tuple[str, ImageCmsTransform | None]:
    """Return the mode that a profile is meant for, and what it does; None if it does nothing.

    What it does is tried: names tell little, as "Linear sRGB" is far from sRGB.
    """
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        mode = MODES[profile.profile.xcolor_space.strip()]
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode in ("RGB", "L"):
            tried = _tried_colours().convert(mode)
            shown = np.asarray(transform.apply(tried), int)
            if np.abs(shown - np.asarray(tried.convert("RGB"), int)).max() <= SAME:
                return mode, None
        return mode, transform
    except Exception:  # damaged profiles, or a Pillow without them
        return "", None


def _tried_colours() -> Image.Image:
    grid = np.stack(np.meshgrid(STEPS, STEPS, STEPS), axis=-1).reshape(1, -1, 3)
    return Image.fromarray(grid.astype(np.uint8))
