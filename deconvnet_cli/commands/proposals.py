"""``deconvnet proposals``: the boxes of a photo, as JSON or drawn on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.shared.options import MAX_PIXELS, PROPOSALS, apply, refuse_overwriting
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.loading import proposal_settings


@click.command("proposals")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="PNG with the boxes drawn.")
@apply(MAX_PIXELS, *PROPOSALS)
def command(image: Path, output: Path | None, max_pixels: int, **options: Any) -> None:
    """Print the boxes of IMAGE that a net is shown: [x0, y0, x1, y1] in pixels, half open.

    They are 50, as in the paper, unless --proposals says how many; a net is shown the first of
    them, as many as its weights say. The first of all is the whole photo; its score is 1, whatever
    the others have. With -o they are drawn on the photo instead, the best in the brightest red.
    """
    import numpy as np
    from PIL import ImageDraw

    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.reporting import console
    from deconvnet_cli.segmentation.proposals import propose
    from deconvnet_cli.storage.files import write_whole

    count = options.pop("proposals")
    if count == 0:
        raise UsageError("--proposals auto looks at labels, which are not made here; give a number")
    settings = proposal_settings(**options)
    if count is not None:
        settings = replace(settings, count=count)
    photo = read_photo(image, max_pixels=max_pixels)
    found = propose(np.asarray(photo), settings)
    if output is None:
        scores = [round(float(score), 5) for score in found.scores]
        console.json_line({"image": str(image), "boxes": found.boxes.tolist(), "scores": scores})
        return
    refuse_overwriting(image, output)
    draw = ImageDraw.Draw(photo)
    for rank in reversed(range(len(found.boxes))):
        x0, y0, x1, y1 = found.boxes[rank].tolist()
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255 - 3 * min(rank, 60), 0, 0), width=2)
    write_whole(output, lambda file: photo.save(file, "PNG"))
