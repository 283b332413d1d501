"""The kinds of photo files that are read: one list for all commands and the server.

Their suffixes are in ``suffixes``; what counts here is what a file holds.
"""

from __future__ import annotations

import io

from PIL import Image

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.data import jp2, tiff
from deconvnet_cli.data.decoding import (
    UnknownFormat,
    Unsupported,
    check_size,
    decoding,
    opened,
)
from deconvnet_cli.data.deep import deep_image, deep_tiff
from deconvnet_cli.data.ranges import add_note
from deconvnet_cli.data.suffixes import reads_heif
from deconvnet_cli.data.video_files import VIDEO_HINT, is_video

FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "AVIF")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Of several pages or frames.
HOW_TO_CHOOSE = "`deconvnet segment` and `batch` read another with --page N"
HEIF_REMEDY = "pip install pillow-heif"
RAW_REMEDY = "a camera's raw file; develop it, and give the JPEG, TIFF or PNG"
# The first bytes of raw files that are no TIFFs: Canon CR3, Fuji, Olympus, Panasonic, Sigma.
RAW_MAGIC = (
    (4, b"ftypcrx "),
    (0, b"FUJIFILM"),
    (0, b"IIRO"),
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),
    (0, b"FOVb"),
)
# Words in photos of phones whose second frame brightens the first on a screen that can show it.
GAIN_MAPS = (b"hdrgm:", b"HDRGainMap")


def identify_photo(
    data: bytes, max_pixels: int = MAX_PIXELS, page: int | None = None
) -> Image.Image:
    """Return the photo in the bytes of a file; ``load`` decodes its pixels.

    ``info[NOTE]`` says how it is read otherwise than its owner may expect.

    Args:
        page: The page or frame, from 1 on; None takes the first, and notes that there are others.
            Thumbnails do not count.

    Raises:
        UnknownFormat: The file is in none of the formats.
        Unsupported: The file is a raw photo, would be misread, or has no such page.
        TooLarge: The photo has more than ``max_pixels``, or too long a side.
        Undecodable: The file is damaged at its start, or has no pixel.
    """
    with decoding():
        image = _opened(data, max_pixels, page)
    check_size(image.size, max_pixels)
    return image


def _opened(data: bytes, max_pixels: int, page: int | None) -> Image.Image:
    if any(data.startswith(magic, place) for place, magic in RAW_MAGIC):
        raise Unsupported(RAW_REMEDY)
    if tiff.is_tiff(data):
        return _opened_tiff(data, page)
    image = _opened_other(data)
    check_size(image.size, max_pixels)  # Pillow decodes a PNG to find EXIF data after its pixels
    if image.format == "JPEG2000" and (profile := jp2.icc_profile(data)):
        image.info["icc_profile"] = profile  # Pillow does not look for it
    remark = ""
    if page is not None:
        turn_to(image, page)
    elif not (image.format == "MPO" and any(word in data for word in GAIN_MAPS)):
        remark = note_of_frames(image)
    deep = deep_image(data, image)
    if deep is not None and image.tell() > 0:
        raise Unsupported("an animation of over 8 bits; give --page 1, or save the frame as a PNG")
    image = deep or image
    add_note(image, remark)
    return image


def _opened_other(data: bytes) -> Image.Image:
    """Return the image in a file that is no TIFF."""
    try:
        return opened(data, FORMATS)
    except UnknownFormat:
        if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
            return _opened_heif(data)
        if is_video(data):
            raise Unsupported(VIDEO_HINT) from None
        raise


def _opened_heif(data: bytes) -> Image.Image:
    if not reads_heif():
        raise Unsupported(f"a HEIF photo (HEIC); {HEIF_REMEDY} lets it be read, or save it as JPEG")
    from pillow_heif import HeifImageFile

    image: Image.Image = HeifImageFile(io.BytesIO(data), "")
    return image


def _opened_tiff(data: bytes, number: int | None) -> Image.Image:
    pages = tiff.read_pages(data)
    if tiff.is_raw(data, pages):
        raise Unsupported(RAW_REMEDY)
    whole = [page for page in pages if not page.reduced]
    if pages and not whole:
        raise Unsupported("a TIFF with only a thumbnail; export the photo as JPEG, TIFF or PNG")
    if number is not None:
        check_page(number, max(1, len(whole)))
    image = _opened_page(data, whole[(number or 1) - 1] if whole else None)
    if number is None and len(whole) > 1:
        add_note(image, f"has several pages; the first is read; {HOW_TO_CHOOSE}")
    elif number is None and whole and pages[0].reduced:
        add_note(image, "begins with a thumbnail; the photo behind it is read")
    return image


def _opened_page(data: bytes, page: tiff.Page | None) -> Image.Image:
    if page is None:
        return opened(data, ("TIFF",))
    if page.deep:
        image = deep_tiff(page)
        if image is not None:
            return image
    elif page.bits:
        try:
            return opened(tiff.beginning_with(page), ("TIFF",))
        except UnknownFormat:
            pass
    raise Unsupported(
        f"a TIFF of {page.samples} channels with {page.bits or 'various numbers of'} bits; "
        "save it as an 8-bit RGB TIFF or PNG"
    )


def check_page(page: int, count: int) -> None:
    """Raise Unsupported unless a file of ``count`` pages has this one; pages count from 1."""
    if not 1 <= page <= count:
        remedy = f"give --page 1 to {count}" if count > 1 else "leave out --page"
        raise Unsupported(f"has {count} page{'s' * (count != 1)}; {remedy}")


def turn_to(image: Image.Image, page: int) -> None:
    """Let an opened image be this page or frame of its file, counted from 1.

    Frames of an animation are whole pictures, also where the file holds only what changes.

    Raises:
        Unsupported: The file has no such page.
    """
    if page != 1:  # to count the frames of an animation takes a pass through the file
        check_page(page, getattr(image, "n_frames", 1))
    if page != image.tell() + 1:
        image.seek(page - 1)


def note_of_frames(image: Image.Image) -> str:
    """Return a word about the other frames of an opened image; "" if it has no others."""
    if not getattr(image, "is_animated", False):
        return ""
    which = "the first" if image.tell() == 0 else "the main one"  # of a burst
    return f"has several frames; {which} is read; {HOW_TO_CHOOSE}"
