"""Write the files of a segmented photo: its labels, and the optional files beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import chosen_labels

# Modules that draw and encode are imported late, so that options are checked without them.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

FORMATS = ("png", "npy")
POLYGONS = ("geojson", "coco")
PALETTES = ("voc", "safe")


@dataclass(frozen=True)
class Outputs:
    """The choice of the files that are written of a photo.

    Attributes:
        format: The format of the labels: "png", a palette PNG in the colours of the classes, or
            "npy", an array uint8 H x W.
        overlay: Whether to write NAME.overlay.png, see
            :func:`deconvnet_cli.outputs.overlay.overlay`.
        cutout: Whether to write NAME.cutout.png, see
            :func:`deconvnet_cli.outputs.overlay.cutout`.
        polygons: "geojson" for NAME.geojson, "coco" for NAME.coco.json, or None.
        only: The names of the classes that overlay, cutout and polygons show; None shows all but
            the background. The labels always have all classes.
        palette: The colours of the overlay, "voc" or "safe".

    Raises:
        UsageError: A value is unknown, or an option has no effect without another.
    """

    format: str = "png"
    overlay: bool = False
    cutout: bool = False
    polygons: str | None = None
    only: tuple[str, ...] | None = None
    palette: str = "voc"

    def __post_init__(self) -> None:
        for option, value, known in (
            ("format", self.format, FORMATS),
            ("polygons", self.polygons, (None, *POLYGONS)),
            ("palette", self.palette, PALETTES),
        ):
            if value not in known:
                names = ", ".join(name for name in known if name)
                raise UsageError(f"--{option} {value}: must be one of {names}")
        if self.only is not None and not (self.overlay or self.cutout or self.polygons):
            raise UsageError("--only restricts --overlay, --cutout and --polygons; add one of them")
        if self.palette != "voc" and not self.overlay:
            raise UsageError("--palette colours the overlay; add --overlay")

    @property
    def suffixes(self) -> list[str]:
        """The endings of the names of the files beside the labels."""
        wanted = {
            ".overlay.png": self.overlay,
            ".cutout.png": self.cutout,
            ".geojson": self.polygons == "geojson",
            ".coco.json": self.polygons == "coco",
        }
        return [suffix for suffix, is_wanted in wanted.items() if is_wanted]

    def beside(self, target: Path) -> list[Path]:
        """Return the paths of the files beside the labels at ``target``."""
        return [target.with_suffix(suffix) for suffix in self.suffixes]

    def check(self, classes: Sequence[str]) -> None:
        """Raise UsageError if ``only`` names a class that is not in ``classes``."""
        chosen_labels(self.only, classes)


def label_file(labels: NDArray[np.uint8], file_format: str, classes: Sequence[str]) -> bytes:
    """Return labels, uint8 H x W, as the bytes of a file in one of ``FORMATS``."""
    if file_format == "png":
        from deconvnet_cli.data.label_png import label_png

        return label_png(labels, classes)
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, labels)
    return buffer.getvalue()


def write_outputs(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    target: Path,
    outputs: Outputs,
    classes: Sequence[str],
    *,
    probabilities: Callable[[], NDArray[np.float32]] | None = None,
    name: str = "",
) -> list[Path]:
    """Write the chosen files of a photo, each whole or not at all.

    Args:
        photo: The photo, mode RGB.
        labels: The labels, uint8 H x W, in the size of the photo.
        target: The path of the labels; the other files are written beside it.
        outputs: The choice of files.
        classes: The names of the labels, in order.
        probabilities: A function that returns the probabilities, float32 C x h x w. It is called
            only if polygons are written, which then have a score.
        name: The name of the photo in files of polygons.

    Returns:
        The paths of the files, the labels first.

    Raises:
        UsageError: ``outputs.only`` names an unknown class.
        OutputError: A file cannot be written.
    """
    from deconvnet_cli.storage.files import write_whole

    for suffix, path in zip(outputs.suffixes, outputs.beside(target), strict=True):
        if suffix.endswith(".png"):
            data = picture_file(photo, labels, outputs, classes, cut=suffix == ".cutout.png")
        else:
            found = None if probabilities is None else probabilities()
            data = polygon_file(labels, outputs, classes, found, name)
        write_whole(path, data)
    # The labels are written last: if they exist, all files of the photo do.
    write_whole(target, label_file(labels, outputs.format, classes))
    return [target, *outputs.beside(target)]


def picture_file(
    photo: Image.Image,
    labels: NDArray[np.uint8],
    outputs: Outputs,
    classes: Sequence[str],
    *,
    cut: bool,
) -> bytes:
    """Return the PNG of an overlay or, with ``cut``, of a cut-out; labels are uint8 H x W."""
    from deconvnet_cli.data.images import png_bytes
    from deconvnet_cli.outputs.overlay import cutout, overlay
    from deconvnet_cli.outputs.palettes import colours_of

    if cut:
        picture = cutout(photo, labels, classes=classes, only=outputs.only)
    else:
        colours = colours_of(outputs.palette, classes)
        picture = overlay(photo, labels, colours=colours, classes=classes, only=outputs.only)
    return png_bytes(picture)


def polygon_file(
    labels: NDArray[np.uint8],
    outputs: Outputs,
    classes: Sequence[str],
    probabilities: NDArray[np.float32] | None,
    name: str,
) -> bytes:
    """Return the JSON file of polygons or masks; arguments are those of ``polygons.geojson``."""
    import json

    from deconvnet_cli.outputs.coco import coco
    from deconvnet_cli.outputs.polygons import geojson

    encode = coco if outputs.polygons == "coco" else geojson
    found = encode(
        labels, classes=classes, only=outputs.only, probabilities=probabilities, name=name
    )
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"
