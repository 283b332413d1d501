"""Files about all photos of a batch: COCO's annotations in one file, and CVAT's list of masks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from deconvnet_cli.batch.manifest import DONE, Entry
from deconvnet_cli.data.notes import note
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.outputs.coco import merged
from deconvnet_cli.outputs.files import MASKS, POLYGON_SUFFIXES
from deconvnet_cli.outputs.shared_files import (
    COCO_OF_ALL,
    CVAT_CLASSES,
    YOLO_CLASSES,
    write_cvat_list,
)
from deconvnet_cli.storage import remote
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.remote import RemotePath


def write_collection(folder: Path, entries: Iterable[Entry]) -> list[Path]:
    """Write what holds all photos that are done to the output folder, and return these files.

    Raises:
        DatasetError: The annotations of a photo are missing or damaged.
        OutputError: A file cannot be written.
    """
    done = sorted((entry for entry in entries if entry.status == DONE), key=lambda e: e.output)
    written = []
    parts = []
    gone = []
    for entry in done:
        for extra in entry.extras:
            if not extra.endswith(POLYGON_SUFFIXES["coco"]):
                continue
            if files_removed(folder, entry):
                gone.append(entry.output)
            else:
                parts.append((photo_name(entry), read_part(folder / extra)))
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        note(f"{folder / COCO_OF_ALL}: without {gone[0]}{more}, as it was removed")
    if parts:
        written.append(folder / COCO_OF_ALL)
        write_whole(written[-1], json.dumps(merged(parts), separators=(",", ":")).encode() + b"\n")
    masks = [PurePosixPath(entry.output) for entry in done]
    masks = [path.relative_to(MASKS).with_suffix("") for path in masks if path.parts[0] == MASKS]
    if masks and remote.found(folder / CVAT_CLASSES):
        written.append(write_cvat_list(folder, map(str, masks)))
    return written


def files_removed(folder: Path, entry: Entry) -> bool:
    """Return whether somebody removed all files of a photo; not looked for in remote folders."""
    files = [folder / name for name in entry.files()]
    return not isinstance(folder, RemotePath) and not any(path.exists() for path in files)


def copy_class_files(folders: Iterable[Path], output: Path) -> list[Path]:
    """Copy the names of classes that shards wrote in other folders; return the copies.

    Raises:
        OutputError: A file cannot be written.
    """
    wanted = [folder / name for folder in folders for name in (YOLO_CLASSES, CVAT_CLASSES)]
    found = {path.name: path for path in wanted if path.is_file()}
    for name, path in found.items():
        write_whole(output / name, path.read_bytes())
    return [output / name for name in found]


def photo_name(entry: Entry) -> str:
    """Return the name of a photo in a file of all: as its labels lie in the output folder."""
    return str(PurePosixPath(entry.output).with_name(PurePosixPath(entry.image).name))


def read_part(path: Path) -> dict[str, object]:
    """Return the COCO annotations of one photo.

    Raises:
        DatasetError: They are missing or damaged.
    """
    try:
        part = json.loads(remote.read(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); start the batch again") from error
    try:
        merged([("", part)])
    except (LookupError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not COCO's form; start the batch again") from error
    return dict(part)
