"""Forms of other tools that are not read, and what to export instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

LABEL_STUDIO = 'export it as "COCO", or brush strokes as "Brush labels to COCO"'
VIA = "VIA's JSON; export it in COCO format (menu Annotation)"
SUPERVISELY = (
    "Supervisely's JSON; export COCO JSON or masks with one of its apps (give the folder "
    "masks_machine, with --photos DIR and --classes FILE)"
)
# One PNG for each stroke or class, whose name has the number of its task and not its photo.
LABEL_STUDIO_PNG = re.compile(r"task-\d+-annotation-\d+-by-")
MASKS_BESIDE = "if there are masks too, give their folder, and --photos DIR"
BY_SUFFIX = {
    ".xml": (
        'XML; export CVAT\'s as "COCO 1.0" or "Segmentation mask 1.1"; VOC\'s has boxes alone; '
        + MASKS_BESIDE
    ),
    ".csv": f"a CSV table; export COCO JSON; {MASKS_BESIDE}",
    ".npy": f"NumPy arrays; save them as PNGs; Label Studio's: {LABEL_STUDIO}",
    ".ndjson": "an NDJSON, as Labelbox writes it; make COCO JSON of it",
    ".geojson": "GeoJSON; export label images (grey masks), which --classes FILE names",
    ".parquet": "a Parquet table; save its photos and masks as files in two folders",
    **dict.fromkeys((".zip", ".tar", ".gz"), "an archive; unpack it, and give its folder"),
}
BY_KEYS = (
    ({"data", "annotations"}, f"Label Studio's JSON; {LABEL_STUDIO}"),
    ({"annotator", "annotation_id"}, f"Label Studio's JSON; {LABEL_STUDIO}"),
    ({"objects", "size"}, SUPERVISELY),
    ({"classes", "projectType"}, SUPERVISELY),
    ({"filename", "regions"}, VIA),
    ({"_via_img_metadata"}, VIA),
    ({"project", "file", "metadata"}, "VIA 3's JSON; export it in COCO format"),
    ({"item", "annotations"}, "Darwin JSON of V7; export it as COCO"),
    ({"export_format_version", "label_classes"}, "Hasty's JSON; export it as COCO"),
    (
        {"imgHeight", "objects"},
        "Cityscapes' polygons; copy the labelIds PNGs to a folder of their own, each named as its "
        "photo, and give --photos DIR and --colours FILE (lines: car 26 26 26)",
    ),
    ({"type", "features"}, BY_SUFFIX[".geojson"]),
)


def keys_of(content: Any) -> set[str]:
    """Return the names at the top of a JSON file: of its object, or of the first of its list."""
    if isinstance(content, list):
        content = content[0] if content else None
    return set(content) if isinstance(content, dict) else set()


def advice_on_json(content: Any) -> str | None:
    """Return what a JSON file is and what to do, if it is of a form that is known and not read."""
    keys = keys_of(content)
    if isinstance(content, dict) and content:
        keys |= keys_of(next(iter(content.values())))
    return next((advice for known, advice in BY_KEYS if known <= keys), None)


def advice_on_files(paths: Sequence[Path]) -> str | None:
    """Return what one of the files is and what to do, if its form is known and not read."""
    found: Collection[str] = {path.suffix.lower() for path in paths}
    return next((advice for suffix, advice in BY_SUFFIX.items() if suffix in found), None)
