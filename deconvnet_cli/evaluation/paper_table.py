"""The rows of the paper's table for one photo, all from one run of the nets."""

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
    """The row that a system is, with or without the CRF."""
    for row in TABLE:
        if (row.system, row.crf) == (system, crf):
            return row
    return TableRow("FCN-8s + CRF", system, crf, None)  # the paper has no such row


def parts_there(maps: ScoreMaps) -> str:
    """The system that all of the maps make."""
    if maps.deconvnet is None:
        return "fcn8s"
    return "deconvnet" if maps.fcn is None else "edeconvnet"


def part(maps: ScoreMaps, system: str, source: Path | str) -> ScoreMaps:
    """The maps that a system uses.

    Args:
        source: where they come from, for errors.

    Raises:
        DatasetError: one of them is not there.
    """
    found = ScoreMaps(
        deconvnet=None if system == "fcn8s" else maps.deconvnet,
        fcn=None if system == "deconvnet" else maps.fcn,
        raw=maps.raw,
    )
    if (found.deconvnet is None and found.fcn is None) or parts_there(found) != system:
        raise DatasetError(
            f"{source}: has scores of {parts_there(maps)} alone; score the photos again with "
            "--net edeconvnet"
        )
    return found


@torch.inference_mode()
def label_rows(
    scored: Inferred,
    rows: Sequence[TableRow],
    width: int,
    height: int,
    ensemble: Ensemble,
    *,
    source: Path | str = "",
    crf: CrfSettings = CrfSettings(),
) -> dict[str, NDArray[np.uint8]]:
    """Labels by row, uint8 height x width each, from the maps of one run of the nets.

    Raises:
        DatasetError: a row needs a net that was not run; ``source`` is named.
    """
    labels = {}
    for row in rows:
        own = replace(scored, maps=part(scored.maps, row.system, source))
        found = label_photo(own, width, height, ensemble, crf if row.crf else None)
        labels[row.name] = found.labels
    return labels
