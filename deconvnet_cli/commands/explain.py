"""``deconvnet explain``: a page that shows why a photo got its labels."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, option
from deconvnet_cli.commands.shared.option_types import PATH
from deconvnet_cli.commands.shared.options import (
    LOADING,
    MESSAGE_OPTIONS,
    READING_OPTIONS,
    apply,
    segment_options,
)
from deconvnet_cli.errors import UsageError, printable
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.loading import crf_settings, load_system
from deconvnet_cli.storage.files import refuse_overwriting

if TYPE_CHECKING:
    from deconvnet_cli.explain.explanation import Explanation
    from deconvnet_cli.segmentation.settings import SegmentOptions


@click.command("explain", cls=GroupedCommand)
@argument("image", metavar="PHOTO")
@option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    metavar="DIR",
    help="Folder for the page, labels.png and the pictures.",
)
@option(
    "--class",
    "class_name",
    metavar="NAME",
    help="Class to explain. By default the commonest class of the photo.",
)
@apply(*READING_OPTIONS, segment_options, *MESSAGE_OPTIONS)
def command(
    image: str,
    output: Path,
    class_name: str | None,
    page: int | None,
    max_pixels: int,
    quiet: bool,
    as_json: bool,
    options: SegmentOptions,
) -> None:
    """Segment PHOTO, and show in DIR/index.html where its labels come from: a pooling window with
    its switch, the activations of the decoder and what the decoder changes, the labels after more
    and more boxes, the box that decided each pixel, another merge rule, the logits, confidence and
    entropy, and the effect of the CRF. DIR/labels.png is the file that `segment` writes with the
    same options. PHOTO may be - for standard input.
    """
    from deconvnet_cli.reporting import console

    if str(output) == "-" or (output.exists() and not output.is_dir()):
        raise UsageError(f"{output}: not a folder; give one with -o")
    with console.stages(quiet) as on_step:
        on_step(LOADING, 0, 0)
        from deconvnet_cli.data.images import read_photo
        from deconvnet_cli.explain.explanation import explain
        from deconvnet_cli.explain.page import rendered
        from deconvnet_cli.runtime.devices import bound_memory
        from deconvnet_cli.segmentation.segment import summarise
        from deconvnet_cli.segmentation.system import describe
        from deconvnet_cli.storage.files import make_folder, write_whole

        bound_memory()
        crf = crf_settings(options.crf_backend)
        system, settings = load_system(options)
        on_step("reading", 0, 0)
        source = sys.stdin.buffer if image == "-" else Path(image)
        photo = read_photo(source, max_pixels=max_pixels, page=page)
        explanation = explain(photo, system, settings, crf, class_name, on_step)
        on_step("drawing the page", 0, 0)
        title = "standard input" if image == "-" else printable(Path(image).name)
        files = rendered(explanation, title, describe(system, settings))
        make_folder(output)
        for name in files:
            refuse_overwriting(Path(image), output / name)
        for name, content in files.items():
            write_whole(output / name, content)
    seen = replace(explanation.result, labels=Outputs().shown(explanation.result.labels))
    line = {"image": image, "output": str(output), **summarise(seen, system.classes)}
    if as_json:
        console.json_line({**line, **explained_line(explanation), "files": list(files)})
    if not quiet:
        labels, *pictures, document = (str(output / name) for name in files)
        named = {"output": labels, "beside": [document, *pictures]}
        console.segmented({**line, **named}, system.classes, photo, seen, "none")
        if explanation.explained.label not in explanation.present:
            name = system.classes[explanation.explained.label]
            console.say(
                f"{image}: no {name} found; the page shows the box that comes closest to it"
            )


def explained_line(explanation: Explanation) -> dict[str, Any]:
    """Return what is explained as plain values; boxes count from 1, as on the page."""
    explained = explanation.explained
    return {
        "explained": explanation.classes[explained.label],
        "box": {
            "number": explained.number + 1,
            "corners": list(explanation.corners),
            "pixels": round(explained.pixels * explanation.magnification),
        },
    }
