"""The pages of a file of several: animations, multi-page TIFFs and bursts of photos."""

from __future__ import annotations

from PIL import Image

from deconvnet_cli.data.decoding import Unsupported

HOW_TO_CHOOSE = "`deconvnet segment` and `batch` read another with --page N"


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


def note_of_frames(image: Image.Image) -> str | None:
    """Return a word about the other frames of an opened image; None if it has no others."""
    if not getattr(image, "is_animated", False):
        return None
    which = "the first" if image.tell() == 0 else "the main one"  # of a burst
    return f"has several frames; {which} is read; {HOW_TO_CHOOSE}"


def note_of_pages(passed_over: int, pages: int) -> str | None:
    """Return a word about the pages of a TIFF, of which the first photo is read.

    Args:
        passed_over: The number of thumbnails before it.
        pages: The number of photos.
    """
    if pages > 1:
        return f"has several pages; the first is read; {HOW_TO_CHOOSE}"
    return "begins with a thumbnail; the photo behind it is read" if passed_over else None
