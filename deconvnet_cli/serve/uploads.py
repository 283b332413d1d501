"""Read the photo in the body of a request, and refuse bodies that hold none."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import python_multipart
from fastapi import Request
from PIL import Image
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header
from starlette.requests import ClientDisconnect

from deconvnet_cli.data.decoding import TooLarge
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import ImageError
from deconvnet_cli.serve.errors import GONE, Refusal

FORM = "multipart/form-data"
FORM_OF_CURL, BYTES_OF_S3 = "application/x-www-form-urlencoded", "binary/octet-stream"
RAW = (FORM_OF_CURL, BYTES_OF_S3, "application/octet-stream", "")
MOST_FIELDS = 8
EXTENDED = re.compile(rb"\bfilename\*=", re.IGNORECASE)
NAME = "photo"  # the name of the photo in errors


def check_headers(request: Request, max_bytes: int) -> None:
    """Check from the headers alone that the body is worth reading.

    Raises:
        Refusal: 413 if the declared length is too large; 415 if the type cannot hold a photo, or
            the body is compressed.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not (kind.startswith("image/") or kind == FORM or kind in RAW):
        raise Refusal(415, f"{kind[:80]}: send the photo as it is, or as a file in {FORM}")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        message = f"Content-Encoding {coding[:80]}: send the photo without it"
        raise Refusal(415, message, {"Accept-Encoding": "identity"})
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise too_large(max_bytes)


def too_large(max_bytes: int) -> Refusal:
    """Return the refusal of a body with too many bytes."""
    return Refusal(413, f"more than the limit of {max_bytes / 1e6:g} MB; scale the photo down")


async def read_body(request: Request, max_bytes: int, timeout: float) -> bytes:
    """Read the whole body, and count its bytes as they arrive.

    Raises:
        Refusal: 413 if the body exceeds ``max_bytes``; 408 if it has not arrived within
            ``timeout`` seconds; 499 if the client has left.
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
        raise Refusal(GONE, "the client has left") from None


def photo_from_file(data: bytes, max_pixels: int, tell: Callable[[str], None]) -> Image.Image:
    """Decode the bytes of a photo's file. Call it in a worker thread.

    Args:
        max_pixels: The largest allowed width x height, checked before anything is decoded.
        tell: Is called with each word about how the photo was read.

    Raises:
        Refusal: 413 if there are too many pixels.
        ImageError: It is no image, or an empty, damaged or truncated one.
    """
    try:
        return read_photo(data, NAME, max_pixels=max_pixels, tell=tell)
    except ImageError as error:
        if isinstance(error.__cause__, TooLarge):
            raise Refusal(413, str(error)) from None
        raise


def read_upload(body: bytes, kind: str) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the file that is the body, or the one file of a form with its other fields.

    ``kind`` is the header Content-Type.

    Raises:
        Refusal: 422 if a form is malformed or does not have exactly one file.
    """
    if not kind.lower().startswith(FORM):
        return body, []
    boundary = parse_options_header(kind)[1].get(b"boundary")
    if not boundary:
        raise Refusal(422, f"{FORM} without a boundary")
    files: list[File] = []
    fields: list[Field] = []
    limits = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}

    def add_field(field: Field) -> None:
        if len(fields) == MOST_FIELDS:
            raise Refusal(422, f"more than {MOST_FIELDS} fields in the form; send fewer")
        fields.append(field)

    def add_file(file: File) -> None:
        if len(files) == MOST_FIELDS:
            raise Refusal(422, f"more than {MOST_FIELDS} files in the form; send one photo")
        files.append(file)

    try:
        parser = python_multipart.FormParser(
            FORM, add_field, add_file, boundary=boundary, config=limits
        )
        parser.write(plain_names(body, boundary))
        parser.finalize()
    except FormParserError as error:
        raise Refusal(422, f"a malformed form ({error})") from None
    if len(files) != 1:
        raise Refusal(422, f"{len(files)} files in the form; send one photo, as -F file=@photo.jpg")
    options = [(text(field.field_name), text(field.value)) for field in fields]
    with files[0].file_object as file:
        file.seek(0)
        return file.read(), options


def text(value: bytes | None) -> str:
    """Return a part of a form as text."""
    return (value or b"").decode("utf-8", "replace")


def plain_names(body: bytes, boundary: bytes) -> bytes:
    """Return a form with ``filename=`` for ``filename*=``, with which parts are no files otherwise.

    Some clients send the second for names beyond ASCII. The name itself is not used.
    """
    heads = rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"\r\n(?:[^\r\n]+\r\n)+"
    return re.sub(heads, lambda head: EXTENDED.sub(b"filename=", head[0]), body)
