"""The options that say which files are written of a photo."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import FORMATS, PALETTES, POLYGONS, Outputs

OUTPUTS = (
    click.option(
        "--format",
        type=click.Choice(FORMATS),
        help="Of the labels: png, a palette PNG in VOC's colours, or npy, a NumPy array of uint8. "
        "[default: png]",
    ),
    click.option(
        "--overlay",
        is_flag=True,
        help="NAME.overlay.png beside the labels: photo, classes in colours, and a legend.",
    ),
    click.option(
        "--cutout",
        is_flag=True,
        help="NAME.cutout.png beside the labels: the classes of the photo, all else transparent.",
    ),
    click.option(
        "--polygons",
        type=click.Choice(POLYGONS),
        help="NAME.geojson, polygons in pixels, or NAME.coco.json, masks as COCO has them.",
    ),
    click.option(
        "--only",
        metavar="NAME,NAME...",
        help="Classes that overlay, cutout and polygons show, as in person,dog; all but the "
        "background by default. The labels themselves are always of all classes.",
    ),
    click.option(
        "--palette",
        type=click.Choice(PALETTES),
        default="voc",
        show_default=True,
        help="Colours of the overlay; safe ones differ for colour-blind people too. Label PNGs "
        "are always in VOC's.",
    ),
)
SAVE_SCORES = click.option(
    "--save-scores",
    is_flag=True,
    help="Keep merged scores as NAME.npz beside the labels, for `crf` and `evaluate --scores`; of "
    "batch --voc-submission in OUTPUT/scores/.",
)


def outputs_of(options: dict[str, Any], output: str | None = None) -> Outputs:
    """What is written of each photo, from the options in ``OUTPUTS``, which are taken out.

    Args:
        options: of the command, by name.
        output: the file that -o names; its suffix says the format unless --format does.

    Raises:
        UsageError: they do not fit together.
    """
    suffix = Path(output or "").suffix.lower().removeprefix(".")
    by_name = suffix if suffix in FORMATS else FORMATS[0]
    given = {part.name: options.pop(part.name) for part in fields(Outputs)}
    if given["only"] is not None:
        given["only"] = tuple(name.strip() for name in given["only"].split(","))
    outputs = Outputs(**{**given, "format": given["format"] or by_name})
    if suffix in FORMATS and suffix != outputs.format:
        raise UsageError(
            f"{output}: its name says {suffix}, but --format {outputs.format} is given"
        )
    return outputs
