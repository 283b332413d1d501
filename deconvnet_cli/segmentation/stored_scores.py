"""Stored scores: score maps on disk, to redo the CRF, ensemble and table without running a net.

Each photo has one compressed ``NAME.npz``. It holds the maps in half precision and ``about``, a
JSON text with the photo, its size and SHA-256, whether the maps are logits, and the settings that
made them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.data.classes import MOST_CLASSES
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError, ImageError, UsageError, why
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred
from deconvnet_cli.segmentation.settings import LEAST_PROBABILITY
from deconvnet_cli.segmentation.system import ensemble_of
from deconvnet_cli.segmentation.working_copy import in_size
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.hashing import file_sha256
from deconvnet_cli.storage.npz import NoArchive, read_npz
from deconvnet_cli.storage.remote import real
from deconvnet_cli.weights.card import check_classes

FORMAT = "deconvnet scores 1"
MAPS = ("deconvnet", "fcn")
MAX_BYTES = 1 << 28  # of one file unpacked; both maps of the largest photo take a third of it


@dataclass(frozen=True)
class Stored:
    """The content of one file of stored scores.

    Attributes:
        maps: The maps, float32, in the size of the working copy.
        photo: The path of the photo when the maps were made.
        size: The width and height of the photo, pixels.
        sha256: The SHA-256 of the photo's file.
        proposals: The number of boxes that were segmented.
        settings: The settings that made the maps.
        page: The page of the photo's file that was chosen; None if none was.
    """

    maps: ScoreMaps
    photo: Path
    size: tuple[int, int]
    sha256: str
    proposals: int
    settings: Mapping[str, Any]
    page: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels; VOC's if the file does not say."""
        return named_classes(self.settings) or CLASSES

    def ensemble(
        self, rule: str | None, share: float | None, system_name: str | None = None
    ) -> Ensemble:
        """Return the ensemble of both maps: as given, or else as it was when they were made.

        Raises:
            UsageError: It is given, and the system has one net.
        """
        given = rule is not None or share is not None
        if given and system_name not in (None, "edeconvnet"):
            raise UsageError(
                f"--ensemble and --share combine two nets, and the scores of {self.photo.name} are "
                "of one; leave them out"
            )
        return ensemble_of(self.settings.get("ensemble", {})).unless(rule, share)


def named_classes(settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the classes on the card of a net in the settings of stored scores; None without."""
    for part in settings.values():
        if isinstance(part, Mapping) and "classes" in part:
            return tuple(part["classes"])
    return None


def write_scores(
    path: Path,
    inferred: Inferred,
    photo: Path,
    size: tuple[int, int],
    settings: Mapping[str, Any],
    sha256: str | None = None,
    page: int | None = None,
) -> None:
    """Write the maps of one photo to a file, whole or not at all.

    Args:
        inferred: The maps of the photo.
        size: The width and height of the photo, which may be larger than the maps.
        settings: The settings that made the maps.
        sha256: The SHA-256 of the photo's file; None computes it now.
        page: The page of the photo's file that was chosen; None if none was.

    Raises:
        OutputError: The file cannot be written.
    """
    about = {
        "format": FORMAT,
        "photo": str(real(photo)),
        "width": size[0],
        "height": size[1],
        "sha256": sha256 or file_sha256(photo),
        "raw": inferred.maps.raw,
        "proposals": inferred.proposals,
        "settings": settings,
        **({} if page is None else {"page": page}),
    }
    arrays: dict[str, NDArray[Any]] = {"about": np.array(json.dumps(about, default=str))}
    arrays |= {
        name: to_half(values, raw=inferred.maps.raw)
        for name in MAPS
        if (values := getattr(inferred.maps, name)) is not None
    }
    write_whole(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def to_half(values: Tensor, *, raw: bool) -> NDArray[np.float16]:
    """Return a map C x H x W in half precision, clamped to its range.

    Probabilities below ``LEAST_PROBABILITY``, to which the CRF raises them anyway, become 0. These
    are about half of all, and zeros save more than a quarter of the bytes.

    Args:
        raw: Whether the map holds logits (merge rule max).
    """
    limit = torch.finfo(torch.float16).max
    kept = values.cpu().clamp(-limit, limit)
    if not raw:
        kept = torch.where(kept < LEAST_PROBABILITY, 0, kept)
    halved: NDArray[np.float16] = kept.half().numpy()
    return halved


def read_scores(path: Path) -> Stored:
    """Read a file that :func:`write_scores` wrote.

    Raises:
        DatasetError: The file is missing, damaged, or not of this tool.
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
            size=(int(about["width"]), int(about["height"])),
            sha256=str(about["sha256"]),
            proposals=int(about["proposals"]),
            settings=dict(about["settings"]),
            page=int(about["page"]) if "page" in about else None,
        )
        stored.ensemble(None, None)  # ValueError if the file has a wrong one
        if named := named_classes(stored.settings):
            check_classes(named, len(next(iter(maps.values()))))
        return stored
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no stored scores; `deconvnet batch --save-scores` writes them"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except NoArchive:
        raise DatasetError(
            f"{path}: not a file of stored scores; `deconvnet batch --save-scores` writes them"
        ) from None
    except Exception as error:  # a hostile file can raise anything
        what = " ".join(str(error).split()) or type(error).__name__
        raise DatasetError(f"{path}: damaged scores ({what}); make them again") from error


def check_arrays(arrays: Sequence[NDArray[Any]]) -> None:
    """Raise ValueError unless the arrays can be maps of one photo."""
    shape = arrays[0].shape
    for array in arrays:
        if array.dtype != np.float16 or array.ndim != 3 or array.shape != shape or not array.size:
            raise ValueError("its maps do not fit together")
        if len(array) > MOST_CLASSES:
            raise ValueError(f"it has {len(array)} classes")
        if not np.isfinite(array).all():
            raise ValueError("it has values that are not numbers")


def restore(stored: Stored, photo: Path | None = None, *, max_pixels: int = MAX_PIXELS) -> Inferred:
    """Read the photo of stored scores and return both, as :func:`segment.infer` does.

    Args:
        photo: The path of the photo; None takes the path from ``stored``.
        max_pixels: The largest number of pixels that the photo may have.

    Raises:
        ImageError: The photo is missing, unreadable, or not the one that the maps were made from.
        DatasetError: The maps do not fit the photo's size.
    """
    path = photo or stored.photo
    image = read_photo(path, max_pixels=max_pixels, page=stored.page)
    if file_sha256(path) != stored.sha256:
        raise ImageError(f"{path}: not the photo of these stored scores; make them again")
    height, width = stored.maps.first.shape[1:]
    # The map has the photo's shape but for rounding.
    fits = abs(width * image.height - height * image.width) <= sum(image.size)
    fits &= width <= image.width and height <= image.height
    if not fits or image.size != stored.size:
        raise DatasetError(f"{path}: its stored scores are of another size; make them again")
    return Inferred(in_size(image, (width, height)), stored.maps, stored.proposals, {})
