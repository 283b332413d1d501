"""The choice of the files of a segmented photo: its labels, and the optional files beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import chosen_labels

# Modules that draw are imported late, so that options are checked without them.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS = ("png", "npy")
# Further choices of --format: CVAT's folders of label PNGs, and no labels at all.
CVAT, NONE = "cvat", "none"
ALL_FORMATS = (*FORMATS, CVAT, NONE)
MASKS = "SegmentationClass"  # the folder of CVAT's masks
# The suffix of each kind of polygons.
POLYGON_SUFFIXES = {
    "geojson": ".geojson",
    "coco": ".coco.json",
    "coco-polygons": ".coco.json",
    "labelme": ".json",
    "yolo": ".txt",
}
POLYGONS = tuple(POLYGON_SUFFIXES)
EXACT = ("geojson", "coco")  # along pixel edges by default
PALETTES = ("safe", "voc")
TOLERANCE = 1.0  # pixels
MIN_AREA = 0.001  # the default of the command line, the server and Python, a share of the photo
AREA = "a share of the photo below 1 or a whole number of pixels"


@dataclass(frozen=True)
class Outputs:
    """The choice of the files that are written of a photo.

    Attributes:
        format: The format of the labels: "png", a palette PNG in the colours of the classes;
            "npy", an array uint8 H x W; "cvat", a PNG in the folders of CVAT's mask export; "none",
            no labels.
        overlay: Whether to write NAME.overlay.png, see
            :func:`deconvnet_cli.outputs.overlay.overlay`.
        cutout: Whether to write NAME.cutout.png, see
            :func:`deconvnet_cli.outputs.overlay.cutout`.
        polygons: One of ``POLYGONS``, for NAME with its suffix, or None.
        only: The names of the classes that overlay, cutout and polygons show; None shows all but
            the background. The labels always have all classes.
        palette: The colours of the overlay: "safe", bright ones that colour-blind people can tell
            apart, or "voc".
        mask: The names of the classes that are 255 in NAME.mask.png; None writes none.
        background: The colour behind the cut-out; None leaves it transparent.
        crop: Whether the cut-out has only the box around its classes.
        simplify: How far outlines may be from the pixel edges, in pixels; None is 0 for "geojson"
            and ``TOLERANCE`` for the others.
        min_area: The least area of a part, see :func:`deconvnet_cli.outputs.specks.without_specks`.
            Smaller ones are left out of the files beside the labels.
        clean_labels: Whether they are left out of the labels too.

    Raises:
        UsageError: A value is unknown, or an option has no effect without another.
    """

    format: str = "png"
    overlay: bool = False
    cutout: bool = False
    polygons: str | None = None
    only: tuple[str, ...] | None = None
    palette: str = PALETTES[0]
    mask: tuple[str, ...] | None = None
    background: str | None = None
    crop: bool = False
    simplify: float | None = None
    min_area: float = MIN_AREA
    clean_labels: bool = False

    def __post_init__(self) -> None:
        for option, value, known in (
            ("format", self.format, ALL_FORMATS),
            ("polygons", self.polygons, (None, *POLYGONS)),
            ("palette", self.palette, PALETTES),
        ):
            if value not in known:
                names = ", ".join(name for name in known if name)
                raise UsageError(f"--{option} {value}: must be one of {names}")
        if self.only is not None and not (self.overlay or self.cutout or self.polygons):
            raise UsageError("--only restricts --overlay, --cutout and --polygons; add one of them")
        if self.palette != PALETTES[0] and not self.overlay:
            raise UsageError("--palette colours the overlay; add --overlay")
        if (self.background is not None or self.crop) and not self.cutout:
            raise UsageError("--background and --crop change the cut-out; add --cutout")
        if self.simplify is not None and self.polygons in (None, "coco"):
            raise UsageError("--simplify is for outlines; add --polygons, but not coco")
        if not is_area(self.min_area):
            raise UsageError(f"--min-area {self.min_area}: must be {AREA}")
        if self.simplify is not None and not is_distance(self.simplify):
            raise UsageError(f"--simplify {self.simplify}: must be a number of pixels from 0 on")
        if self.format == CVAT and self.suffixes:
            raise UsageError(
                "--format cvat makes a folder of masks alone; leave out files beside them"
            )
        if self.clean_labels and not self.min_area:
            raise UsageError("--clean-labels takes parts below --min-area; give one above 0")

    @property
    def label_suffix(self) -> str:
        """The suffix of the labels' file."""
        return ".npy" if self.format == "npy" else ".png"

    @property
    def suffixes(self) -> list[str]:
        """The endings of the names of the files beside the labels."""
        wanted = [".overlay.png"] * self.overlay + [".cutout.png"] * self.cutout
        wanted += [".mask.png"] * (self.mask is not None)
        return wanted + ([POLYGON_SUFFIXES[self.polygons]] if self.polygons else [])

    @property
    def needs_probabilities(self) -> bool:
        """Whether files are made from the probabilities too."""
        return self.cutout or self.polygons is not None

    @property
    def tolerance(self) -> float:
        """How far outlines may be from the pixel edges, in pixels."""
        if self.simplify is not None:
            return self.simplify
        return 0.0 if self.polygons in EXACT else TOLERANCE

    def beside(self, target: Path) -> list[Path]:
        """Return the paths of the files beside the labels at ``target``."""
        return [target.with_suffix(suffix) for suffix in self.suffixes]

    def files(self, target: Path) -> list[Path]:
        """Return the paths of all files, the labels at ``target`` first if they are written."""
        return [*([] if self.format == NONE else [target]), *self.beside(target)]

    def check(self, classes: Sequence[str]) -> None:
        """Raise UsageError if a class is unknown or has no place in a file, or a colour is none."""
        chosen_labels(self.only, classes)
        if self.format == CVAT:
            from deconvnet_cli.outputs.interchange import check_labelmap

            check_labelmap(classes)
        if self.mask is not None:
            chosen_labels(self.mask, classes, "--mask")
        if self.background is not None:
            from deconvnet_cli.outputs.overlay import colour_of

            colour_of(self.background)

    def absent(self, labels: NDArray[np.uint8], classes: Sequence[str]) -> list[str]:
        """Return the classes of each option that names some, if no pixel has one of them."""
        import numpy as np

        asked = ((self.only, "--only"), (self.mask, "--mask"))
        chosen = [chosen_labels(names, classes, option) for names, option in asked if names]
        return [
            " or ".join(classes[label] for label in wanted)
            for wanted in chosen
            if not np.isin(labels, wanted).any()
        ]

    def shown(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the labels without the parts that are too small to be shown."""
        from deconvnet_cli.outputs.specks import without_specks

        return without_specks(labels, self.min_area)

    def more(self) -> dict[str, Any]:
        """Return the settings, with their values, that change a file's content but not its name.

        Those of before this version (``only`` and ``palette``) and those with the default value of
        the command line are left out, so that files of earlier versions count as done.
        """
        values = asdict(self)
        found = {name: values[name] for name in ("mask", "background", "crop", "simplify")}
        if self.polygons == "coco-polygons":
            found["polygons"] = self.polygons
        if self.clean_labels or self.min_area != MIN_AREA:  # summaries depend on it too
            found["min_area"] = self.min_area
        found["clean_labels"] = self.clean_labels
        # 0 is a value, though it equals False.
        return {
            name: value for name, value in found.items() if value is not None and value is not False
        }


def is_area(value: Any) -> bool:
    """Return whether a value is a share from 0 to below 1, or a whole number of pixels."""
    return is_distance(value) and (value < 1 or float(value).is_integer())


def is_distance(value: object) -> bool:
    """Return whether a value is a finite number from 0 on."""
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < math.inf
