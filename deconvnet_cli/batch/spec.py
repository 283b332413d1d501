"""The specification of a batch, and the fingerprint of all that its labels depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deconvnet_cli.batch.job import Job
from deconvnet_cli.choices import MAX_PIXELS
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.runtime.versions import versions
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, box_settings, describe
from deconvnet_cli.storage.hashing import bytes_sha256


@dataclass(frozen=True)
class Fingerprint:
    """The weights, settings and versions that labels depend on, as the manifest records them.

    Attributes:
        weights: SHA-256 of the weights by net.
        settings: SHA-256 of all settings.
        versions: Versions of the packages. They are only recorded: no photo is labelled again
            because of them.
    """

    weights: Mapping[str, str]
    settings: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class BatchSpec:
    """The specification of what a batch makes of each photo.

    Attributes:
        load: Loads the system on its device and returns it with the settings; picklable.
        folder: The output folder.
        save_scores: Whether to keep the merged scores as well.
        outputs: The files to write beside a label PNG.
        max_pixels: The largest allowed width x height of a photo.
        page: The page or frame to read of each photo; None takes the first.
    """

    load: Callable[[], tuple[System, SegmentSettings]]
    folder: Path
    save_scores: bool = False
    outputs: Outputs = Outputs()
    max_pixels: int = MAX_PIXELS
    page: int | None = None

    def files(self, job: Job) -> list[Path]:
        """Return the files that are written for a photo, its labels first."""
        scores = [job.scores] if self.save_scores else []
        return [job.target, *self.outputs.beside(job.target), *scores]

    def name_of(self, path: Path) -> str:
        """Return a path relative to the output folder, with forward slashes, for the manifest."""
        return path.relative_to(self.folder).as_posix()


@dataclass(frozen=True)
class BatchInfo:
    """What a batch makes of photos, and metadata about its system, for all of its processes.

    Attributes:
        spec: What is made of each photo, and where.
        fingerprint: The weights, settings and versions that labels depend on.
        settings: How photos are segmented.
        classes: The class names, by label.
        ensemble: How the maps of two nets are combined.
        boxes: How many boxes are proposed for each photo; None if no net takes boxes.
        about: The description of the nets in stored scores; empty unless scores are kept.
    """

    spec: BatchSpec
    fingerprint: Fingerprint
    settings: SegmentSettings
    classes: tuple[str, ...]
    ensemble: Ensemble
    boxes: int | None
    about: Mapping[str, Any]


def batch_info(spec: BatchSpec, system: System, settings: SegmentSettings) -> BatchInfo:
    """Return what is to be known of a batch whose system is loaded.

    Raises:
        UsageError: The outputs name a class that the system does not have.
    """
    spec.outputs.check(system.classes)
    return BatchInfo(
        spec,
        fingerprint_of(system, settings, spec.outputs, spec.page),
        settings,
        system.classes,
        system.ensemble,
        box_settings(system.deconvnet, settings).count if system.deconvnet else None,
        describe(system, settings) if spec.save_scores else {},
    )


def fingerprint_of(
    system: System, settings: SegmentSettings, outputs: Outputs = Outputs(), page: int | None = None
) -> Fingerprint:
    """Return the fingerprint of the labels of a page, and of the files beside them."""
    about = describe(system, settings)
    weights = {name: part["sha256"] for name, part in about.items() if "sha256" in part}
    rest: dict[str, Any] = {name: part for name, part in about.items() if name not in weights}
    del rest["settings"]["batch_size"]  # it does not change labels
    # Overlays in VOC's colours were the default once: those of earlier versions count as done.
    palette = outputs.palette if outputs.overlay else "voc"
    if outputs.only is not None or palette != "voc":
        rest["outputs"] = [outputs.only, palette]
    if more := outputs.more():
        rest["more outputs"] = more
    if page not in (None, 1):  # the first page has the labels that it has without --page
        rest["page"] = page
    text = json.dumps(rest, sort_keys=True, default=str)
    return Fingerprint(weights, bytes_sha256(text.encode()), versions())
