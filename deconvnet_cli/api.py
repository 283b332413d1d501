"""The same from Python: ``Segmenter.load().segment(photo)``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.choices import (
    BACKENDS,
    DEFAULT,
    ENSEMBLES,
    FCN_DEFAULT,
    MERGES,
    PRECISIONS,
    SYSTEMS,
)
from deconvnet_cli.data.images import Photo, photo_of
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs import overlay as drawing
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.files import FORMATS, Outputs, write_outputs
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.polygons import geojson
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import infer, label_photo
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """What a :class:`Segmenter` says of one photo.

    Attributes:
        photo: mode RGB, W x H, upright.
        labels: uint8 H x W: the class of each pixel, an index into ``classes``.
        scores: float32 C x h x w: probabilities of the classes, which add up to 1 in each pixel,
            at the size that was worked on: the photo's, or for a photo with a longer side over
            1024 pixels that of the photo scaled down to 1024. ``labels`` are their greatest,
            after they are enlarged.
        boxes: int32 N x 4, (x0, y0, x1, y1) in pixels of the photo, half open: what the net was
            shown, the whole photo first. They may reach beyond the photo's edge. N is 0 for
            FCN-8s alone.
        timings: milliseconds by stage: proposals, net, fcn, crf, labels; those that were run.
        classes: names of the labels, in order.
        name: of the photo's file; "" if it is not known.
    """

    photo: Image.Image = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    scores: NDArray[np.float32] = field(repr=False)
    boxes: NDArray[np.int32] = field(repr=False)
    timings: dict[str, float]
    classes: tuple[str, ...] = field(repr=False)
    name: str = ""

    def shares(self) -> dict[str, float]:
        """Share of the pixels, 0 to 1, of each class that is there, the largest first."""
        return class_shares(self.labels, self.classes)

    def overlay(self, only: Iterable[str] | None = None, palette: str = "voc") -> Image.Image:
        """Photo, classes in colours and a legend, see ``outputs.overlay.overlay``.

        Args:
            only: names of the classes that are shown; None shows all but the background.
            palette: "voc", or "safe" for colour-blind people.

        Raises:
            UsageError: there is no such class or palette.
        """
        checked = Outputs(overlay=True, palette=palette)
        colours = colours_of(checked.palette)
        return drawing.overlay(
            self.photo, self.labels, colours=colours, classes=self.classes, only=only
        )

    def cutout(self, only: Iterable[str] | None = None) -> Image.Image:
        """The photo where one of the classes is, mode RGBA, alpha 0 elsewhere.

        Raises:
            UsageError: there is no such class.
        """
        return drawing.cutout(self.photo, self.labels, classes=self.classes, only=only)

    def geojson(self, only: Iterable[str] | None = None) -> dict[str, Any]:
        """Polygons in pixels with their scores, see ``outputs.polygons.geojson``."""
        return geojson(
            self.labels,
            classes=self.classes,
            only=only,
            probabilities=self.scores,
            name=self.name,
        )

    def coco(self, only: Iterable[str] | None = None) -> dict[str, Any]:
        """COCO annotations with their scores, see :func:`deconvnet_cli.outputs.coco.coco`."""
        return coco(
            self.labels,
            classes=self.classes,
            only=only,
            probabilities=self.scores,
            name=self.name,
        )

    def save(self, path: str | os.PathLike[str], **outputs: Any) -> list[Path]:
        """Write the labels, and what else is wanted beside them, as ``deconvnet segment`` does.

        Args:
            path: of the labels: ``.npy`` for an array, else a palette PNG in VOC's colours.
            outputs: attributes of :class:`deconvnet_cli.outputs.files.Outputs`: overlay, cutout,
                polygons, only, palette, format.

        Returns:
            The files, the labels first.

        Raises:
            UsageError: the outputs do not fit together.
            OutputError: a file cannot be written.
        """
        target = Path(path)
        suffix = target.suffix.lower().removeprefix(".")
        wanted = Outputs(**{"format": suffix if suffix in FORMATS else FORMATS[0], **outputs})
        return write_outputs(
            self.photo,
            self.labels,
            target,
            wanted,
            self.classes,
            probabilities=lambda: self.scores,
            name=self.name,
        )


@dataclass(frozen=True, eq=False)
class Segmenter:
    """Nets on their device, and how photos are segmented with them.

    May be used by several threads at a time.
    """

    system: System = field(repr=False)
    settings: SegmentSettings

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = DEFAULT,
        *,
        net: str | None = None,
        fcn_weights: str | os.PathLike[str] = FCN_DEFAULT,
        ensemble: str | None = None,
        share: float | None = None,
        device: str = "auto",
        precision: str = "auto",
        proposals: int | Literal["auto"] | None = None,
        candidates: int = 2000,
        edges: str = "gradient",
        batch_size: int = 8,
        rule: str | None = None,
        crf: bool = False,
        crf_backend: str = "torch",
    ) -> Segmenter:
        """Load weights and get ready; the arguments are the options of ``deconvnet segment``.

        Args:
            weights: name of shipped weights, or a safetensors file.
            net: "deconvnet", "fcn8s" or "edeconvnet"; None takes what the weights are of.
            fcn_weights: of FCN-8s, for edeconvnet and fcn8s.
            ensemble, share: how both are put together: "mean" or "product", and FCN-8s' weight
                in the mean, 0 to 1; None takes what its weights say.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "auto", "fp32", "bf16" or "fp16".
            proposals: how many boxes, the whole photo among them; "auto" stops once further ones
                hardly change a label; None takes what the weights say.
            candidates: boxes that EdgeBoxes is asked for.
            edges: "gradient" or "structured:FILE".
            batch_size: crops a forward pass.
            rule: how crops are merged: "max", "max-probability", "mean-probability" or "context";
                None takes what the weights say.
            crf: refine by the dense CRF.
            crf_backend: "torch" or "pydensecrf".

        Raises:
            UsageError: a value that there is not, or values that do not fit together.
            WeightsError, DeviceError, DependencyError: something is missing or unusable.
        """
        check_choice("net", net, SYSTEMS)
        check_choice("ensemble", ensemble, ENSEMBLES)
        check_choice("precision", precision, PRECISIONS)
        check_choice("rule", rule, MERGES)
        check_choice("crf_backend", crf_backend, BACKENDS)
        if edges != "gradient" and not edges.startswith("structured:"):
            raise UsageError(f"edges={edges!r}: must be 'gradient' or 'structured:FILE'")
        check_count("proposals", None if proposals == "auto" else proposals)
        check_count("candidates", candidates)
        check_count("batch_size", batch_size)
        if share is not None and not 0 <= share <= 1:
            raise UsageError(f"share={share!r}: must be from 0 to 1")
        system, settings = load_system(
            system_name=net,
            weights=str(weights),
            fcn_weights=str(fcn_weights),
            ensemble=ensemble,
            share=share,
            device=device,
            precision=precision,
            proposals=0 if proposals == "auto" else proposals,
            candidates=candidates,
            edges=edges,
            batch_size=batch_size,
            rule=rule,
            crf=crf,
            crf_backend=crf_backend,
        )
        return cls(system, settings)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return self.system.classes

    def segment(self, photo: Photo) -> SegmentationResult:
        """Segment one photo; its labels are those of ``deconvnet segment``.

        Args:
            photo: path of a file; the bytes of one; a PIL image; or a uint8 array H x W x 3 in
                the order red, green, blue (OpenCV's are blue first: ``array[..., ::-1]``). Files
                and PIL images are turned as their EXIF data say and made RGB.

        Raises:
            ImageError: it is none of these, or damaged.
            DependencyError: OpenCV without ximgproc.
        """
        image = photo_of(photo)
        scored = infer(image, self.system, self.settings)
        found = label_photo(
            scored, image.width, image.height, self.system.ensemble, self.settings.crf
        )
        # Whole numbers of the copy that was worked on, which may be smaller than the photo.
        factors = np.divide(image.size, scored.photo.size)
        boxes = np.rint(found.boxes * np.tile(factors, 2)).astype(np.int32)
        name = Path(photo).name if isinstance(photo, str | os.PathLike) else ""
        return SegmentationResult(
            image, found.labels, found.probabilities(), boxes, found.ms, self.classes, name
        )


def check_choice(name: str, value: str | None, known: Iterable[str]) -> None:
    """Raise UsageError if a value is given that is not known."""
    if value is not None and value not in (known := tuple(known)):
        raise UsageError(f"{name}={value!r}: there is none; known: {', '.join(known)}")


def check_count(name: str, value: int | None) -> None:
    """Raise UsageError if a value is given that is no whole number above 0."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UsageError(f"{name}={value!r}: must be a whole number above 0")
