"""Files that the photos of one folder share: names and colours of classes, and lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from deconvnet_cli.errors import OutputError
from deconvnet_cli.outputs.files import CVAT, MASKS, Outputs
from deconvnet_cli.storage.files import make_folder, write_whole
from deconvnet_cli.storage.hashing import bytes_sha256, file_sha256_or_none
from deconvnet_cli.storage.remote import RemotePath

YOLO_CLASSES, CVAT_CLASSES = "data.yaml", "labelmap.txt"
CVAT_LIST = "ImageSets/Segmentation/default.txt"  # CVAT finds the masks by it
COCO_OF_ALL = "coco.json"  # the annotations of a whole batch


def write_class_files(folder: Path, outputs: Outputs, classes: Sequence[str]) -> list[Path]:
    """Write YOLO's ``data.yaml`` or CVAT's ``labelmap.txt`` if needed, and return these files.

    Raises:
        OutputError: A file cannot be written, or there is one with other content.
    """
    from deconvnet_cli.outputs.interchange import labelmap, yolo_yaml

    wanted = {}
    if outputs.polygons == "yolo":
        wanted[folder / YOLO_CLASSES] = yolo_yaml(classes, outputs.only)
    if outputs.format == CVAT:
        wanted[folder / CVAT_CLASSES] = labelmap(classes)
    for path, text in wanted.items():
        there = not isinstance(path, RemotePath) and path.exists()
        if there and file_sha256_or_none(path) != bytes_sha256(text.encode()):
            raise OutputError(f"{path}: is there with other content; give another folder with -o")
        make_folder(path.parent)
        write_whole(path, text.encode())
    return list(wanted)


def write_list_of_masks(folder: Path) -> Path:
    """Write the names of all masks that are in a folder for CVAT, those of earlier calls too.

    Raises:
        OutputError: The file cannot be written.
    """
    return write_cvat_list(folder, sorted(path.stem for path in (folder / MASKS).glob("*.png")))


def write_cvat_list(folder: Path, names: Iterable[str]) -> Path:
    """Write the names of all masks, paths without suffix, for CVAT.

    Raises:
        OutputError: The file cannot be written.
    """
    path = folder / CVAT_LIST
    make_folder(path.parent)
    write_whole(path, "".join(f"{name}\n" for name in names).encode())
    return path
