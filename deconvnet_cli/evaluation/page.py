"""Make the page about one run of ``deconvnet evaluate``, with its best and worst photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import CLASSES, VocTree
from deconvnet_cli.evaluation.html import Example, Row, page
from deconvnet_cli.evaluation.scoreboard import REPORTED, Ranked, Scoreboard
from deconvnet_cli.reporting.numerals import counted


def page_of(
    tree: VocTree,
    board: Scoreboard,
    about: Mapping[str, Mapping[str, Any]],
    max_pixels: int,
) -> str:
    """Return the page: all rows, and the best and worst photos of the last row."""
    reported = REPORTED if tree.classes == CLASSES else {}
    rows = [Row(name, tally.result(), reported.get(name)) for name, tally in board.tallies.items()]
    title = f"deconvnet on {counted(rows[0].result.images, 'photo')} of {tree.root.name}"
    best, worst = (examples(tree, some, max_pixels) for some in board.extremes())
    return page(title, rows, best, worst, about, tree.classes)


def examples(tree: VocTree, ranked: Sequence[Ranked], max_pixels: int) -> list[Example]:
    """Read photos and masks again, as a run does not keep them."""
    return [
        Example(
            name=image.name,
            iou=image.iou,
            photo=read_photo(tree.image(image.name), max_pixels=max_pixels),
            truth=tree_mask(tree, image.name),
            prediction=image.labels,
        )
        for image in ranked
    ]
