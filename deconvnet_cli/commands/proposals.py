"""``deconvnet proposals``: the boxes of a photo, as JSON or drawn on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, option
from deconvnet_cli.commands.shared.option_types import PATH, NewFile
from deconvnet_cli.commands.shared.options import (
    QUIET_OPTION,
    READING_OPTIONS,
    SEARCH_OPTIONS,
    apply,
)
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.segmentation.loading import proposal_settings
from deconvnet_cli.segmentation.settings import ProposalSettings
from deconvnet_cli.storage.files import refuse_overwriting


@click.command("proposals", cls=GroupedCommand, common=("output", "count"))
@argument("image", type=PATH)
@option(
    "-o",
    "--output",
    type=NewFile("png", "the picture is"),
    help="Draw the boxes on the photo and write it to this PNG.",
)
@option(
    "--proposals",
    "count",
    type=click.IntRange(1),
    default=ProposalSettings.count,
    help="Number of boxes, the whole photo included.",
)
@apply(*READING_OPTIONS, *SEARCH_OPTIONS, QUIET_OPTION)
def command(
    image: Path,
    output: Path | None,
    count: int,
    page: int | None,
    max_pixels: int,
    quiet: bool,
    **options: Any,
) -> None:
    """Print the boxes of IMAGE as JSON: [x0, y0, x1, y1] in pixels, half open, and their scores.
    There are at most 50, as in the paper, unless --proposals gives another number; a net uses as
    many of them as its weights say. The first box is the whole photo, with score 1. With
    -o the boxes are drawn on the photo instead: the first ten in colours and with their numbers,
    the rest faint.
    """
    from deconvnet_cli.data.images import png_bytes, read_photo
    from deconvnet_cli.explain.drawing import draw_proposals
    from deconvnet_cli.reporting import console
    from deconvnet_cli.segmentation.working_copy import propose_for
    from deconvnet_cli.storage.files import write_whole

    settings = replace(proposal_settings(**options), count=count)
    photo = read_photo(image, max_pixels=max_pixels, page=page)
    proposals = propose_for(photo, settings)
    if output is None:
        scores = [round(float(score), 5) for score in proposals.scores]
        console.json_line(
            {"image": str(image), "boxes": proposals.boxes.tolist(), "scores": scores}
        )
        return
    refuse_overwriting(image, output)
    boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in proposals.boxes.tolist()]
    write_whole(output, png_bytes(draw_proposals(photo, boxes), photo=True))
    if not quiet:
        console.say(f"{image} -> {output}: {counted(len(boxes), 'box')}")
