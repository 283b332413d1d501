"""Merged scores kept on disk, so that CRF, ensemble and table can be made again without a net.

One compressed ``NAME.npz`` a photo: the maps in half precision, and ``about`` (JSON): the photo,
its size and SHA-256, whether the maps are raw, and the settings that made them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.data.decoding import MAX_PIXELS
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.errors import DatasetError, ImageError
from deconvnet_cli.segmentation.crf.inputs import LEAST_PROBABILITY
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred, working_copy
from deconvnet_cli.segmentation.system import ensemble_of
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.hashing import file_sha256
from deconvnet_cli.storage.npz import read_npz
from deconvnet_cli.storage.remote import real

FORMAT = "deconvnet scores 1"
MAPS = ("deconvnet", "fcn")
MAX_CLASSES = 255  # labels are bytes
MAX_BYTES = 1 << 28  # of one file unpacked: three times both maps of the largest photo


@dataclass(frozen=True)
class Stored:
    """Scores read from the store.

    Attributes:
        maps: float32, at the size that was worked on.
        photo: path of the photo they are of.
        width, height: its size, pixels.
        sha256: of its file.
        proposals: how many boxes were segmented.
        settings: what made the scores.
    """

    maps: ScoreMaps
    photo: Path
    width: int
    height: int
    sha256: str
    proposals: int
    settings: Mapping[str, Any]

    def ensemble(self, rule: str | None, share: float | None) -> Ensemble:
        """How both maps are put together: as given, or as it was when they were made."""
        return ensemble_of(self.settings.get("ensemble", {})).unless(rule, share)


def write_scores(
    path: Path,
    scored: Inferred,
    photo: Path,
    size: tuple[int, int],
    settings: Mapping[str, Any],
    sha256: str | None = None,
) -> None:
    """Write one file, whole or not at all.

    Args:
        size: width and height of the photo, which may be larger than the maps.
        sha256: of the photo's file as it was scored; by default as it is now.

    Raises:
        OutputError: it cannot be written.
    """
    about = {
        "format": FORMAT,
        "photo": str(real(photo)),
        "width": size[0],
        "height": size[1],
        "sha256": sha256 or file_sha256(photo),
        "raw": scored.maps.raw,
        "proposals": scored.proposals,
        "settings": settings,
    }
    arrays = {
        name: half(values, raw=scored.maps.raw)
        for name in MAPS
        if (values := getattr(scored.maps, name)) is not None
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, about=np.array(json.dumps(about, default=str)), **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def half(values: Tensor, *, raw: bool) -> NDArray[np.float16]:
    """Maps C x H x W in half precision; what is too large for it becomes the largest it has.

    Probabilities that the CRF takes as ``LEAST_PROBABILITY`` anyway become 0: about half
    of them do, which saves a quarter of the bytes and more.
    """
    limit = torch.finfo(torch.float16).max
    kept = values.cpu().clamp(-limit, limit)
    if not raw:
        kept = torch.where(kept < LEAST_PROBABILITY, 0, kept)
    halved: NDArray[np.float16] = kept.half().numpy()
    return halved


def read_scores(path: Path) -> Stored:
    """What :func:`write_scores` wrote.

    Raises:
        DatasetError: missing, damaged, or not of this tool.
    """
    try:
        arrays = read_npz(path, MAX_BYTES)
        about = json.loads(str(arrays.pop("about")))
        if about["format"] != FORMAT or not set(arrays) <= set(MAPS) or not arrays:
            raise ValueError(f"its format is not {FORMAT}")
        check_arrays(list(arrays.values()))
        maps = {name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}
        stored = Stored(
            maps=ScoreMaps(maps.get("deconvnet"), maps.get("fcn"), bool(about["raw"])),
            photo=Path(about["photo"]),
            width=int(about["width"]),
            height=int(about["height"]),
            sha256=str(about["sha256"]),
            proposals=int(about["proposals"]),
            settings=dict(about["settings"]),
        )
        stored.ensemble(None, None)  # ValueError if they say something wrong of it
        return stored
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no stored scores; `deconvnet batch --save-scores` writes them"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # what is said of the scores can be anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: damaged scores ({what}); make them again") from error


def check_arrays(arrays: Sequence[NDArray[Any]]) -> None:
    """Raise ValueError unless they are maps of one photo."""
    shape = arrays[0].shape
    for array in arrays:
        if array.dtype != np.float16 or array.ndim != 3 or array.shape != shape or not array.size:
            raise ValueError("its maps do not fit together")
        if len(array) > MAX_CLASSES:
            raise ValueError(f"{len(array)} classes")
        if not np.isfinite(array).all():
            raise ValueError("scores that are not numbers")


def scored_again(
    stored: Stored, photo: Path | None = None, *, max_pixels: int = MAX_PIXELS
) -> Inferred:
    """Stored scores with their photo, as a run of the nets gives them.

    Args:
        photo: where the photo is now; where it was when it was scored unless given.
        max_pixels: that the photo may have.

    Raises:
        ImageError: the photo is missing, unreadable, or not the one that was scored.
        DatasetError: the scores do not have its shape.
    """
    path = photo or stored.photo
    image = read_photo(path, max_pixels=max_pixels)
    if file_sha256(path) != stored.sha256:
        raise ImageError(f"{path}: not the photo that was scored; score it again")
    known = stored.maps.deconvnet if stored.maps.deconvnet is not None else stored.maps.fcn
    height, width = image.size[::-1] if known is None else known.shape[1:]
    work = working_copy(image, max(width, height))
    if work.size != (width, height) or image.size != (stored.width, stored.height):
        raise DatasetError(f"{path}: its stored scores are of another size; score it again")
    return Inferred(work, stored.maps, stored.proposals, {})
