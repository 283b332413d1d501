"""Make the label maps of all rows of the paper's table from one run of the nets on a photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.scoreboard import TABLE, TableRow
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import Inferred, label_photo
from deconvnet_cli.segmentation.settings import CrfSettings


def row_of(system: str, *, crf: bool) -> TableRow:
    """Return the row of a system, with or without the CRF."""
    for row in TABLE:
        if (row.system, row.crf) == (system, crf):
            return row
    return TableRow("FCN-8s + CRF", system, crf, None)  # the paper has no such row


def maps_of(maps: ScoreMaps, system: str, source: Path | str) -> ScoreMaps:
    """Return the maps that a system uses.

    Args:
        system: One of ``choices.SYSTEMS``.
        source: The origin of the maps, for errors.

    Raises:
        DatasetError: A map of the system is missing.
    """
    found = ScoreMaps(
        deconvnet=None if system == "fcn8s" else maps.deconvnet,
        fcn=None if system == "deconvnet" else maps.fcn,
        raw=maps.raw,
    )
    if (found.deconvnet is None and found.fcn is None) or found.system != system:
        raise DatasetError(
            f"{source}: has scores of {maps.system} alone; make them again with --net edeconvnet"
        )
    return found


@torch.inference_mode()
def label_rows(
    inferred: Inferred,
    rows: Sequence[TableRow],
    size: tuple[int, int],
    ensemble: Ensemble,
    *,
    source: Path | str = "",
    crf: CrfSettings = CrfSettings(),
) -> dict[str, NDArray[np.uint8]]:
    """Return the labels of each row by its name, uint8 height x width.

    Args:
        inferred: The photo with its maps, from one run of the nets.
        size: The width and height of the labels, those of the original photo, pixels.
        source: The origin of the maps, for errors.
        crf: The settings of the dense CRF, for the rows that use it.

    Raises:
        DatasetError: A row needs a net that was not run; the error names ``source``.
    """
    labels = {}
    for row in rows:
        own = replace(inferred, maps=maps_of(inferred.maps, row.system, source))
        found = label_photo(own, size, ensemble, crf if row.crf else None)
        labels[row.name] = found.labels
    return labels
