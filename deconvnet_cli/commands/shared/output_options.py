"""The options that say which files are written for a photo."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.grouped_help import FILES, option
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import FORMATS, PALETTES, POLYGONS, Outputs

OUTPUT_OPTIONS = (
    option(
        "--format",
        type=click.Choice(FORMATS),
        group=FILES,
        help="Format of the labels: png, a palette PNG in the colours of the classes, or npy, a NumPy "
        "array of uint8.  [default: png]",
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
        "--polygons",
        type=click.Choice(POLYGONS),
        group=FILES,
        help="Also write NAME.geojson, polygons in pixels, or NAME.coco.json, masks in COCO's "
        "format.",
    ),
    option(
        "--only",
        metavar="NAME,NAME...",
        group=FILES,
        help="Show only these classes in overlay, cutout and polygons, for example person,dog. By "
        "default they show all but the background. The labels always have all classes.",
    ),
    option(
        "--palette",
        type=click.Choice(PALETTES),
        default=Outputs.palette,
        show_default=True,
        group=FILES,
        help="Colours of the overlay. safe: colours that colour-blind people can tell apart. Label "
        "PNGs of VOC's classes always have VOC's colours.",
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
    if given["only"] is not None:
        given["only"] = tuple(name.strip() for name in given["only"].split(","))
    outputs = Outputs(**{**given, "format": given["format"] or by_name})
    if suffix in FORMATS and suffix != outputs.format:
        raise UsageError(
            f"{output}: its name says {suffix}, but --format {outputs.format} is given"
        )
    return outputs
