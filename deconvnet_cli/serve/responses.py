"""The answers to a request: label PNG, overlay PNG or JSON of a segmented photo."""

from __future__ import annotations

import base64
import json
import re
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict

from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.outputs.overlay import overlay
from deconvnet_cli.segmentation.segment import Segmentation
from deconvnet_cli.segmentation.summary import summarise

Output = Literal["labels", "overlay", "json"]


class SegmentQuery(BaseModel):
    """The query of a request; other parameters are refused.

    Attributes:
        output: Label PNG, overlay PNG or JSON; None leaves the choice to the header Accept.
        crf: Whether to refine with the dense CRF; None means the server's default.
        embed: Whether JSON also contains the label PNG, in base64.
    """

    model_config = ConfigDict(extra="forbid")

    output: Output | None = None
    crf: bool | None = None
    embed: bool = False


def choose_output(query: SegmentQuery, accept: str) -> Output:
    """Return the output of a request: the label PNG, unless it asks for or prefers another."""
    if query.output is not None:
        return query.output
    prefers_json = preference(accept, "application/json") > preference(accept, "image/png")
    return "json" if prefers_json else "labels"


def preference(accept: str, kind: str) -> float:
    """Return the weight, 0 to 1, of a media type in a header Accept; empty accepts anything."""
    weights = {}
    for part in (accept or "*/*").lower().split(","):
        name, _, parameters = part.partition(";")
        weight = re.search(r"\bq=(\d(?:\.\d*)?)", parameters)
        weights[name.strip()] = float(weight[1]) if weight else 1.0
    for name in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0


def render(
    output: Output,
    photo: Image.Image,
    result: Segmentation,
    classes: tuple[str, ...],
    *,
    embed: bool,
) -> tuple[bytes, str]:
    """Return the body of an answer and its media type. Call it in a worker thread."""
    if output == "labels":
        return label_png(result.labels, classes), "image/png"
    if output == "overlay":
        shown = overlay(photo, result.labels, colours=palette_for(classes), classes=classes)
        # At a higher level a photo takes seconds and becomes hardly smaller.
        return png_bytes(shown, compress_level=1), "image/png"
    height, width = result.labels.shape
    values = {"size": {"width": width, "height": height}, **summarise(result, classes)}
    if embed:
        values["labels_png"] = base64.b64encode(label_png(result.labels, classes)).decode()
    return json.dumps(values).encode(), "application/json"
