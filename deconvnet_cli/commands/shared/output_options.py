"""The options that say which files are written for a photo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from typing import Any

import click

from deconvnet_cli.commands.shared.grouped_help import file_option, option
from deconvnet_cli.commands.shared.option_types import FiniteRange, NewFile
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import names_in
from deconvnet_cli.outputs.files import ALL_FORMATS, MIN_AREA, PALETTES, POLYGONS, Outputs
from deconvnet_cli.outputs.targets import format_of


def output_file(text: str, kind: str, what: str) -> Callable[[Callable[..., None]], Any]:
    """Return the option -o of a command that writes one file; ``text`` is its help."""
    return option("-o", "--output", type=NewFile(kind, what), required=True, help=text)


OUTPUT_OPTIONS = (
    file_option(
        "--overlay",
        is_flag=True,
        help="Also write NAME.overlay.png: the photo with its classes in colours, and a legend.",
    ),
    file_option(
        "--cutout",
        is_flag=True,
        help="Also write NAME.cutout.png: the photo with everything but its classes transparent.",
    ),
    file_option(
        "--background",
        metavar="COLOUR",
        help="Colour behind the cut-out, such as white or #ffcc00, instead of transparency.",
    ),
    file_option("--crop", is_flag=True, help="Crop the cut-out to the box around its classes."),
    file_option(
        "--mask",
        multiple=True,
        metavar="NAME,NAME...",
        help="Also write NAME.mask.png: grey, 255 where one of these classes is and 0 elsewhere.",
    ),
    file_option(
        "--polygons",
        type=click.Choice(POLYGONS),
        multiple=True,
        help="Also write the outlines of the classes. geojson: NAME.geojson, in pixels; coco, "
        "coco-polygons: NAME.coco.json with masks or polygons, and with batch coco.json of all "
        "photos; labelme: NAME.json; yolo: NAME.txt, and data.yaml.",
    ),
    file_option(
        "--simplify",
        type=FiniteRange(0),
        metavar="PIXELS",
        help="Leave out points of outlines that are at most this far from the new line.  [default: "
        "1; 0 for geojson]",
    ),
    file_option(
        "--only",
        multiple=True,
        metavar="NAME,NAME...",
        help="Show only these classes in overlay, cut-out and polygons, for example person,dog. "
        "The labels always have all classes. A name with a comma may stand in double quotes.  "
        "[default: all but the background]",
    ),
    file_option(
        "--palette",
        type=click.Choice(PALETTES),
        default=Outputs.palette,
        help="Colours of the overlay. safe: bright ones that colour-blind people can tell apart; "
        "voc: those of VOC, which label PNGs of VOC's classes always have.",
    ),
    file_option(
        "--format",
        type=click.Choice(ALL_FORMATS),
        help="Format of the labels. png: a palette PNG in the colours of the classes; npy: a NumPy "
        "array of uint8; cvat: PNGs in the folders of CVAT's mask export; none (segment): only "
        "the files beside them.  [default: png]",
    ),
    file_option(
        "--min-area",
        type=FiniteRange(0),
        metavar="SHARE|PIXELS",
        default=MIN_AREA,
        help="Give smaller parts the class around them, in the summary and in all files but the "
        "labels. A value below 1 is a share of the photo, any other a number of pixels; 0 keeps "
        "all parts.",
    ),
    file_option("--clean-labels", is_flag=True, help="Apply --min-area to the labels too."),
    file_option(
        "--save-scores",
        is_flag=True,
        help="Also write the merged scores as NAME.npz, for `crf` and `evaluate --scores`. With "
        "batch --voc-submission they go to OUTPUT/scores/.",
    ),
)


def outputs_of(options: dict[str, Any], output: str | None = None) -> Outputs:
    """Return which files are written for each photo.

    A file that -o names gives the format by its suffix, unless --format is given.

    Raises:
        UsageError: The options do not fit together.
    """
    given = {field.name: options[field.name] for field in fields(Outputs)}
    for name in ("only", "mask"):
        given[name] = tuple(chain.from_iterable(map(names_in, given[name]))) or None
    if len(given["polygons"]) > 1:
        raise UsageError("--polygons takes one format; run the command again for another")
    given["polygons"] = next(iter(given["polygons"]), None)
    return Outputs(**{**given, "format": format_of(output, given["format"])})
