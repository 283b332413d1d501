"""What a batch does with each photo, and what its labels depend on."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deconvnet_cli import __version__
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.data.decoding import MAX_PIXELS
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.segment import box_settings
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, describe
from deconvnet_cli.storage.hashing import bytes_sha256


@dataclass(frozen=True)
class Fingerprint:
    """What labels depend on besides the photo, as the manifest has it.

    Attributes:
        weights: SHA-256 of the weights by net.
        settings: SHA-256 of all settings.
        versions: of the packages; they are noted, and nothing is done again because of them.
    """

    weights: Mapping[str, str]
    settings: str
    versions: Mapping[str, str]


PACKAGES = ("torch", "opencv-contrib-python", "numpy", "Pillow")


# Settings that only say how quickly labels are made.
NO_MATTER = ("batch_size",)


@dataclass(frozen=True)
class BatchSpec:
    """What is made of each photo.

    Attributes:
        load: gives the nets on their device, and the settings; picklable.
        folder: the output folder.
        save_scores: keep the merged scores as well.
        outputs: what is written beside a label PNG.
        max_pixels: width times height that a photo may have.
    """

    load: Callable[[], tuple[System, SegmentSettings]]
    folder: Path
    save_scores: bool = False
    outputs: Outputs = Outputs()
    max_pixels: int = MAX_PIXELS

    def extras(self, job: Job) -> list[Path]:
        """The files that are made beside a label PNG."""
        scores = [job.scores] if self.save_scores else []
        return [*self.outputs.beside(job.target), *scores]


@dataclass(frozen=True)
class SystemInfo:
    """What there is to know of nets and settings where no net is run.

    Attributes:
        settings: how photos are segmented.
        fingerprint: what labels depend on.
        classes: names of the labels.
        ensemble: how the maps of two nets are put together.
        boxes: how many are looked for in a photo; None if no net takes boxes.
        about: what stored scores say of the nets; nothing unless scores are kept.
    """

    settings: SegmentSettings
    fingerprint: Fingerprint
    classes: tuple[str, ...]
    ensemble: Ensemble
    boxes: int | None
    about: Mapping[str, Any]


def system_info(spec: BatchSpec, system: System, settings: SegmentSettings) -> SystemInfo:
    """Of nets that are loaded.

    Raises:
        UsageError: the outputs name a class that there is not.
    """
    spec.outputs.check(system.classes)
    return SystemInfo(
        settings,
        fingerprint_of(system, settings, spec.outputs),
        system.classes,
        system.ensemble,
        box_settings(system.deconvnet, settings).count if system.deconvnet else None,
        describe(system, settings) if spec.save_scores else {},
    )


def fingerprint_of(
    system: System, settings: SegmentSettings, outputs: Outputs = Outputs()
) -> Fingerprint:
    """What the labels, and the files beside them, depend on, as the manifest has it."""
    about = describe(system, settings)
    weights = {name: part["sha256"] for name, part in about.items() if "sha256" in part}
    rest: dict[str, Any] = {name: part for name, part in about.items() if name not in weights}
    rest["settings"] = {k: v for k, v in rest["settings"].items() if k not in NO_MATTER}
    if outputs.only is not None or outputs.palette != Outputs.palette:
        rest["outputs"] = [outputs.only, outputs.palette]
    text = json.dumps(rest, sort_keys=True, default=str)
    return Fingerprint(weights, bytes_sha256(text.encode()), versions())


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of the packages that compute."""
    found = {"deconvnet": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # installed otherwise, as by conda
            continue
    return found
