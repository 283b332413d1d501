"""What is sent back of a segmented photo."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Literal

from PIL import Image
from pydantic import BaseModel, ConfigDict

from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import palette
from deconvnet_cli.outputs.overlay import overlay
from deconvnet_cli.segmentation.segment import Segmentation
from deconvnet_cli.segmentation.summary import summarise

Output = Literal["labels", "overlay", "json"]


class SegmentQuery(BaseModel):
    """What the address of a request may ask for; anything else in it is refused.

    Attributes:
        output: label PNG, overlay PNG or JSON; None leaves it to the header Accept.
        crf: refine with the dense CRF; None does what the server does by default.
        embed: with JSON, the label PNG in it as well, in base64.
    """

    model_config = ConfigDict(extra="forbid")

    output: Output | None = None
    crf: bool | None = None
    embed: bool = False


def wanted(query: SegmentQuery, accept: str) -> Output:
    """The output that a request asks for: the label PNG, unless it likes another better."""
    if query.output is not None:
        return query.output
    return "json" if liking(accept, "application/json") > liking(accept, "image/png") else "labels"


def liking(accept: str, kind: str) -> float:
    """How much a header Accept wants a media type, 0 to 1; an empty one wants anything."""
    weights = {}
    for part in (accept or "*/*").lower().split(","):
        name, _, parameters = part.partition(";")
        weight = re.search(r"\bq=(\d(?:\.\d*)?)", parameters)
        weights[name.strip()] = float(weight[1]) if weight else 1.0
    for name in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if name in weights:
            return weights[name]
    return 0.0


def content(
    output: Output,
    photo: Image.Image,
    result: Segmentation,
    classes: tuple[str, ...],
    *,
    embed: bool,
) -> tuple[bytes, str]:
    """What an output is made of, and its media type. For a worker thread."""
    if output == "labels":
        return label_png(result.labels), "image/png"
    if output == "overlay":
        shown = overlay(photo, result.labels, colours=palette(), classes=classes)
        buffer = io.BytesIO()
        shown.save(buffer, "PNG", compress_level=1)  # of a photo more takes seconds for little
        return buffer.getvalue(), "image/png"
    height, width = result.labels.shape
    said = {"size": {"width": width, "height": height}, **summarise(result, classes)}
    if embed:
        said["labels_png"] = base64.b64encode(label_png(result.labels)).decode()
    return json.dumps(said).encode(), "application/json"
