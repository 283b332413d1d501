"""A photo out of the body of a request, whatever was sent."""

from __future__ import annotations

import asyncio
import io

import python_multipart
from fastapi import Request
from PIL import Image, UnidentifiedImageError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import File, parse_options_header
from starlette.requests import ClientDisconnect

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.serve.errors import GONE, Refusal

# Pillow's others are rare, and some of its decoders start programs (EPS: Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
FORM = "multipart/form-data"
RAW = ("application/octet-stream", "application/x-www-form-urlencoded", "")  # curl sends the second
MOST_FIELDS = 8
NAME = "photo"  # what errors call it


def check_head(request: Request, max_bytes: int) -> None:
    """See from its head alone whether the body is worth reading.

    Raises:
        Refusal: 413, it says that it is too large; 415, it is of a type that holds no photo.
    """
    kind = content_type(request).partition(";")[0].strip().lower()
    if not (kind.startswith("image/") or kind == FORM or kind in RAW):
        raise Refusal(415, f"{kind[:80]}: send the photo as it is, or as a file in {FORM}")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)


def content_type(request: Request) -> str:
    """The header of that name, or nothing."""
    return request.headers.get("content-type", "")


def too_large(max_bytes: int) -> Refusal:
    """The body has more bytes than are taken."""
    return Refusal(
        413, f"more than the {max_bytes / 1e6:g} MB that are taken; scale the photo down"
    )


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """The whole body, counted while it comes in.

    Raises:
        Refusal: 413, more than ``max_bytes``; 408, not all there within ``timeout`` seconds;
            499, the client has gone.
    """

    async def collect() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large(max_bytes)
        return bytes(body)

    try:
        return await asyncio.wait_for(collect(), timeout)
    except asyncio.TimeoutError:
        message = f"the photo did not arrive within {timeout:g} s"
        raise Refusal(408, message, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(GONE, "the client has gone") from None


def photo_in(body: bytes, kind: str, max_pixels: int) -> Image.Image:
    """The photo in a body: the body itself, or the one file of a form. For a worker thread.

    Args:
        kind: the header Content-Type.
        max_pixels: of width x height; they are looked at before anything is decoded.

    Raises:
        Refusal: 400, no image of a known format; 413, too many pixels; 422, a form with no file
            in it or several.
        ImageError: empty, damaged or truncated.
    """
    data = file_in(body, kind) if kind.lower().startswith(FORM) else body
    check_size(data, max_pixels)
    return read_photo(data, NAME, max_pixels=max_pixels)


def check_size(data: bytes, max_pixels: int) -> None:
    """See from the head of an image that it is one, and not too large.

    Raises:
        Refusal: 400 or 413.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        if not data:
            return  # read_photo says so
        raise Refusal(400, f"{NAME}: not an image; give one of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refusal(413, f"{NAME}: far too many pixels; scale it down") from None
    except Exception:  # of Pillow's parsers, for damaged heads
        message = f"{NAME}: a damaged or truncated image; copy or download it again"
        raise Refusal(400, message) from None
    if width * height > max_pixels:
        message = f"{NAME}: {width}x{height} are more than the {max_pixels} pixels that are taken"
        raise Refusal(413, f"{message}; scale it down")


def file_in(body: bytes, kind: str) -> bytes:
    """The one file in a form.

    Raises:
        Refusal: 422, the form is malformed, or has no file in it, or several.
    """
    boundary = parse_options_header(kind)[1].get(b"boundary")
    if not boundary:
        raise Refusal(422, f"{FORM} without a boundary")
    files: list[File] = []
    limits = {"MAX_MEMORY_FILE_SIZE": len(body) + 1, "MAX_FIELDS": MOST_FIELDS}
    try:
        parser = python_multipart.FormParser(
            FORM, None, files.append, boundary=boundary, config=limits
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(422, f"a malformed form ({error})") from None
    if len(files) != 1:
        raise Refusal(422, f"{len(files)} files in the form; send one photo, as -F file=@photo.jpg")
    with files[0].file_object as file:
        file.seek(0)
        return file.read()
