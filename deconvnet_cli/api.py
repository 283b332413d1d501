"""Segment photos from Python: ``Segmenter.load().segment(photo)``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import Photo, photo_of
from deconvnet_cli.outputs import overlay as drawing
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.files import FORMATS, Outputs, write_outputs
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.polygons import geojson
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import infer, label_photo
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import System


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The result of a :class:`Segmenter` for one photo.

    Attributes:
        photo: The photo, mode RGB, W x H, upright.
        labels: The class of each pixel, uint8 H x W, an index into ``classes``.
        probabilities: The probability of each class, float32 C x h x w; in each pixel they add up
            to 1. The size is that of the photo, or of the photo scaled down to a longer side of
            1024 pixels. ``labels`` are the most probable classes, after enlarging to the photo.
        boxes: The boxes that the net was shown, the whole photo first, int32 N x 4,
            (x0, y0, x1, y1) in pixels of the photo, half open. They may reach beyond the photo's
            edge. N is 0 for FCN-8s alone.
        timings: The milliseconds of each stage that was run: proposals, net, fcn, crf, labels.
        classes: The names of the labels, in order.
        name: The name of the photo's file; "" if it is not known.
    """

    photo: Image.Image = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    boxes: NDArray[np.int32] = field(repr=False)
    timings: dict[str, float]
    classes: tuple[str, ...] = field(repr=False)
    name: str = ""

    @property
    def scores(self) -> NDArray[np.float32]:
        """The former name of ``probabilities``."""
        warnings.warn(
            "SegmentationResult.scores is deprecated; use .probabilities",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.probabilities

    def shares(self) -> dict[str, float]:
        """Return the share of the pixels, 0 to 1, of each class found, the largest first."""
        return class_shares(self.labels, self.classes)

    def overlay(self, only: Iterable[str] | None = None, palette: str = "voc") -> Image.Image:
        """Return the photo with its classes in colours and a legend.

        Args:
            only: The names of the classes that are shown; None shows all but the background.
            palette: "voc", the colours of label PNGs, or "safe" for colour-blind people.

        Raises:
            UsageError: A class or the palette does not exist.
        """
        checked = Outputs(overlay=True, palette=palette)
        colours = colours_of(checked.palette, self.classes)
        return drawing.overlay(
            self.photo, self.labels, colours=colours, classes=self.classes, only=only
        )

    def cutout(self, only: Iterable[str] | None = None) -> Image.Image:
        """Return the photo where one of the classes is, mode RGBA, with alpha 0 elsewhere.

        Raises:
            UsageError: A class does not exist.
        """
        return drawing.cutout(self.photo, self.labels, classes=self.classes, only=only)

    def geojson(self, only: Iterable[str] | None = None) -> dict[str, Any]:
        """Return polygons in pixels with their probabilities; see ``outputs.polygons.geojson``."""
        return geojson(
            self.labels,
            classes=self.classes,
            only=only,
            probabilities=self.probabilities,
            name=self.name,
        )

    def coco(self, only: Iterable[str] | None = None) -> dict[str, Any]:
        """Return COCO annotations with their probabilities; see ``outputs.coco.coco``."""
        return coco(
            self.labels,
            classes=self.classes,
            only=only,
            probabilities=self.probabilities,
            name=self.name,
        )

    def save(self, path: str | os.PathLike[str], **outputs: Any) -> list[Path]:
        """Write the labels, and further files beside them, as ``deconvnet segment`` does.

        Args:
            path: The file for the labels: ``.npy`` for an array, else a palette PNG in the
                colours of the classes.
            outputs: Attributes of :class:`deconvnet_cli.outputs.files.Outputs`: overlay, cutout,
                polygons, only, palette, format.

        Returns:
            The files that were written, the labels first.

        Raises:
            UsageError: The outputs do not fit together.
            OutputError: A file cannot be written.
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
            probabilities=lambda: self.probabilities,
            name=self.name,
        )


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A system on its device, with the settings for segmenting photos.

    Several threads may use it at a time.
    """

    system: System = field(repr=False)
    settings: SegmentSettings

    @classmethod
    def load(
        cls,
        weights: str | os.PathLike[str] = SegmentOptions.weights,
        *,
        net: str | None = None,
        fcn_weights: str | os.PathLike[str] = SegmentOptions.fcn_weights,
        ensemble: str | None = None,
        share: float | None = None,
        device: str = SegmentOptions.device,
        precision: str = SegmentOptions.precision,
        proposals: int | Literal["auto"] | None = None,
        candidates: int = SegmentOptions.candidates,
        edges: str = SegmentOptions.edges,
        batch_size: int = SegmentOptions.batch_size,
        rule: str | None = None,
        crf: bool = SegmentOptions.crf,
        crf_backend: str = SegmentOptions.crf_backend,
    ) -> Segmenter:
        """Load the nets and settings; the arguments are the options of ``deconvnet segment``.

        Args:
            weights: Shipped weights by name, or a safetensors file.
            net: "deconvnet", "fcn8s" or "edeconvnet"; None takes the net that the weights are for.
            fcn_weights: The weights of FCN-8s, for edeconvnet and fcn8s.
            ensemble: The ensemble rule, "mean" or "product"; None takes the rule of FCN-8s'
                weights.
            share: FCN-8s' weight in the mean, 0 to 1; None takes the share of its weights.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "auto", "fp32", "bf16" or "fp16".
            proposals: The number of boxes, the whole photo included; "auto" leaves out boxes that
                would hardly change the labels; None takes the weights' number.
            candidates: The number of boxes that EdgeBoxes is asked for.
            edges: "gradient" or "structured:FILE".
            batch_size: The number of crops in a forward pass.
            rule: The merge rule: "max", "max-probability", "mean-probability" or "context"; None
                takes the weights' rule.
            crf: Whether the dense CRF refines the labels.
            crf_backend: "torch" or "pydensecrf".

        Raises:
            UsageError: A value is not allowed, or values do not fit together.
            WeightsError: The weights cannot be read.
            DeviceError: This machine does not have the device.
            DependencyError: An optional package is missing.
        """
        options = SegmentOptions(
            system_name=net,
            weights=str(weights),
            fcn_weights=str(fcn_weights),
            ensemble=ensemble,
            share=share,
            device=device,
            precision=precision,
            proposals=proposals,
            candidates=candidates,
            edges=edges,
            batch_size=batch_size,
            merge_rule=rule,
            crf=crf,
            crf_backend=crf_backend,
        )
        system, settings = load_system(options)
        return cls(system, settings)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return self.system.classes

    def segment(self, photo: Photo) -> SegmentationResult:
        """Segment one photo; the labels are those of ``deconvnet segment``.

        Args:
            photo: The path of a file, the bytes of one, a PIL image, or a uint8 array H x W x 3
                in the order red, green, blue (for OpenCV's order, pass ``array[..., ::-1]``).
                Files and PIL images are turned upright by their EXIF data and made RGB.

        Raises:
            ImageError: The photo is none of these, or it is damaged.
            DependencyError: OpenCV was built without ximgproc.
        """
        image = photo_of(photo)
        scored = infer(image, self.system, self.settings)
        result = label_photo(
            scored, image.width, image.height, self.system.ensemble, self.settings.crf
        )
        # The boxes are in pixels of the copy that was segmented, which may be smaller.
        factors = np.divide(image.size, scored.photo.size)
        boxes = np.rint(result.boxes * np.tile(factors, 2)).astype(np.int32)
        name = Path(photo).name if isinstance(photo, str | os.PathLike) else ""
        return SegmentationResult(
            image, result.labels, result.probabilities(), boxes, result.ms, self.classes, name
        )
