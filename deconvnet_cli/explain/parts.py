"""The parts of the page of an explanation: their texts and pictures, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.explain import decoder_figures, figures
from deconvnet_cli.explain.decoder_text import (
    about_channels,
    about_decoder,
    about_rules,
    about_share,
    about_window,
    shares_table,
    window_drawing,
)
from deconvnet_cli.explain.drawing import box_colours
from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.explain.sheets import Picture
from deconvnet_cli.reporting.html import data_address, items, label_swatch, swatch
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.merge import MAX_SHARE, MEAN_SHARE

LABELS = "labels.png"
MOST_LISTED = 12  # boxes in the ranking
DECIDES = {
    "max": "A pixel is decided by the box whose crop gave its label the greatest logit. Pixels "
    "where no logit exceeds 0, from which the merged map starts, are white.",
    "max-probability": "A pixel is decided by the box whose crop gave its label the largest "
    "probability.",
    "mean-probability": "The map is the mean over all crops that cover a pixel, so no box decides "
    "alone. The picture shows the box whose crop gave the pixel's label the largest probability.",
    "context": f"The map is {1 - MEAN_SHARE:.1f} of the probability in the whole photo plus "
    f"{MEAN_SHARE:.1f} of the mean over the crops that cover a pixel, so no box decides alone. "
    "The picture shows the box whose crop gave the pixel's label the largest probability.",
    "context-max": "The map is the probability in the whole photo, raised by "
    f"{MAX_SHARE:.1f} of what the greatest of all crops has above it. The picture shows the box "
    "whose crop gave the pixel's label the largest probability.",
}


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        name: The name of its PNG, without the suffix; empty if it has no PNG.
        heading: The heading, plain text.
        text, after: The HTML before and after the pictures.
        columns: How many pictures stand in a row, 2 to 4.
        film: The HTML of an animated picture.
        strip: Whether the PNG has all pictures in one row.
        folded: Whether the page shows only the heading until a reader opens it.
    """

    name: str
    heading: str
    text: str
    pictures: Sequence[Picture]
    columns: int = 4
    after: str = ""
    film: str = ""
    strip: bool = False
    folded: bool = False


def parts_of(explanation: Explanation, grown: Sequence[Picture], film: bytes) -> list[Part]:
    """Return the parts of the page, in order.

    Args:
        grown, film: The labels after more and more boxes, as pictures and as a GIF of them.
    """
    name = explanation.classes[explanation.explained.label]
    layers = figures.class_maps(explanation)
    comparison = explanation.comparison
    which = "after" if explanation.refined else "before"
    return [
        Part(
            "",
            "The photo and its labels",
            "",
            figures.photo_and_labels(explanation),
            3,
            class_legend(explanation.result.labels, explanation.classes),
        ),
        Part(
            "",
            "A pooling window, its switch and unpooling",
            about_window(explanation) + window_drawing(explanation),
            [],
        ),
        Part(
            "stages",
            f"How the decoder fills in the shape: {name}",
            about_decoder(explanation),
            decoder_figures.stages(explanation),
            3,
        ),
        Part(
            "activations",
            "All stages, with channel numbers and correlations",
            about_channels(explanation),
            decoder_figures.activations(explanation),
            folded=True,
        ),
        *share_parts(explanation),
        Part(
            "progress",
            "How the map grows with the boxes",
            "<p>The net labels each box by itself, and all are merged into one map. The first box "
            "is the whole photo; the others come in the order of their scores as proposals, and "
            "add objects and details that are too small for the first. The paper's figure 6 "
            "shows this too, with the boxes in the order of their size.</p>\n",
            grown,
            film=moving(grown[-1].image, film),
            strip=True,
        ),
        Part(
            "deciders",
            "The box that decided each pixel",
            f"<p>{DECIDES[explanation.merge_rule]}{about_fcn(explanation)}</p>\n",
            figures.deciders(explanation),
            2,
            box_legend(explanation),
        ),
        Part(
            "rules",
            "Two merge rules",
            about_rules(explanation),
            figures.compared(
                explanation,
                comparison.labels,
                comparison.other_labels,
                (f"--rule {explanation.merge_rule}, used here", f"--rule {comparison.other_rule}"),
            ),
            3,
            class_legend(
                np.vstack((comparison.labels, comparison.other_labels)), explanation.classes
            ),
        ),
        Part(
            "scores",
            "The merged map of each class",
            "<p>The merged map has a layer for each class, and the brightest layer gives a pixel "
            "its label. These are the classes that occur, the most common first. Figure 5 of the "
            "paper shows such maps of single classes.</p>\n",
            layers,
            4 if len(layers) > 3 else 3,
        ),
        Part(
            "doubt",
            "Confidence and entropy",
            "<p>Confidence is the probability of a pixel's label. Entropy measures how the "
            "probability is spread over all classes: 0 bits where one class has all of it, 1 bit "
            "where two are equally likely. The net is least sure along the outlines, and where "
            "an object could belong to two classes. Both maps are from before the CRF.</p>\n",
            figures.doubt(explanation),
            3,
        ),
        Part(
            "crf",
            "Before and after the CRF",
            "<p>The dense CRF compares each pixel with all others: pixels that are close and "
            "similar in colour should have the same label. So outlines move to edges in the photo, "
            f"and specks vanish. <code>{LABELS}</code> has the labels {which} the CRF.</p>\n",
            figures.refinement(explanation),
            3,
        ),
    ]


