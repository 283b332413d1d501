"""The files of an explanation: one HTML page, and its pictures as PNGs."""

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
COLUMNS = {2: "two", 3: "three", 4: "four"}  # classes of page.css
MOST_LISTED = 12  # boxes
BOX_RULE = (
    "of all boxes but the whole photo, the one that decided most pixels of the class (see below); "
    "the whole photo if no other decided any; and if none did, the one with the greatest score"
)
CHANNEL_RULE = (
    "of all channels of a stage, the one whose map correlates best (Pearson) with the score map "
    "of the class, which is brought to the size of the stage by averaging"
)
ADDED = (
    "This net adds the decoder's scores to coarse ones of its head, which say most about what is "
    "there; so a stage may have no channel that looks like the answer, and its correlation is low."
)
DECIDES = {
    "max": "The box whose crop gave a pixel's label its greatest raw score decided it; white is "
    "where no crop gave more than 0, from which the merged map starts.",
    "max-probability": "The box whose crop gave a pixel's label its largest probability decided "
    "it.",
    "mean-probability": "The map is the mean over all crops that cover a pixel, so none decides "
    "alone: shown is the box whose crop gave the pixel's label the largest probability.",
    "context": f"The map is {1 - CROPS_SHARE:.1f} of the probability in the whole photo and "
    f"{CROPS_SHARE:.1f} of the mean over the crops that cover a pixel, so none decides alone: "
    "shown is the box whose crop gave the pixel's label the largest probability.",
}


