"""Label PNGs: the one reader and the one writer."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.decoding import (
    LABEL_FORMATS,
    MAX_BYTES,
    Undecodable,
    identify,
    load,
)
from deconvnet_cli.data.voc import CLASSES, IGNORE, palette
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.storage.files import read_whole


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A label PNG as uint8 H x W: 0..20 are classes, 255 is ignored.

    Raises:
        DatasetError: unreadable, not single-channel, or with other values.
    """
    try:
        with identify(read_whole(path, MAX_BYTES), LABEL_FORMATS) as image:
            if image.mode not in ("P", "L"):
                raise DatasetError(
                    f"{path}: a label PNG in mode {image.mode}; "
                    "labels must be palette or grey PNG with values 0..20 and 255"
                )
            load(image)
            mask = np.array(image)
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such label PNG") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except Undecodable as error:
        raise DatasetError(f"{path}: not a readable label PNG ({error})") from error
    wrong = (mask >= len(CLASSES)) & (mask != IGNORE)
    if wrong.any():
        raise DatasetError(f"{path}: label {mask[wrong][0]}; labels are 0..20 and 255")
    return mask


def label_png(labels: NDArray[np.uint8]) -> bytes:
    """uint8 H x W labels as the bytes of a palette PNG in VOC's colours."""
    image = Image.fromarray(labels, mode="L")
    image.putpalette(palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
