"""The result of segmenting a photo from Python: labels, pictures and files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs import overlay as drawing
from deconvnet_cli.outputs.class_filter import chosen_labels, mask_of
from deconvnet_cli.outputs.coco import coco
from deconvnet_cli.outputs.encoding import write_outputs
from deconvnet_cli.outputs.files import CVAT, MIN_AREA, Outputs
from deconvnet_cli.outputs.palettes import colours_of
from deconvnet_cli.outputs.polygons import geojson
from deconvnet_cli.outputs.python_words import in_python_words
from deconvnet_cli.outputs.shared_files import write_class_files, write_list_of_masks
from deconvnet_cli.outputs.targets import (
    folder_of,
    format_of,
    into_folder,
    labels_target,
    refuse_nothing,
)
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.storage.files import check_output_file, make_folder


@dataclass(frozen=True, eq=False)
class SegmentationResult:
    """The result of a :class:`Segmenter` for one photo.

    ``labels`` and :meth:`mask` have every pixel as the net says. All else leaves out specks, as
    the command line does: parts below ``min_area``, a share of the photo if below 1, otherwise a
    number of pixels, take the class around them; 0 keeps all.

    Attributes:
        photo: The photo, mode RGB, W x H, upright.
        labels: The class of each pixel, uint8 H x W, an index into ``classes``.
        probabilities: The probability of each class, float32 C x h x w; in each pixel they add up
            to 1. The size is that of the photo, or of the photo scaled down to a nominal side
            (``nets.sizes``) of 1024 pixels. ``labels`` are the most probable classes, after
            enlarging to the photo.
        boxes: The boxes that the net was shown, the whole photo first, int32 N x 4,
            (x0, y0, x1, y1) in pixels of the photo, half open. They may reach beyond the photo's
            edge. N is 0 for FCN-8s alone.
        timings: The milliseconds of each stage that was run: proposals, net, fcn, crf, labels.
        classes: The names of the labels, in order.
        name: The name of the photo's file; "" if it is not known.
        path: The photo's file, if it was given by its path.
    """

    photo: Image.Image = field(repr=False)
    labels: NDArray[np.uint8] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    boxes: NDArray[np.int32] = field(repr=False)
    timings: dict[str, float]
    classes: tuple[str, ...] = field(repr=False)
    name: str = ""
    path: Path | None = field(default=None, repr=False)

    @property
    def scores(self) -> NDArray[np.float32]:
        """The former name of ``probabilities``."""
        warnings.warn(
            "SegmentationResult.scores is deprecated; use .probabilities",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.probabilities

    @in_python_words()
    def shares(self, *, min_area: float = MIN_AREA) -> dict[str, float]:
        """Return the share of the pixels, 0 to 1, of each class found, the largest first."""
        return class_shares(self._shown(min_area), self.classes)

    def _shown(self, min_area: float) -> NDArray[np.uint8]:
        return Outputs(min_area=min_area).shown(self.labels)

    @in_python_words()
    def mask(self, *only: str) -> NDArray[np.bool_]:
        """Return where one of the named classes is, bool H x W; without names, any but background.

        Raises:
            UsageError: A class does not exist.
        """
        return mask_of(self.labels, chosen_labels(only or None, self.classes, "mask"))

    def _repr_png_(self) -> bytes:
        """Return the overlay as a PNG, which notebooks show."""
        return png_bytes(self.overlay(), photo=True)

    @in_python_words()
    def overlay(
        self,
        only: Iterable[str] | None = None,
        palette: str = Outputs.palette,
        *,
        min_area: float = MIN_AREA,
    ) -> Image.Image:
        """Return the photo with its classes in colours and a legend.

        Args:
            only: The names of the classes that are shown; None shows all but the background.
            palette: "safe", bright colours that colour-blind people can tell apart, or "voc", the
                colours of label PNGs of VOC's classes.
            min_area: The least area of a part that is shown.

        Raises:
            UsageError: A class or the palette does not exist, or ``min_area`` is no area.
        """
        checked = Outputs(overlay=True, palette=palette, min_area=min_area)
        colours = colours_of(checked.palette, self.classes)
        return drawing.overlay(
            self.photo, checked.shown(self.labels), colours=colours, classes=self.classes, only=only
        )

    @in_python_words()
    def cutout(
        self, only: Iterable[str] | None = None, *, min_area: float = MIN_AREA
    ) -> Image.Image:
        """Return the photo where one of the classes is, mode RGBA, with alpha 0 elsewhere.

        Edges are soft, see :func:`deconvnet_cli.outputs.matting.soft_alpha`.

        Raises:
            UsageError: A class does not exist.
        """
        return drawing.cutout(
            self.photo,
            self._shown(min_area),
            classes=self.classes,
            only=only,
            probabilities=self.probabilities,
        )

    @in_python_words()
    def geojson(
        self, only: Iterable[str] | None = None, *, min_area: float = MIN_AREA
    ) -> dict[str, Any]:
        """Return polygons in pixels with their probabilities; see ``outputs.polygons.geojson``."""
        return self._annotations(geojson, only, min_area)

    @in_python_words()
    def coco(
        self, only: Iterable[str] | None = None, *, min_area: float = MIN_AREA
    ) -> dict[str, Any]:
        """Return COCO annotations with their probabilities; see ``outputs.coco.coco``."""
        return self._annotations(coco, only, min_area)

    def _annotations(
        self, encode: Callable[..., dict[str, Any]], only: Iterable[str] | None, min_area: float
    ) -> dict[str, Any]:
        return encode(
            self._shown(min_area),
            classes=self.classes,
            only=only,
            probabilities=self.probabilities,
            name=self.name,
        )

    @in_python_words()
    def save(self, path: str | os.PathLike[str], **outputs: Any) -> list[Path]:
        """Write the labels, and further files beside them, as ``deconvnet segment`` does.

        Args:
            path: The file for the labels: ``.npy`` for an array, else a palette PNG in the
                colours of the classes. A folder, ``"DIR/"``, gets a file of the photo's name.
            outputs: Attributes of :class:`deconvnet_cli.outputs.files.Outputs`: overlay, cutout,
                polygons, only, palette, format, mask, background, crop, simplify, min_area,
                clean_labels.

        Returns:
            The files that were written, the labels first, and those of the folder last.

        Raises:
            UsageError: The outputs do not fit together or to the path, or a class does not exist;
                nothing is written.
            OutputError: A file cannot be written.
        """
        output = os.fspath(path)
        if not output:
            raise UsageError("the path to save to is empty; give a file, or a folder: DIR/")
        given = checked(outputs)
        chosen = Outputs(**{**given, "format": format_of(output, given.get("format"))})
        chosen.check(self.classes)
        refuse_nothing(chosen)
        if into_folder(output) and not self.name:
            raise UsageError(f"{output}: is a folder, and the photo has no name; give a file")
        target = labels_target(output, Path(self.name).stem, chosen)
        for file in chosen.files(target):
            check_output_file(file, [] if self.path is None else [self.path])
        if into_folder(output):
            make_folder(target.parent)
        shared = write_class_files(folder_of(target, chosen), chosen, self.classes)
        written = write_outputs(
            self.photo,
            self.labels,
            target,
            chosen,
            self.classes,
            probabilities=lambda: self.probabilities,
            name=self.name,
            source=self.path,
        )
        if chosen.format == CVAT:
            shared.append(write_list_of_masks(folder_of(target, chosen)))
        return [*written, *shared]


def checked(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of ``Outputs`` that a program gives, with its iterators as tuples.

    Raises:
        UsageError: A switch is neither True nor False, but perhaps the name of a file.
    """
    switches = {each.name for each in fields(Outputs) if isinstance(each.default, bool)}
    for name in switches & choice.keys():
        if not isinstance(choice[name], bool):
            raise UsageError(f"{name}={choice[name]!r}: must be True or False")
    return {
        name: tuple(value) if isinstance(value, Iterator) else value
        for name, value in choice.items()
    }
