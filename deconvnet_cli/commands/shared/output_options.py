"""The options that say which files are written for a photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.grouped_help import FILES, option
from deconvnet_cli.commands.shared.ranges import FiniteRange
from deconvnet_cli.outputs.areas import AREA, MIN_AREA, is_area
from deconvnet_cli.outputs.class_filter import names_in
from deconvnet_cli.outputs.files import (
    ALL_FORMATS,
    PALETTES,
    POLYGONS,
    Outputs,
)
from deconvnet_cli.outputs.targets import format_of


def output_file(text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option -o of a command that writes one file; ``text`` is its help."""
    kind = click.Path(path_type=Path)
    return option("-o", "--output", type=kind, required=True, metavar="FILE", help=text)


class Area(click.ParamType[float]):
    """The type of an option that takes a share of the photo, or a number of pixels."""

    name = "SHARE|PIXELS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not is_area(number):
            self.fail(f"{value!r} is not {AREA}")
        return number


OUTPUT_OPTIONS = (
    option(
        "--overlay",
        is_flag=True,
        group=FILES,
        help="Also write NAME.overlay.png: the photo with its classes in colours, and a legend.",
    ),
    option(
        "--cutout",
        is_flag=True,
        group=FILES,
        help="Also write NAME.cutout.png: the photo with everything but its classes transparent.",
    ),
    option(
        "--background",
        metavar="COLOUR",
        group=FILES,
        help="Colour behind the cut-out, such as white or #ffcc00, instead of transparency.",
    ),
    option(
        "--crop",
        is_flag=True,
        group=FILES,
        help="Crop the cut-out to the box around its classes.",
    ),
    option(
        "--mask",
        metavar="NAME,NAME...",
        group=FILES,
        help="Also write NAME.mask.png: grey, 255 where one of these classes is and 0 elsewhere.",
    ),
    option(
        "--polygons",
        type=click.Choice(POLYGONS),
        group=FILES,
        help="Also write the outlines of the classes. geojson: NAME.geojson, in pixels; coco, "
        "coco-polygons: NAME.coco.json with masks or polygons, and with batch coco.json of all "
        "photos; labelme: NAME.json; yolo: NAME.txt, and data.yaml.",
    ),
    option(
        "--simplify",
        type=FiniteRange(0),
        metavar="PIXELS",
        group=FILES,
        help="Leave out points of outlines that are at most this far from the new line.  [default: "
        "1; 0 for geojson]",
    ),
    option(
        "--only",
        metavar="NAME,NAME...",
        group=FILES,
        help="Show only these classes in overlay, cut-out and polygons, for example person,dog. "
        "The labels always have all classes. A name with a comma may stand in double quotes.  "
        "[default: all but the background]",
    ),
    option(
        "--palette",
        type=click.Choice(PALETTES),
        default=Outputs.palette,
        show_default=True,
        group=FILES,
        help="Colours of the overlay. safe: bright ones that colour-blind people can tell apart; "
        "voc: those of VOC, which label PNGs of VOC's classes always have.",
    ),
    option(
        "--format",
        type=click.Choice(ALL_FORMATS),
        group=FILES,
        help="Format of the labels. png: a palette PNG in the colours of the classes; npy: a NumPy "
        "array of uint8; cvat: PNGs in the folders of CVAT's mask export; none (segment): only "
        "the files beside them.  [default: png]",
    ),
    option(
        "--min-area",
        type=Area(),
        default=MIN_AREA,
        show_default=True,
        group=FILES,
        help="Give smaller parts the class around them, in the summary and in all files but the "
        "labels. A value below 1 is a share of the photo, any other a number of pixels; 0 keeps "
        "all parts.",
    ),
    option(
        "--clean-labels",
        is_flag=True,
        group=FILES,
        help="Apply --min-area to the labels too.",
    ),
)
SAVE_SCORES_OPTION = option(
    "--save-scores",
    is_flag=True,
    group=FILES,
    help="Also write the merged scores as NAME.npz, for `crf` and `evaluate --scores`. With batch "
    "--voc-submission they go to OUTPUT/scores/.",
)


def outputs_of(options: dict[str, Any], output: str | None = None) -> Outputs:
    """Return which files are written for each photo.

    Args:
        options: The values of ``OUTPUT_OPTIONS``, by name.
        output: The file or folder that -o names; a file's suffix is the format unless --format is
            given.

    Raises:
        UsageError: The options do not fit together.
    """
    given = {field.name: options[field.name] for field in fields(Outputs)}
    for name in ("only", "mask"):
        if given[name] is not None:
            given[name] = names_in(given[name])
    return Outputs(**{**given, "format": format_of(output, given["format"])})