@dataclass(frozen=True)
class Part:
    """One part of the page.

    Attributes:
        name: of its PNG, without the ending; empty for none.
        text, after: HTML before and after the pictures.
        film: HTML of one more picture that moves.
        columns: pictures in a row, 2 to 4.
        strip: its PNG has all of them in one row.
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
    """All files by their names, the page last.

    Args:
        name: what the photo is called.
        about: nets and settings, see ``systems.describe``.
    """
    grown = figures.growth(explanation)
    film = animation([frame.image for frame in grown])
    parts = parts_of(explanation, grown, film)
    files = {LABELS: label_png(explanation.result.labels), FILM: film}
    for part in parts:
        if part.name:
            columns = len(part.pictures) if part.strip else part.columns
            files[f"{part.name}.png"] = sheet(part.pictures, columns)
    shares = class_shares(explanation.result.labels, explanation.classes)
    lead = ", ".join(f"{escape(each)} {100 * part:.1f} %" for each, part in shares.items())
    body = "".join(section(part.heading, part.text + grid(part) + part.after) for part in parts)
    body += section("Settings and weights", cards(about), "cards")
    page = document(f"Why {name} got its labels", f"{lead}.", body)
    files[PAGE] = page.encode(errors="replace")  # a file may have a name that is no Unicode
    return files


def parts_of(explanation: Explanation, grown: Sequence[Picture], film: bytes) -> list[Part]:
    """The parts of the page, in order.

    Args:
        grown, film: the map as it grows, as pictures and as a GIF of them.
    """
    name = explanation.classes[explanation.explained.label]
    layers = figures.scores(explanation)
    which = "after" if explanation.refined else "before"
    return [
        Part(
            "",
            "The photo and its labels",
            "",
            figures.photo_and_labels(explanation),
            3,
            classes(explanation),
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
            "<p>Each box is labelled by itself, then all are merged into one map. The first is "
            "the whole photo; the others come in the order of their scores as proposals, and "
            "add what is too small, or too fine, for the first. The paper shows this in its "
            "figure 6, where the boxes come by their size.</p>\n",
            grown,
            film=moving(grown[-1].image, film),
            strip=True,
        ),
        Part(
            "deciders",
            "Which box decided what",
            f"<p>{DECIDES[explanation.rule]}{about_fcn(explanation)}</p>\n",
            figures.deciders(explanation),
            2,
            ranks(explanation),
        ),
        Part(
            "scores",
            "What was thought of each class",
            "<p>The merged map has a layer for each class, and the brightest layer gives a pixel "
            "its label. Here are the classes that occur, the commonest first. Figure 5 of the "
            "paper has such maps of single classes.</p>\n",
            layers,
            4 if len(layers) > 3 else 3,
        ),
        Part(
            "doubt",
            "How sure it was",
            "<p>Confidence is the probability of the label that a pixel got. Entropy says how "
            "the probability is spread over all classes: 0 bits where one class has all of it, "
            "1 bit where two are equally likely. Doubt lies along the outlines and where "
            "something is taken for two things. Both are from before the CRF.</p>\n",
            figures.doubt(explanation),
            3,
        ),
        Part(
            "crf",
            "Before and after the CRF",
            "<p>The dense CRF compares each pixel with all others: those that are near and alike "
            "in colour should have the same label. So outlines move to edges in the photo, and "
            f"specks go. <code>{LABELS}</code> has the labels from {which} it.</p>\n",
            figures.refinement(explanation),
            3,
        ),
    ]


def grid(part: Part) -> str:
    """The pictures of a part, with their captions and colour bars."""
    shown = (
        picture(each.image, escape(each.caption) + bar(each.scale), each.alt)
        for each in part.pictures
    )
    return f'<div class="grid {COLUMNS[part.columns]}">\n{"".join(shown)}{part.film}</div>\n'


def bar(scale: Scale | None) -> str:
    """A colour bar, if there is a scale."""
    if scale is None:
        return ""
    colours = ", ".join(f"#{bytes(colour).hex()}" for colour in ramp()[::17])
    return (
        f'<span class="ramp"><span>{scale.low:.3g}</span>'
        f'<i style="background:linear-gradient(90deg, {colours})"></i>'
        f"<span>{scale.high:.3g} {escape(scale.unit)}</span></span>"
    )


def classes(explanation: Explanation) -> str:
    """The classes of the labels, with their colours."""
    shares = class_shares(explanation.result.labels, explanation.classes)
    numbers = {name: explanation.classes.index(name) for name in shares}
    return items("legend", (label_swatch(numbers[name]) + escape(name) for name in shares))


def about_decoder(explanation: Explanation) -> str:
    """What the decoder does, and by which rules box and channels were chosen."""
    explained = explanation.explained
    name = escape(explanation.classes[explained.label])
    x0, y0, x1, y1 = explanation.boxes[explained.number]
    first = explained.activations[0].values
    alone = np.array_equal(explained.scores, explained.decoder_scores)
    added = "" if alone else ADDED
    equal = "equal to the bit" if explained.deviation == 0 else "the same within rounding"
    return (
        "<p>The net is shown one box of the photo at a time. Its encoder shrinks the box to "
        f"{first.shape[1]} x {first.shape[0]} cells, which know what is there but hardly where. "
        "The decoder goes the way back: an <b>unpooling</b> puts each value where the encoder "
        "had found a maximum, and leaves gaps around it; the <b>deconvolutions</b> after it fill "
        "the gaps in. So the shape gets finer from stage to stage, as in figure 4 of the "
        "paper.</p>\n"
        f"<p>Shown is box {explained.number + 1} of {len(explanation.boxes)}, columns {x0} to "
        f"{x1}, rows {y0} to {y1}; it decided {explained.pixels} pixels of {name}. Each map goes "
        f"from black, nothing, to its own brightest. {added}</p>\n"
        f'<p class="note">The box is, {BOX_RULE}. The channel is, {CHANNEL_RULE}. The brightest '
        "is what 99 % of the values above nothing do not exceed. The box was run once more for "
        f"these pictures; the values that it decided are {equal} (greatest difference "
        f"{explained.deviation:.3g}).</p>\n"
    )


def about_fcn(explanation: Explanation) -> str:
    """That FCN-8s has a say too, if it has."""
    if explanation.system != "edeconvnet":
        return ""
    return (
        " The labels are those of both nets together; FCN-8s looks at the whole photo at once, "
        "has no boxes and is not shown here."
    )


def ranks(explanation: Explanation) -> str:
    """The boxes that decided most, with their colours and shares."""
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
    """A GIF of this last frame; the style sheet hides it from those who want no motion."""
    return (
        f'<figure class="film"><img src="{data_address("image/gif", film)}" '
        f'alt="The labels as they grow with the boxes" width="{last.width}" '
        f'height="{last.height}"><figcaption>all of them as a film</figcaption></figure>\n'
    )
