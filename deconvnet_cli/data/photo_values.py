"""Photos that Python code holds: paths, bytes, open files, PIL images, arrays and tensors."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from pathlib import Path
from typing import IO, Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.data.decoding import Undecodable, check_size
from deconvnet_cli.data.images import as_shown, read_photo, tell_of
from deconvnet_cli.data.ranges import NOTE
from deconvnet_cli.errors import ImageError

Encoded = bytes | bytearray | memoryview  # the content of a file
Photo = (
    str | os.PathLike[str] | Encoded | IO[bytes] | Image.Image | NDArray[np.uint8] | torch.Tensor
)
KINDS = "a path, bytes, an open file, a PIL image, a NumPy array or a torch tensor"
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA


def photo_of(source: Photo, page: int | None) -> Image.Image:
    """Return a photo from any of ``KINDS``, as :func:`read_photo` does.

    Args:
        page: The page or frame of a file; None takes the first one, or a PIL image as it stands.

    Raises:
        ImageError: The source is none of these, is damaged, or has no such page.
    """
    if isinstance(source, Encoded):
        return read_photo(bytes(source), "bytes", page=page)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise ImageError("the name of the photo is empty; give a path")
        if Path(source).is_dir():
            raise ImageError(f"{source}: a folder; give its photos to segment_many")
        return read_photo(Path(source), page=page)
    values = (Image.Image, np.ndarray, torch.Tensor)
    if page is not None and isinstance(source, values):
        raise ImageError(
            f"{type(source).__name__}: has no pages to choose from; give a file with page={page}, "
            "or a PIL image after its seek()"
        )
    if isinstance(source, Image.Image):
        return photo_of_pil(source)
    if isinstance(source, np.ndarray):
        return photo_of_array(source)
    if isinstance(source, torch.Tensor):
        return photo_of_tensor(source)
    if hasattr(source, "read"):
        return photo_of_file(source, page)
    raise ImageError(f"{type(source).__name__}: not a photo; give {KINDS}")


def is_one_photo(value: object) -> bool:
    """Return whether a value is a single photo: of ``KINDS``, and not an array of several.

    Arrays and tensors of two or three dimensions count as one, since their rows would pass for
    grey photos.
    """
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim in (2, 3)
    kinds = (str, *get_args(Encoded), os.PathLike, Image.Image)
    return isinstance(value, kinds) or hasattr(value, "read")


def path_of(source: Photo) -> Path | None:
    """Return the path of the file that a photo is given by; None if it is none."""
    return Path(source).absolute() if isinstance(source, str | os.PathLike) else None


def name_of(source: Photo) -> str:
    """Return the name of the file that a photo is read from; "" if there is none."""
    if isinstance(source, str | os.PathLike):
        return Path(source).name
    if not hasattr(source, "read"):
        return ""
    # In Flask, the name of an upload is that of the form's field.
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) else ""


def photo_of_file(file: IO[bytes], page: int | None) -> Image.Image:
    """Return the photo, or a page of it, in an open file from its position on.

    Raises:
        ImageError: The file is open as text, closed, or holds no photo.
    """
    name = name_of(file) or "open file"
    try:
        start = file.read(0)
        if isinstance(start, Coroutine):  # of FastAPI's uploads
            start.close()  # Python would warn that nobody waited for it
            raise ImageError(f"{name}: its read() is to be awaited; give what it returns")
        if not isinstance(start, bytes):
            raise ImageError(f"{name}: open as text; open it with mode 'rb'")
    except ValueError as error:
        raise ImageError(f"{name}: cannot be read ({error}); open it again") from error
    return read_photo(file, name, page=page)


def photo_of_pil(image: Image.Image) -> Image.Image:
    """Return a PIL image of any mode as a photo; the image itself is not changed.

    Raises:
        ImageError: The image is damaged, empty or too large.
    """
    try:
        check_size(image.size, MAX_PIXELS)
        copy = image.copy()  # as it is turned in place
        photo = as_shown(copy)
    except OSError as error:  # Pillow may read the file only now
        what = " ".join(str(error).split())
        raise ImageError(f"PIL image: damaged or truncated ({what}); load it again") from error
    except (Undecodable, ValueError) as error:
        raise ImageError(f"PIL image: {error}") from error
    tell_of(photo, copy.info.get(NOTE), "PIL image")
    return photo


def photo_of_array(array: NDArray[Any], kind: str = "array") -> Image.Image:
    """Return a uint8 array as a photo: grey H x W or H x W x 1, RGB H x W x 3 or RGBA H x W x 4.

    Transparent parts are put on black.

    Raises:
        ImageError: The array has another type or shape, or is empty.
    """
    what = described(kind, array.dtype, array.shape)
    if array.dtype != np.uint8:
        raise ImageError(f"{what}: must be uint8, 0 to 255; {as_bytes_of(array)}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in CHANNELS):
        hint = "; for C x H x W: array.transpose(1, 2, 0)" if array.ndim == 3 else ""
        raise ImageError(f"{what}: must be H x W (grey), H x W x 3 (RGB) or H x W x 4 (RGBA){hint}")
    try:
        check_size(array.shape[1::-1], MAX_PIXELS)
    except Undecodable as error:
        raise ImageError(f"{kind}: {error}") from error
    photo = as_shown(Image.fromarray(np.ascontiguousarray(array)))
    tell_of(photo, None, kind)
    return photo


def as_bytes_of(array: NDArray[Any]) -> str:
    """Return how an array of another type becomes uint8, by the values that it has, for errors."""
    if array.dtype.kind == "b":
        return "for True and False: array.astype('uint8') * 255"
    if array.dtype.kind not in "fiu":
        return "give the numbers of its pixels"
    largest = array.max(initial=0)
    if array.dtype.kind == "f" and not largest > 1:
        return "for floats from 0 to 1: (array * 255).round().astype('uint8')"
    if (array.dtype.kind, array.dtype.itemsize) == ("u", 2) and largest > 255:
        return "for values from 0 to 65535: (array // 257).astype('uint8')"
    return "for values from 0 to 255: array.astype('uint8')"


def photo_of_tensor(tensor: torch.Tensor) -> Image.Image:
    """Return a tensor C x H x W or H x W, uint8 or float from 0 to 1, as a photo.

    These are the tensors of torchvision; C is 1, 3 or 4 as for arrays.

    Raises:
        ImageError: The tensor has another type, shape or range, or is empty.
    """
    what = described("tensor", str(tensor.dtype).removeprefix("torch."), tensor.shape)
    if tensor.ndim != 2 and not (tensor.ndim == 3 and tensor.shape[0] in CHANNELS):
        raise ImageError(
            f"{what}: must be C x H x W with 1, 3 or 4 channels; "
            "for H x W x C: tensor.permute(2, 0, 1); for a batch, give one photo at a time"
        )
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()
        if values.numel() and not (values.min() >= 0 and values.max() <= 1):  # or NaN
            raise ImageError(f"{what}: floats must be from 0 to 1, before any normalisation")
        values = (values * 255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise ImageError(f"{what}: must be uint8, 0 to 255, or floats from 0 to 1")
    if values.ndim == 3:
        values = values.permute(1, 2, 0)
    return photo_of_array(values.numpy(), "tensor")


def described(kind: str, dtype: object, shape: tuple[int, ...]) -> str:
    """Return the kind, type and shape of an array, for errors."""
    return f"{kind} {dtype} {' x '.join(map(str, shape))}"
