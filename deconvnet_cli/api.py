"""Segment photos from Python: ``Segmenter.load().segment(photo)``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from deconvnet_cli.data.boxes import rescaled
from deconvnet_cli.data.photo_values import Photo, is_one_photo, name_of, path_of, photo_of
from deconvnet_cli.errors import ImageError, UsageError
from deconvnet_cli.outputs.python_words import in_python_words
from deconvnet_cli.outputs.result import SegmentationResult
from deconvnet_cli.runtime.cores import allow_forks, limit_threads
from deconvnet_cli.runtime.devices import bound_kernel_caches, torch_by_default
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.segmentation.loading import check_count, load_system
from deconvnet_cli.segmentation.segment import infer, label_photo
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import System

__all__ = ["SegmentationResult", "Segmenter"]


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A system on its device, with the settings for segmenting photos.

    Several threads may use it at a time.
    """

    system: System
    settings: SegmentSettings

    def __repr__(self) -> str:
        settings = self.settings
        proposals = "auto" if settings.until_settled else settings.proposals
        given = {"proposals": proposals, "rule": settings.merge, "crf": settings.crf is not None}
        values = (f"{name}={value!r}" for name, value in given.items() if value)
        return f"Segmenter({', '.join((str(self.system), *values))})"

    @classmethod
    @in_python_words()
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
        batch_size: int | None = SegmentOptions.batch_size,
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
            proposals: The number of boxes, the whole photo included; "auto" takes the weights'
                number without boxes that would hardly change the labels; None does so with the
                rules "context" and "context-max", and otherwise takes the weights' number.
            candidates: The number of boxes that EdgeBoxes is asked for.
            edges: "gradient" or "structured:FILE".
            batch_size: The number of crops in a forward pass; None takes 2 on a CPU and 8
                elsewhere.
            rule: The merge rule: "max", "max-probability", "mean-probability", "context" or
                "context-max"; None takes the weights' rule. "max" is "context-max" for nets that
                see the whole photo in its own shape, as the default does.
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
        bound_kernel_caches()
        limit_threads()
        allow_forks()
        with torch_by_default():
            return cls(*load_system(options))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return self.system.classes

    @in_python_words()
    def segment(self, photo: Photo, *, page: int | None = None) -> SegmentationResult:
        """Segment one photo; the labels are those of ``deconvnet segment``.

        Args:
            photo: The path of a file, its bytes, a file opened as "rb", a PIL image, a uint8 array
                H x W, H x W x 3 or H x W x 4 in the order red, green, blue, alpha (for OpenCV's
                order, pass ``array[..., ::-1]``), or a tensor C x H x W, uint8 or float 0 to 1.
                Files and PIL images are turned upright by their EXIF data and made RGB.
            page: The page or frame of a file of several, from 1 on; None takes the first.

        Raises:
            ImageError: The photo is none of these, is damaged, or has no such page.
            UsageError: ``page`` is no whole number above 0.
            DependencyError: OpenCV was built without ximgproc.
        """
        check_count("page", page)
        image = photo_of(photo, page)
        with torch_by_default(self.system.nets[0].device):
            scored = infer(image, self.system, self.settings)
            result = label_photo(scored, image.size, self.system.ensemble, self.settings.crf)
            probabilities = result.probabilities()
        # The boxes are in pixels of the copy that was segmented, which may be smaller.
        boxes = rescaled(result.boxes, scored.photo.size, image.size)
        return SegmentationResult(
            image,
            result.labels,
            probabilities,
            boxes,
            result.ms,
            self.classes,
            name_of(photo),
            path_of(photo),
        )

    def segment_many(
        self,
        photos: Iterable[Photo],
        *,
        workers: int = 1,
        on_error: Callable[[Photo, ImageError], None] | None = None,
    ) -> Iterator[SegmentationResult]:
        """Yield the result of each photo, in order; few of them are in memory at a time.

        Args:
            photos: Photos as :meth:`segment` takes them.
            workers: The number of photos to work on at a time, in threads.
            on_error: A function that is called with each photo that cannot be read, and its error;
                the photo is then left out. None raises the error.

        Raises:
            UsageError: ``photos`` is one photo, or ``workers`` is no whole number above 0.
            ImageError: See :meth:`segment`.
            DependencyError: See :meth:`segment`.
        """
        if is_one_photo(photos):
            raise UsageError(
                f"{type(photos).__name__}: segment_many takes several photos, such as a list; "
                "give one photo to segment"
            )
        check_count("workers", workers)

        def results() -> Iterator[SegmentationResult]:
            for photo, result in in_order(photos, self.segment, workers):
                try:
                    yield result()
                except ImageError as error:
                    if on_error is None:
                        raise
                    on_error(photo, error)

        return results()