def share_parts(explanation: Explanation) -> list[Part]:
    """Return the parts on the decoder's share, if the net has other logits too."""
    labels, coarse = explanation.comparison.labels, explanation.comparison.coarse_labels
    if coarse is None:
        return []
    name = explanation.classes[explanation.explained.label]
    number = explanation.explained.number + 1
    names = "with the decoder", "from the coarse logits of the head alone"
    return [
        Part(
            "decoder",
            "What the decoder changes",
            about_share(explanation, coarse),
            figures.compared(explanation, labels, coarse, names),
            3,
            shares_table(explanation, coarse),
        ),
        Part(
            "logits",
            f"The two parts of the logits of {name} in box {number}",
            "",
            decoder_figures.parts_of_logits(explanation),
            3,
            folded=True,
        ),
    ]


def class_legend(labels: NDArray[np.uint8], classes: tuple[str, ...]) -> str:
    """Return the classes of labels, uint8 H x W, with their colours, as HTML."""
    names = class_shares(labels, classes)
    return items(
        "legend", (label_swatch(classes.index(name), classes) + escape(name) for name in names)
    )


def about_fcn(explanation: Explanation) -> str:
    """Return a note on FCN-8s, if the system has it."""
    if explanation.system != "edeconvnet":
        return ""
    return (
        " The labels come from both nets together; FCN-8s takes the whole photo at once, has no "
        "boxes and is not shown here."
    )


def box_legend(explanation: Explanation) -> str:
    """Return the boxes that decided most, with their colours and shares, as HTML."""
    ranked = figures.ranking(explanation)
    colours = box_colours([number for number, _ in ranked])
    lines = [
        swatch(bytes(colours[number]))
        + (f"box {number + 1}" if number else "box 1, the whole photo")
        + f": {figures.share_text(part)}"
        for number, part in ranked[:MOST_LISTED]
    ]
    if rest := ranked[MOST_LISTED:]:
        lines.append(f"{len(rest)} more: {figures.share_text(sum(part for _, part in rest))}")
    if idle := len(explanation.boxes) - len(ranked):
        lines.append(f"{idle} decided nothing")
    return items("legend", lines)


def moving(last: Image.Image, film: bytes) -> str:
    """Return a GIF as HTML; the style sheet hides it from people who prefer no motion."""
    return (
        f'<figure class="film"><img src="{data_address("image/gif", film)}" '
        f'alt="The labels after more and more boxes" width="{last.width}" '
        f'height="{last.height}"><figcaption>all of them as an animation</figcaption></figure>\n'
    )
