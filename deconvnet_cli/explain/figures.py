"""The pictures of the labels of a photo, for the page and for the PNGs beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.explain.drawing import box_colours, draw_boxes, draw_deciders, frame_for
from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.explain.sheets import Picture, Scale, heat
from deconvnet_cli.outputs.class_filter import chosen_labels
from deconvnet_cli.outputs.overlay import painted
from deconvnet_cli.reporting.html import page_colours
from deconvnet_cli.reporting.label_images import error_map, label_image, shown_size

NAMED_BOXES = 8  # boxes drawn with broad lines and their numbers


def size_of(explanation: Explanation) -> tuple[int, int]:
    """Return the width and height of most pictures."""
    return shown_size(*explanation.photo.size)


def photo_and_labels(explanation: Explanation) -> list[Picture]:
    """Return the photo, its labels, and the labels laid over the photo."""
    size = size_of(explanation)
    labels = explanation.after if explanation.refined else explanation.before
    photo = explanation.photo.resize(size, Image.Resampling.LANCZOS)
    shown = label_image(labels, size, explanation.classes)
    chosen = chosen_labels(None, explanation.classes)
    both = painted(photo, np.asarray(shown), page_colours(explanation.classes), chosen)
    return [
        Picture(photo, "the photo", "The photo"),
        Picture(shown, "its labels", "The label of each pixel as a colour"),
        Picture(both, "both", "The labels laid over the photo"),
    ]


def growth(explanation: Explanation) -> list[Picture]:
    """Return the labels after more and more boxes; the last are those of the label PNG."""
    frames = {f"{count} boxes": labels for count, labels in sorted(explanation.growth.items())}
    if "1 boxes" in frames:
        frames = {"1 box, the whole photo": frames.pop("1 boxes"), **frames}
    if explanation.system == "edeconvnet":
        frames["with FCN-8s"] = explanation.before
    if explanation.refined:
        frames["after the CRF"] = explanation.after
    pictures: list[Picture] = []
    last: NDArray[np.uint8] | None = None
    for name, labels in frames.items():
        change = "" if last is None else f": {percent(labels != last)} of the labels changed"
        image = label_image(labels, size_of(explanation), explanation.classes)
        pictures.append(Picture(image, name + change, f"Labels, {name}"))
        last = labels
    return pictures


def deciders(explanation: Explanation) -> list[Picture]:
    """Return the boxes, and the box that decided each pixel, in the same colours."""
    colours = box_colours([number for number, _ in ranking(explanation)])
    broad = list(colours)[:NAMED_BOXES]
    frame = frame_for(explanation.photo, [explanation.boxes[number] for number in colours])
    drawn = draw_boxes(explanation.photo, explanation.boxes, colours, broad, frame)
    decided = draw_deciders(explanation.decided, explanation.before, colours, frame)
    return [
        Picture(
            drawn,
            "the boxes that decided any pixel; those with broad lines decided most",
            "The faded photo with boxes drawn in colours",
        ),
        Picture(
            decided,
            "the box that decided each pixel, and the outlines of the labels",
            "A map in which each pixel has the colour of the box that decided it",
        ),
    ]


def ranking(explanation: Explanation) -> list[tuple[int, float]]:
    """Return each box that decided any pixel, with its share of pixels, the greatest first."""
    decided = explanation.decided
    counts = np.bincount(decided[decided >= 0], minlength=len(explanation.boxes))
    order = sorted(np.flatnonzero(counts), key=lambda number: (-counts[number], number))
    return [(int(number), float(counts[number] / decided.size)) for number in order]


def class_maps(explanation: Explanation) -> list[Picture]:
    """Return a heat map of the merged map for each class that occurs, all on one scale."""
    raw = explanation.maps.raw
    maps = explanation.maps.merged()[explanation.present].numpy()
    top = float(max(maps.max(), 1e-6)) if raw else 1.0
    scale = Scale(0.0, top, "logit" if raw else "probability")
    return [
        Picture(
            heat(values, scale, size_of(explanation)),
            f"{explanation.classes[label]}: {percent(explanation.before == label)} of pixels",
            f"Heat map of {explanation.classes[label]} in the merged map",
            scale,
        )
        for label, values in zip(explanation.present, maps, strict=True)
    ]


def doubt(explanation: Explanation) -> list[Picture]:
    """Return the photo, and heat maps of confidence and entropy before the CRF."""
    probabilities = explanation.maps.probabilities().numpy()
    confidence, bits = probabilities.max(axis=0), entropy(probabilities)
    classes, size = len(probabilities), size_of(explanation)
    # Entropy is low almost everywhere, so a scale over its full range would show nothing.
    bits_scale = Scale(0.0, max(float(bits.max()), 1e-6), "bits")
    confidence_scale = Scale(0.0, 1.0, "probability")
    return [
        photo_and_labels(explanation)[0],
        Picture(
            heat(confidence, confidence_scale, size),
            f"confidence, the largest probability: {confidence.mean():.2f} on average, "
            f"{confidence.min():.2f} at least",
            "Heat map of the largest probability",
            confidence_scale,
        ),
        Picture(
            heat(bits, bits_scale, size),
            f"entropy in bits: {bits.mean():.2f} on average; {math.log2(classes):.2f} if all "
            f"{classes} classes were equally likely",
            "Heat map of the entropy",
            bits_scale,
        ),
    ]


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the entropy, h x w in bits, of probabilities C x h x w; 0 log2 0 counts as 0."""
    logs = np.log2(np.maximum(probabilities, np.finfo(np.float32).tiny))
    bits: NDArray[np.float32] = np.maximum(-(probabilities * logs).sum(axis=0), 0)
    return bits


def refinement(explanation: Explanation) -> list[Picture]:
    """Return the labels before and after the CRF, and the pixels where they differ."""
    names = "before the CRF", "after the CRF"
    before, after, changed = compared(explanation, explanation.before, explanation.after, names)
    portion = percent(explanation.before != explanation.after)
    caption, alt = f"changed in red: {portion}", "Changed pixels in red on the faded photo"
    return [before, after, replace(changed, caption=caption, alt=alt)]


def compared(
    explanation: Explanation,
    labels: NDArray[np.uint8],
    others: NDArray[np.uint8],
    names: tuple[str, str],
) -> list[Picture]:
    """Return two label maps, uint8 h x w, under their names, and their differences on the photo."""
    size = size_of(explanation)
    first, second = (label_image(each, size, explanation.classes) for each in (labels, others))
    photo = explanation.photo.resize(size, Image.Resampling.LANCZOS)
    changed = error_map(photo, np.asarray(first), np.asarray(second))
    return [
        Picture(first, names[0], f"Labels {names[0]}"),
        Picture(second, names[1], f"Labels {names[1]}"),
        Picture(
            changed,
            f"{percent(labels != others)} of the pixels differ, in red",
            "Pixels that differ, in red on the faded photo",
        ),
    ]


def percent(where: NDArray[np.bool_]) -> str:
    """Return the share of pixels that are true, of bool h x w, as text in per cent."""
    return share_text(float(where.mean()))


def share_text(share: float) -> str:
    """Return a share, 0 to 1, as text in per cent; "under 0.1 %" instead of "0.0 %"."""
    text = f"{100 * share:.1f} %"
    return "under 0.1 %" if share > 0 and text == "0.0 %" else text
