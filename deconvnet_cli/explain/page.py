"""The files of an explanation: an HTML page, and its pictures as PNGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.explain import figures
from deconvnet_cli.explain.drawing import Picture, Scale, animation, box_colours, ramp, sheet
from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.reporting.html import (
    cards,
    data_address,
    document,
    items,
    label_swatch,
    picture,
    section,
    swatch,
)
from deconvnet_cli.segmentation.labels import class_shares
from deconvnet_cli.segmentation.merge import CROPS_SHARE

LABELS, FILM, PAGE = "labels.png", "progress.gif", "index.html"
COLUMNS = {2: "two", 3: "three", 4: "four"}  # number of columns -> class in page.css
MOST_LISTED = 12  # boxes in the ranking
BOX_RULE = (
    "the one, other than the whole photo, that decided most pixels of the class (see below); the "
    "whole photo if no other box decided any; and if no box did, the one with the greatest value "
    "of the class"
)
CHANNEL_RULE = (
    "the one of its stage that correlates best (Pearson) with the logits of the class, averaged "
    "down to the size of the stage"
)
ADDED = (
    "This net adds the decoder's logits to coarse logits of its head, which decide most of the "
    "result. So a stage may have no channel that looks like the result, and low correlations."
)
DECIDES = {
    "max": "A pixel is decided by the box whose crop gave its label the greatest logit. Pixels "
    "where no logit exceeds 0, from which the merged map starts, are white.",
    "max-probability": "A pixel is decided by the box whose crop gave its label the largest "
    "probability.",
    "mean-probability": "The map is the mean over all crops that cover a pixel, so no box decides "
    "alone. The picture shows the box whose crop gave the pixel's label the largest probability.",
    "context": f"The map is {1 - CROPS_SHARE:.1f} of the probability in the whole photo plus "
    f"{CROPS_SHARE:.1f} of the mean over the crops that cover a pixel, so no box decides alone. "
    "The picture shows the box whose crop gave the pixel's label the largest probability.",
}


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        name: The name of its PNG, without the suffix; empty if it has no PNG.
        heading: The heading, plain text.
        text, after: The HTML before and after the pictures.
        pictures: The pictures.
        columns: How many pictures stand in a row, 2 to 4.
        film: The HTML of an animated picture.
        strip: Whether the PNG has all pictures in one row.
    """

    name: str
    heading: str
    text: str
    pictures: Sequence[Picture]
    columns: int = 4
    after: str = ""
    film: str = ""
    strip: bool = False


def rendered(
    explanation: Explanation, name: str, about: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the content of all files by name, the page last.

    Args:
        explanation: The explanation.
        name: The photo's name.
        about: The system and its settings, see ``system.describe``.
    """
    grown = figures.growth(explanation)
    film = animation([frame.image for frame in grown])
    parts = parts_of(explanation, grown, film)
    files = {LABELS: label_png(explanation.result.labels, explanation.classes), FILM: film}
    for part in parts:
        if part.name:
            columns = len(part.pictures) if part.strip else part.columns
            files[f"{part.name}.png"] = sheet(part.pictures, columns)
    shares = class_shares(explanation.result.labels, explanation.classes)
    lead = ", ".join(f"{escape(each)} {100 * part:.1f} %" for each, part in shares.items())
    body = "".join(section(part.heading, part.text + grid(part) + part.after) for part in parts)
    body += section("Settings and weights", cards(about), "cards")
    page = document(f"Why {name} got its labels", f"{lead}.", body)
    files[PAGE] = page.encode(errors="replace")  # a file name may not be valid Unicode
    return files


def parts_of(explanation: Explanation, grown: Sequence[Picture], film: bytes) -> list[Part]:
    """Return the parts of the page, in order.

    Args:
        explanation: The explanation.
        grown, film: The labels after more and more boxes, as pictures and as a GIF of them.
    """
    name = explanation.classes[explanation.explained.label]
    layers = figures.class_maps(explanation)
    which = "after" if explanation.refined else "before"
    return [
        Part(
            "",
            "The photo and its labels",
            "",
            figures.photo_and_labels(explanation),
            3,
            class_legend(explanation),
        ),
        Part(
            "activations",
            f"How the decoder fills in the shape: {name}",
            about_decoder(explanation),
            figures.activations(explanation),
        ),
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


def grid(part: Part) -> str:
    """Return the pictures of a part as HTML, with their captions and colour bars."""
    shown = (
        picture(each.image, escape(each.caption) + bar(each.scale), each.alt)
        for each in part.pictures
    )
    return f'<div class="grid {COLUMNS[part.columns]}">\n{"".join(shown)}{part.film}</div>\n'


def bar(scale: Scale | None) -> str:
    """Return a colour bar as HTML, or nothing without a scale."""
    if scale is None:
        return ""
    colours = ", ".join(f"#{bytes(colour).hex()}" for colour in ramp()[::17])
    return (
        f'<span class="ramp"><span>{scale.low:.3g}</span>'
        f'<i style="background:linear-gradient(90deg, {colours})"></i>'
        f"<span>{scale.high:.3g} {escape(scale.unit)}</span></span>"
    )


def class_legend(explanation: Explanation) -> str:
    """Return the classes of the labels with their colours, as HTML."""
    shares = class_shares(explanation.result.labels, explanation.classes)
    numbers = {name: explanation.classes.index(name) for name in shares}
    swatches = {name: label_swatch(numbers[name], explanation.classes) for name in shares}
    return items("legend", (swatches[name] + escape(name) for name in shares))


def about_decoder(explanation: Explanation) -> str:
    """Return the text on the decoder, and on how the box and the channels were chosen."""
    explained = explanation.explained
    name = escape(explanation.classes[explained.label])
    x0, y0, x1, y1 = explanation.boxes[explained.number]
    first = explained.activations[0].values
    decoder_alone = np.array_equal(explained.logits, explained.decoder_logits)
    added = "" if decoder_alone else ADDED
    equal = "equal to the bit" if explained.deviation == 0 else "the same within rounding"
    return (
        "<p>The net is shown one box of the photo at a time. Its encoder shrinks the box to "
        f"{first.shape[1]} x {first.shape[0]} cells, which hold what is there but hardly where. "
        "The decoder reverses this: an <b>unpooling</b> puts each value back where the encoder "
        "found a maximum, with gaps around it, and the <b>deconvolutions</b> after it fill in "
        "the gaps. So the shape gets finer from stage to stage, as in figure 4 of the "
        "paper.</p>\n"
        f"<p>The pictures show box {explained.number + 1} of {len(explanation.boxes)}, columns "
        f"{x0} to {x1}, rows {y0} to {y1}; it decided {explained.pixels} pixels of {name}. Each "
        f"map goes from black for 0 to its own brightest value. {added}</p>\n"
        f'<p class="note">The box is {BOX_RULE}. The channel is {CHANNEL_RULE}. The brightest '
        "value is the 99th percentile of the positive values. The box was run once more for "
        f"these pictures; the values that it decided are {equal} (greatest difference "
        f"{explained.deviation:.3g}).</p>\n"
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
        + f": {100 * part:.1f} %"
        for number, part in ranked[:MOST_LISTED]
    ]
    if rest := ranked[MOST_LISTED:]:
        lines.append(f"{len(rest)} more: {100 * sum(part for _, part in rest):.1f} %")
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
