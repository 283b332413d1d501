"""Colour profiles: the colours of a photo as a viewer shows them, in sRGB."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of each colour space


def in_srgb(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return an 8-bit image with its ICC profile applied, or as it is.

    Profiles that call themselves sRGB, are damaged or are meant for another mode are ignored.

    Args:
        image: The image.
        to_rgb: Makes a palette image or one with transparency RGB, without the profile.
    """
    data = image.info.get("icc_profile")
    if not isinstance(data, bytes) or not data:
        return image
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        if "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
    except Exception:  # damaged profiles, or a Pillow without them
        return image
    if space == "RGB" and image.mode in ("RGB", "RGBA", "RGBX", "P", "PA"):
        image = to_rgb(image)
    elif space == "GRAY" and image.mode in ("LA", "La", "1"):
        image = image.convert("L") if image.mode == "1" else to_rgb(image).convert("L")
    if image.mode != MODES.get(space):
        return image
    try:
        transform = ImageCms.buildTransform(
            profile,
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if image.mode == "RGB":
            ImageCms.applyTransform(image, transform, inPlace=True)
            return image
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
