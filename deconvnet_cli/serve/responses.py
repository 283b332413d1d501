"""The answers to a request: label PNG, overlay PNG or JSON of a segmented photo."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args

from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deconvnet_cli.data.images import png_bytes
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.class_filter import names_in
from deconvnet_cli.outputs.encoding import file_beside
from deconvnet_cli.outputs.files import AREA, MIN_AREA, POLYGONS, Outputs, is_area
from deconvnet_cli.segmentation.segment import Segmentation, summarise
from deconvnet_cli.serve.errors import Refusal

Output = Literal["labels", "overlay", "cutout", "geojson", "coco", "json"]
MOST_OF_ONLY = 30_000  # characters: 254 names of 100 characters in quotes, and commas
# The outputs that each option changes; others refuse it, as they would not heed it.
HEEDED_BY: dict[str, tuple[Output, ...]] = {
    "only": ("overlay", "cutout", "geojson", "coco"),
    "embed": ("json",),
    "min_area": ("overlay", "cutout", "geojson", "coco", "json"),
}
RIGHT = {  # the values of each option
    "output": " or ".join((", ".join(get_args(Output)[:-1]), get_args(Output)[-1])),
    "crf": "true or false",
    "only": f"at most {MOST_OF_ONLY} characters",
    "embed": "true or false",
    "min_area": AREA,
}


def checked_area(value: float) -> float:
    """Return a least area if it is one, or raise ValueError, of which pydantic makes its own."""
    if not is_area(value):
        raise ValueError(AREA)
    return value


class SegmentQuery(BaseModel):
    """The options of a request, in its address or as fields of its form; others are refused."""

    model_config = ConfigDict(extra="forbid")

    output: Output | None = Field(None, description="The answer; without it, Accept decides.")
    crf: bool | None = Field(None, description="With or without the dense CRF.")
    only: str | None = Field(
        None,
        max_length=MOST_OF_ONLY,
        description="Classes to show, such as cat,dog; all by default.",
    )
    embed: bool = Field(
        False,
        description="With JSON: include the label PNG in base64, also without specks, and the "
        "photo as it was read, unless it is a JPEG.",
    )
    min_area: Annotated[float | None, AfterValidator(checked_area)] = Field(
        None,
        ge=0,
        description="Parts below this take the class around them in all outputs but labels: a "
        f"share of the photo below 1, or pixels; {MIN_AREA} by default.",
    )


def with_fields(query: SegmentQuery, fields: Iterable[tuple[str, str]]) -> SegmentQuery:
    """Return the options of a request: those of its address, and those of the fields of its form.

    Raises:
        Refusal: 422 if an option is unknown, has a wrong value, or is given twice.
    """
    given = [*query.model_dump(exclude_unset=True).items(), *fields]
    refuse_twice(name for name, _ in given)
    try:
        return SegmentQuery(**dict(given))
    except ValidationError as error:
        raise Refusal(422, in_one_line(error.errors())) from None


def refuse_twice(names: Iterable[str]) -> None:
    """Raise Refusal, 422, if an option is given twice, as only one would count."""
    for name, times in Counter(names).items():
        if times > 1:
            raise Refusal(
                422, f"{name[:80]}: given twice; give it once, as a field or in the address"
            )


def in_one_line(mistakes: Iterable[Mapping[str, Any]]) -> str:
    """Return what is wrong with the options of a request, from what pydantic found."""
    lines = []
    for each in mistakes:
        name, value = str(each["loc"][-1])[:80], str(each["input"])[:80]
        if name in RIGHT:
            lines.append(f"{name}={value}: give {RIGHT[name]}")
        else:
            lines.append(f"{name}: no such option; there are {', '.join(RIGHT)}")
    return "; ".join(lines)


def outputs_for(query: SegmentQuery, output: Output, classes: tuple[str, ...]) -> Outputs:
    """Return the options of an output as those of the files of ``deconvnet segment``.

    Raises:
        Refusal: 422 if a class is unknown, or an option is given that this output does not heed.
    """
    given = query.model_dump(exclude_defaults=True)
    for name, heeding in HEEDED_BY.items():
        if name in given and output not in heeding:
            raise Refusal(422, f"{name}: goes with output {', '.join(heeding)}")
    try:
        outputs = Outputs(
            overlay=output == "overlay",
            cutout=output == "cutout",
            polygons=output if output in POLYGONS else None,
            only=None if query.only is None else names_in(query.only),
            min_area=MIN_AREA if query.min_area is None else query.min_area,
        )
        outputs.check(classes)
    except UsageError as error:
        raise Refusal(422, str(error).removeprefix("--")) from None
    return outputs


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
    outputs: Outputs,
    photo: Image.Image,
    result: Segmentation,
    classes: tuple[str, ...],
    *,
    embed: bool,
    notes: Sequence[str],
) -> tuple[bytes, str]:
    """Return the body of an answer and its media type. Call it in a worker thread."""
    if output == "labels":
        return label_png(result.labels, classes), "image/png"
    seen = replace(result, labels=outputs.shown(result.labels))
    for suffix in outputs.suffixes:
        found = result.probabilities() if outputs.needs_probabilities else None
        body = file_beside(suffix, photo, seen.labels, outputs, classes, probabilities=found)
        return body, "application/json" if outputs.polygons else "image/png"
    height, width = result.labels.shape
    values = {
        "size": {"width": width, "height": height},
        **summarise(seen, classes),
        "notes": list(notes),
    }
    if embed:
        pictures = {
            "labels_png": label_png(result.labels, classes),
            "shown_png": label_png(seen.labels, classes),
        }
        # Browsers show a JPEG as it is read here. Others they may not turn by EXIF data, or play,
        # or not show at all.
        if photo.format != "JPEG":
            pictures["photo_png"] = png_bytes(photo, photo=True, drawn=False)
        values |= {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    return json.dumps(values).encode(), "application/json"
