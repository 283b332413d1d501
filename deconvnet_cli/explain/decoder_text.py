"""The texts of the page on the decoder: unpooling, stages, its share, and merge rules, as HTML."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.explain.decoder_figures import marked_crop
from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.explain.figures import percent, share_text
from deconvnet_cli.explain.windows import CORNERS
from deconvnet_cli.outputs.overlay import border_distance
from deconvnet_cli.reporting.html import label_swatch, picture

NEAR = 5  # pixels from an outline within which the decoder's share is told
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


def about_window(explanation: Explanation) -> str:
    """Return the text on pooling and unpooling."""
    explained = explanation.explained
    window = explained.window
    stage = next(each.stage for each in explained.activations if each.stage.entering)
    pool = stage.name.removeprefix("un")
    return (
        "<p>A pool of the encoder keeps one value of each 2 x 2 window and forgets where it was. "
        "DeconvNet remembers the place of the maximum, the <b>switch</b>, and the decoder puts its "
        "value back there: that is <b>unpooling</b>, figure 3 of the paper. This is one window of "
        f"this photo: channel {window.channel + 1} of {pool}, row {window.row + 1} of "
        f"{window.rows}, column {window.column + 1} of {window.columns}.</p>\n"
    )


def window_drawing(explanation: Explanation) -> str:
    """Return the pooling window as a row of small tables, from the encoder's values to unpooled."""
    window = explanation.explained.window
    crop = marked_crop(explanation)
    corner = CORNERS[window.switch]
    kept = (
        "The encoder itself goes on with the first value, as the strides of MobileNetV2 do."
        if window.strided
        else "The encoder goes on with it alone."
    )
    encoder = [number(value) for value in window.encoder]
    switch = ["switch" if place == window.switch else "" for place in range(4)]
    unpooled = [number(value) for value in window.unpooled]
    steps = (
        (
            cells(encoder, window.switch),
            f"The encoder has four values; the greatest is marked. {kept}",
        ),
        (cells(switch, window.switch), f"The switch is the place of the greatest: {corner}."),
        (cells([number(window.value)], 0), "The decoder has found one value for this window."),
        (
            cells(unpooled, window.switch),
            "Unpooling puts it at the switch and zeros elsewhere. The deconvolutions that follow "
            "fill them in.",
        ),
    )
    drawn = "".join(
        f"<figure>{table}<figcaption>{place}. {caption}</figcaption></figure>\n"
        for place, (table, caption) in enumerate(steps, start=1)
    )
    where = "The frame shows the window in the box that the net is shown."
    return f'<div class="flow">\n{picture(crop.image, where, crop.alt)}{drawn}</div>\n'


def cells(values: list[str], marked: int) -> str:
    """Return one or four values as a table with one or two columns, one of them marked."""
    columns = 1 if len(values) == 1 else 2
    parts = [
        f'<td class="marked">{value}</td>' if place == marked else f"<td>{value}</td>"
        for place, value in enumerate(values)
    ]
    rows = ("".join(parts[at : at + columns]) for at in range(0, len(parts), columns))
    return f'<table class="cells">{"".join(f"<tr>{row}</tr>" for row in rows)}</table>'


def number(value: float) -> str:
    """Return a value with three digits, and a true minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def about_decoder(explanation: Explanation) -> str:
    """Return the text on the decoder and on the box that is shown."""
    explained = explanation.explained
    name = escape(explanation.classes[explained.label])
    x0, y0, x1, y1 = explanation.corners
    share = explained.pixels / explanation.decided.size
    why = f"which decided {share_text(share)} of the pixels, as {name}"
    if explained.label not in explanation.present:
        why = f"which comes closest to {name}: no pixel of the photo is labelled so"
    return (
        "<p>The net is shown one box of the photo at a time. Its encoder loses the shape, and the "
        "decoder gets it back: after each unpooling, <b>deconvolutions</b> fill the gaps, so the "
        "shape becomes finer from stage to stage, as in figure 4 of the paper. The pictures show "
        f"box {explained.number + 1} of {len(explanation.boxes)} (columns {x0} to {x1 - 1}, rows "
        f"{y0} to {y1 - 1}), {why}.</p>\n"
    )


def about_channels(explanation: Explanation) -> str:
    """Return the text on how the box and the channels were chosen."""
    explained = explanation.explained
    decoder_alone = explanation.comparison.coarse_labels is None
    equal = "equal to the bit" if explained.deviation == 0 else "the same within rounding"
    return (
        f"<p>The box is {BOX_RULE}. The channel is {CHANNEL_RULE}. "
        f"{'' if decoder_alone else ADDED}</p>\n"
        "<p>Each map goes from black for 0 to its own brightest value, the 99th percentile of the "
        "positive values. The box was run once more for these pictures; the values that it decided "
        f"are {equal} (greatest difference {explained.deviation:.3g}).</p>\n"
    )


def alone(explanation: Explanation) -> str:
    """Return words that say which net is compared, if the result is that of two."""
    return ", by DeconvNet alone, without FCN-8s" if explanation.system == "edeconvnet" else ""


def about_share(explanation: Explanation, coarse_labels: NDArray[np.uint8]) -> str:
    """Return the text on the decoder's share, in figures."""
    labels = explanation.comparison.labels
    changed = labels != coarse_labels
    near = border_distance(labels) <= NEAR
    at_outlines = ""
    if near.any():
        at_outlines = (
            f"; of the pixels within {NEAR} pixels of an outline it would be "
            f"{percent(changed[near])}"
        )
    return (
        "<p>This net has a path that the paper's net lacks: its head makes coarse logits, and the "
        f"decoder's logits are added to them. Without the decoder, {percent(changed)} of all "
        f"pixels would have another label{at_outlines}. Here the whole photo was labelled both "
        f"ways, with the same boxes{alone(explanation)}.</p>\n"
    )


def shares_table(explanation: Explanation, coarse_labels: NDArray[np.uint8]) -> str:
    """Return the share of each class with the decoder and without it, as an HTML table."""
    counts = [
        np.bincount(labels.ravel(), minlength=len(explanation.classes))
        for labels in (explanation.comparison.labels, coarse_labels)
    ]
    rows = []
    found = np.flatnonzero(counts[0] + counts[1]).tolist()
    for label in sorted(found, key=lambda label: -counts[0][label]):
        name = label_swatch(label, explanation.classes) + escape(explanation.classes[label])
        shares = (f"<td>{share_text(each[label] / coarse_labels.size)}</td>" for each in counts)
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(shares)}</tr>\n')
    head = "<tr><th>class</th><th>with the decoder</th><th>without it</th></tr>"
    return f'<table class="shares"><thead>{head}</thead><tbody>\n{"".join(rows)}</tbody></table>\n'


def about_rules(explanation: Explanation) -> str:
    """Return the text on the merge rule that was used and another."""
    comparison = explanation.comparison
    differ = percent(comparison.labels != comparison.other_labels)
    return (
        "<p>The boxes overlap, and a merge rule makes one map of them. The paper takes the "
        "greatest logit of any box (<code>--rule max</code>). <code>context</code> takes the mean "
        "of the boxes and <code>context-max</code> the greatest of them, each together with what "
        "the whole photo says. These are the labels with the merge rule "
        f"<code>{escape(explanation.merge_rule)}</code>, used here, and with "
        f"<code>{comparison.other_rule}</code>: {differ} of the pixels differ"
        f"{alone(explanation)}.</p>\n"
    )
