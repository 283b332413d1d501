"""The pictures of the decoder: its stages in one box, and its share in the logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deconvnet_cli.explain.explanation import Explanation
from deconvnet_cli.explain.sheets import INK, Picture, Scale, heat, scale_of
from deconvnet_cli.reporting.label_images import shown_size

CROP_WIDTH = 320  # width of a picture of an activation, pixels; no net has wider crops
MARK = (255, 214, 0)  # colour of the window on the crop


def activations(explanation: Explanation) -> list[Picture]:
    """Return the crop, a channel of each stage of the decoder, and the resulting logits.

    Activations range from black for 0 to their own brightest value (see :func:`brightest`),
    logits from their least to their greatest value.
    """
    explained = explanation.explained
    name = explanation.classes[explained.label]
    size = shown_size(*explained.crop.size, CROP_WIDTH)
    crop = explained.crop.resize(size, Image.Resampling.LANCZOS)
    width, height = explained.crop.size
    pictures = [
        Picture(
            crop,
            f"box {explained.number + 1}, scaled to {width} x {height}",
            "The part of the photo that the net is shown",
        )
    ]
    for activation in explained.activations:
        rows, columns = activation.values.shape
        pictures.append(
            Picture(
                heat(activation.values, Scale(0, brightest(activation.values)), size),
                f"{activation.stage.name}: {columns} x {rows}, channel {activation.channel + 1} of "
                f"{activation.channels}, correlation {activation.correlation:.2f}",
                f"Activations of {activation.stage.name}",
            )
        )
    logits = {f"logits of {name}": explained.logits}
    if not np.array_equal(explained.logits, explained.decoder_logits):
        logits = {
            f"the decoder's part of the logits of {name}": explained.decoder_logits,
            f"logits of {name}: coarse logits of the head plus the decoder's": explained.logits,
        }
    for caption, values in logits.items():
        scale = scale_of(values)
        text = f"{caption}, {scale.low:.2g} to {scale.high:.2g}"
        pictures.append(Picture(heat(values, scale, size), text, f"Map: {caption}"))
    return pictures


def brightest(values: NDArray[np.float32]) -> float:
    """Return the value that is drawn brightest: the 99th percentile of the positive values.

    Without this limit single values, mostly at the rim of the crop, would leave the rest dark.

    Args:
        values: Activations, float32 h x w.
    """
    positive = values[values > 0]
    return float(np.percentile(positive, 99)) if positive.size else 1.0


def stages(explanation: Explanation) -> list[Picture]:
    """Return the few of :func:`activations` that tell the story, each with one sentence."""
    explained = explanation.explained
    pictures = activations(explanation)
    parts = explained.activations
    name = explanation.classes[explained.label]
    unpoolings = sum(part.stage.entering for part in parts)
    width, height = explained.crop.size
    sides = [f"{part.values.shape[1]} x {part.values.shape[0]}" for part in parts]
    told = {
        0: f"The net is shown box {explained.number + 1}, scaled to {width} x {height} pixels.",
        1: f"The decoder starts from {sides[0]} cells, which say what is there but hardly where.",
        2: f"Unpooling puts each value at its switch among {sides[1]} cells, with zeros around it.",
        3: "Deconvolutions fill the gaps between these points.",
        len(parts): f"After {unpoolings} unpoolings with their deconvolutions, each of {sides[-1]} "
        "pixels has a value of its own.",
        -1: f"These are the logits that result: the brighter a pixel, the more it looks like "
        f"{name} to the net.",
    }
    return [
        Picture(pictures[place].image, sentence, pictures[place].alt)
        for place, sentence in told.items()
    ]


def marked_crop(explanation: Explanation) -> Picture:
    """Return the crop with a frame around the pooling window."""
    window, crop = explanation.explained.window, explanation.explained.crop
    size = shown_size(*crop.size, CROP_WIDTH)
    image = crop.resize(size, Image.Resampling.LANCZOS)
    left, right = (
        round(at * size[0] / window.columns) for at in (window.column, window.column + 1)
    )
    top, bottom = (round(at * size[1] / window.rows) for at in (window.row, window.row + 1))
    draw = ImageDraw.Draw(image)
    # A dark line on both sides keeps the bright one visible on any photo.
    for around, colour, width in ((5, INK, 5), (4, MARK, 3)):
        draw.rectangle(
            (left - around, top - around, right + around - 1, bottom + around - 1),
            outline=colour,
            width=width,
        )
    return Picture(image, "", "The crop with a frame around one pooling window")


def parts_of_logits(explanation: Explanation) -> list[Picture]:
    """Return the coarse logits, the decoder's part and their sum, in the box that is shown."""
    explained = explanation.explained
    name = explanation.classes[explained.label]
    size = shown_size(*explained.crop.size, CROP_WIDTH)
    own, logits = explained.decoder_logits, explained.logits
    coarse = logits - own
    whole = scale_of(coarse, logits)
    shown = {
        f"coarse logits of {name} from the head": (coarse, whole),
        "plus the decoder's part, on a scale of its own": (own, scale_of(own)),
        f"gives the logits of {name}": (logits, whole),
    }
    return [
        Picture(heat(values, scale, size), caption, f"Heat map: {caption}", scale)
        for caption, (values, scale) in shown.items()
    ]
