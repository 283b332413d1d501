"""``deconvnet evaluate``: mean IoU of weights, or of any tool's label PNGs, on a VOC tree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deconvnet_cli.commands.options import JSON, QUIET, SEGMENTING, apply, prepare


@click.command("evaluate")
@click.option("--voc-root", required=True, type=click.Path(path_type=Path), help="VOC2012/ folder.")
@click.option("--split", default="val", show_default=True, help="List of images.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Score the label PNGs in this folder instead of running a net.",
)
@click.option("--limit", type=click.IntRange(1), help="Score the first so many images only.")
@apply(*SEGMENTING, QUIET, JSON)
def command(
    voc_root: Path,
    split: str,
    predictions: Path | None,
    limit: int | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Score on the images of a VOC list: IoU by class, mean IoU, pixel accuracy.

    Void pixels (255) count nowhere. A class that is in no mask and in no prediction is left out
    of the mean; the number of classes averaged is printed.
    """
    from deconvnet_cli.errors import DatasetError
    from deconvnet_cli.voc import open_tree

    tree = open_tree(voc_root)
    names = tree.names(split)[:limit]

    import numpy as np

    from deconvnet_cli import report
    from deconvnet_cli.images import read_photo
    from deconvnet_cli.metrics import confusion, scores
    from deconvnet_cli.voc import CLASSES, read_mask

    if predictions is None:
        from deconvnet_cli.segmenter import segment

        weights, settings = prepare(**options)

        def predict(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return segment(read_photo(tree.image(name)), weights, settings).labels
    else:

        def predict(name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
            return read_mask(predictions / f"{name}.png")

    total = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    with report.progress(quiet) as progress:
        for name in progress.track(names, description="evaluate"):
            truth = read_mask(tree.mask(name))
            try:
                total += confusion(truth, predict(name))
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from error
    result = scores(total)
    if not quiet:
        report.scores_table(result, CLASSES, len(names))
    if as_json:
        report.json_line(
            {
                "mean_iou": result.mean_iou,
                "averaged": result.averaged,
                "iou": dict(zip(CLASSES, result.iou, strict=True)),
                "pixel_accuracy": result.pixel_accuracy,
                "images": len(names),
            }
        )
