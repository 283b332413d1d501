"""The options that say which files are written for a photo."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.grouped_help import FILES, option
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import names_in
from deconvnet_cli.outputs.files import (
    ALL_FORMATS,
    FORMATS,
    MIN_AREA,
    PALETTES,
    POLYGONS,
    Outputs,
)


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
        if not (0 <= number < 1 or (number.is_integer() and 1 <= number < math.inf)):
            self.fail(f"{value!r} is neither a share below 1 nor a whole number of pixels")
        return number


OUTPUT_OPTIONS = (
    option(
        "--format",
        type=click.Choice(ALL_FORMATS),
        group=FILES,
        help="Format of the labels: png, a palette PNG in the colours of the classes; npy, a NumPy "
        "array of uint8; cvat, PNGs in the folders of CVAT's mask export; none, only the files "
        "beside them.  [default: png]",
    ),
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
        help="Also write NAME.cutout.png: the photo where its classes are, transparent elsewhere.",
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
        help="Cut the cut-out to the box around its classes.",
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
        help="Also write NAME.geojson, polygons in pixels; NAME.coco.json, COCO's masks (coco) or "
        "polygons; NAME.json of LabelMe; or NAME.txt of YOLO, with data.yaml. batch writes "
        "coco.json of all photos too.",
    ),
    option(
        "--simplify",
        type=click.FloatRange(0),
        metavar="PIXELS",
        group=FILES,
        help="Leave out points of outlines that are at most so far from the new line.  [default: "
        "1; 0 for geojson]",
    ),
    option(
        "--only",
        metavar="NAME,NAME...",
        group=FILES,
        help="Show only these classes in overlay, cutout and polygons, for example person,dog. By "
        "default they show all but the background. The labels always have all classes. A name with "
        "a comma may stand in double quotes.",
    ),
    option(
        "--palette",
        type=click.Choice(PALETTES),
        default=Outputs.palette,
        show_default=True,
        group=FILES,
        help="Colours of the overlay. safe: bright ones that colour-blind people can tell apart. "
        "Label PNGs of VOC's classes always have VOC's colours.",
    ),
    option(
        "--min-area",
        type=Area(),
        default=MIN_AREA,
        show_default=True,
        group=FILES,
        help="Parts of the photo that are smaller take the class around them, in the summary and "
        "in all files but the labels. It is a share of the photo if below 1, otherwise pixels; 0 "
        "keeps all.",
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
        output: The file that -o names; its suffix is the format unless --format is given.

    Raises:
        UsageError: The options do not fit together.
    """
    suffix = Path(output or "").suffix.lower().removeprefix(".")
    by_name = suffix if suffix in FORMATS else FORMATS[0]
    given = {field.name: options[field.name] for field in fields(Outputs)}
    for name in ("only", "mask"):
        if given[name] is not None:
            given[name] = names_in(given[name])
    outputs = Outputs(**{**given, "format": given["format"] or by_name})
    if suffix in FORMATS and outputs.format in FORMATS and suffix != outputs.format:
        raise UsageError(
            f"{output}: its name says {suffix}, but --format {outputs.format} is given"
        )
    return outputs
