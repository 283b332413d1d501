"""Which kind of export a path is, and its reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from deconvnet_cli.choices import EXPORT_KINDS
from deconvnet_cli.data.voc_lists import MASKS, PHOTOS
from deconvnet_cli.datasets.coco import open_coco, split_of_file
from deconvnet_cli.datasets.cvat import open_cvat
from deconvnet_cli.datasets.export import SPLITS, Export, splits_below
from deconvnet_cli.datasets.labelme import open_labelme
from deconvnet_cli.datasets.masks import (
    MASK_SUFFIXES,
    open_coloured,
    open_grey,
    open_objects,
    open_roboflow,
)
from deconvnet_cli.datasets.pairs import files_below
from deconvnet_cli.datasets.unread_forms import (
    BY_SUFFIX,
    LABEL_STUDIO,
    LABEL_STUDIO_PNG,
    advice_on_files,
    advice_on_json,
    keys_of,
)
from deconvnet_cli.datasets.yolo import NAMES, TEXTS, YAML, open_yolo
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.storage.files import read_json

Reader = Callable[[Path], Any]  # returns the content of a JSON file, or raises DatasetError

MAX_BYTES = 2_000_000_000  # of a JSON file
COCO = {"annotations", "images"}  # at the top of its files
# How COCO calls its files of other tasks, which lie beside those of the instances.
OTHER_TASKS = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")


def open_export(
    source: Path,
    kind: str = "auto",
    photos: Path | None = None,
    colours: Path | None = None,
    classes: Sequence[str] | None = None,
) -> Export:
    """Open an export of another tool.

    Args:
        source: A COCO file, or a folder.
        kind: One of ``choices.EXPORT_KINDS``; "auto" looks at what is there.
        photos: The folder of the photos, where they are not beside the annotations.
        colours: The colour table of RGB masks.
        classes: The classes, in the order of their labels; None takes those of the export.

    Raises:
        UsageError: The kind cannot be told, or an option does not fit it.
        DatasetError: The export cannot be read.
    """
    if not source.exists():
        raise DatasetError(f"{source}: no such file or folder; check the path")
    if photos is not None and not photos.is_dir():
        raise DatasetError(f"{photos}: no such folder of photos; check --photos")
    read = cache(partial(read_json, most=MAX_BYTES))
    chosen = kind_of(source, photos, colours, read) if kind == "auto" else kind
    if colours is not None and chosen != "rgb":
        raise UsageError("--colours goes with RGB masks: --kind rgb")
    if chosen == "coco":
        paths = _coco_files(source, read)
        return open_coco(source, {path: read(path) for path in paths}, photos, classes)
    if chosen == "labelme":
        return open_labelme(source, photos, classes)
    if chosen == "cvat":
        return open_cvat(source, photos, classes)
    if chosen == "yolo":
        return open_yolo(source, photos, classes)
    if chosen == "roboflow":
        if photos is not None:
            raise UsageError("Roboflow's photos lie beside their masks; leave out --photos")
        return open_roboflow(source, classes)
    if photos is None:
        raise UsageError(f"{source}: say where the photos of these masks are: --photos DIR")
    if chosen == "rgb":
        if colours is None:
            raise UsageError("RGB masks need their colours: --colours FILE (lines: cat 64 0 0)")
        return open_coloured(source, photos, colours, classes)
    return (open_objects if chosen == "objects" else open_grey)(source, photos, classes)


def kind_of(source: Path, photos: Path | None, colours: Path | None, read: Reader) -> str:
    """Return the kind of an export, by what is there and which options are given.

    Raises:
        UsageError: It cannot be told, or is of a form that is not read.
        DatasetError: The source is a JSON file that cannot be read.
    """
    if source.is_file() and source.suffix.lower() == ".json":
        content = read(source)
        if not keys_of(content) >= COCO and (advice := advice_on_json(content)):
            raise UsageError(f"{source}: {advice}")
        return "coco"
    if source.is_file() and (source.suffix.lower() in YAML or source.name == NAMES):
        return "yolo"
    if source.is_file():
        advice = advice_on_files([source]) or "export it as COCO JSON"
        raise UsageError(f"{source}: is no folder and no COCO file (.json): {advice}")
    if colours is not None:
        return "rgb"
    if (source / "labelmap.txt").is_file():
        return "cvat"
    if any(source.rglob("_classes.csv")):
        return "roboflow"
    advice = None
    for path in files_below(source, (".json",)):
        content = _readable(path, read)
        if "shapes" in keys_of(content):
            return "labelme"
        if keys_of(content) >= COCO:
            return "coco"
        advice = advice or advice_on_json(content)
    has_texts = (source / NAMES).is_file() and (source / TEXTS).is_dir()
    if has_texts or any(path.suffix.lower() in YAML for path in source.iterdir()):
        return "yolo"
    masks = {suffix for suffixes in MASK_SUFFIXES for suffix in suffixes}
    found = files_below(source, masks, () if photos is None else (photos,))
    if any(LABEL_STUDIO_PNG.match(path.name) for path in found):
        words = "has Label Studio's PNGs, whose names do not tell their photos"
        raise UsageError(f"{source}: {words}; {LABEL_STUDIO}")
    if found and (photos is not None or any(path.parent == source for path in found)):
        return "grey"
    if (source / PHOTOS).is_dir() and (source / MASKS).is_dir():
        raise UsageError(
            f"{source}: is a VOC tree already, which needs no import; `deconvnet dataset check` "
            "says whether it can be trained on"
        )
    if advice := advice or advice_on_files(files_below(source, BY_SUFFIX)):
        raise UsageError(f"{source}: has {advice}")
    if photos is not None:
        return "grey"
    raise UsageError(
        f"{source}: not clear what this is; give the folder of masks itself, with --photos DIR, "
        f"or say --kind {'|'.join(EXPORT_KINDS[1:])}, or export it as COCO JSON"
    )


def _readable(path: Path, read: Reader) -> Any:
    """Return the content of a JSON file; None if it cannot be read."""
    try:
        return read(path)
    except DatasetError:
        return None


def _coco_files(source: Path, read: Reader) -> list[Path]:
    """Return the file of COCO's annotations, the one in a folder, or that of each split in it.

    Raises:
        UsageError: There is none, or which are meant is not clear.
    """
    if source.is_file():
        return [source]
    files = files_below(source, (".json",))
    files = [path for path in files if not path.stem.startswith(OTHER_TASKS)] or files
    contents = {path: _readable(path, read) for path in files}
    files = [
        path for path, found in contents.items() if found is None or "images" in keys_of(found)
    ]
    if not files:
        raise UsageError(f"{source}: has no COCO file (.json); check the path")
    splits, unlisted = splits_below(source, {str(path): path for path in files}, split_of_file)
    apart = len({(path.parent, split_of_file(source, path)) for path in files}) == len(files)
    if splits and apart and not unlisted:
        return [Path(path) for split in SPLITS for path in splits.get(split, ())]
    if len(files) == 1:
        return files
    raise UsageError(
        f"{source}: {len(files)} COCO files in it, not one for each of train, val and test, as "
        "their names or folders tell; name one"
    )
