"""COCO JSON: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deconvnet_cli.data.classes import listed, with_background
from deconvnet_cli.datasets.coco_masks import Labelled, draw, masks_of_pycocotools
from deconvnet_cli.datasets.export import (
    Example,
    Export,
    class_notes,
    find_photo,
    form_fault,
    oriented_photo,
    photo_place,
    split_by_folder,
    split_in,
    splits_below,
    whole_number,
)
from deconvnet_cli.datasets.pairs import by_name
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.reporting.numerals import counted


@dataclass(frozen=True)
class _File:
    """The content of one file.

    Attributes:
        images: The images by their ids.
        annotations: The annotations of each image, by its id.
        categories: The names of the classes by their ids.
    """

    path: Path
    images: dict[int, dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]
    categories: dict[int, str]

    def found(self) -> list[str]:
        """Return the classes that have annotations, by their ids."""
        used = {int(item["category_id"]) for items in self.annotations.values() for item in items}
        return [self.categories[number] for number in sorted(used)]


def open_coco(
    source: Path, contents: Mapping[Path, Any], photos: Path | None, wanted: Sequence[str] | None
) -> Export:
    """Open files of COCO's instances, whose classes go by their names.

    Args:
        source: The file, or the folder of the files, in which they may lie in folders of splits.
        photos: The folder of the photos; by default they are looked for beside the files.
        wanted: The classes, in the order of their labels; None takes those that have annotations,
            by their numbers.

    Raises:
        DatasetError: A file is not of COCO's form, or photos have one name.
        DependencyError: pycocotools is not installed.
    """
    masks_of_pycocotools()
    files = [_file(path, content) for path, content in contents.items()]
    ends = {
        file.path: f" of {file.path.relative_to(source)}" if len(files) > 1 else ""
        for file in files
    }

    def around(file: _File) -> Path:
        return Path() if file.path == source else file.path.parent.relative_to(source)

    names = by_name(
        [(file, image) for file in files for image in file.images.values()],
        lambda item: around(item[0]) / photo_place(item[1]["file_name"]),
        source,
        lambda item: item[1]["file_name"] + ends[item[0].path],
    )
    folders = {file.path: _photo_folders(file.path, photos) for file in files}
    known = [file.categories[number] for file in files for number in sorted(file.categories)]
    used = set()
    for file in files:
        if (names_used := file.found()) and wanted is None:
            with_background(names_used, str(file.path))  # refuses two numbers of one name
        used.update(names_used)
    found = [name for name in dict.fromkeys(known) if name in used]
    classes = with_background(wanted if wanted is not None else found, str(source))

    def label(file: _File, item: Mapping[str, Any]) -> int:
        name = file.categories[int(item["category_id"])]
        return classes.index(name) if name in classes else 0

    owners: dict[Path, str] = {}

    def read(name: str) -> Example:
        file, image = names[name]
        path = file.path
        photo_file = find_photo(folders[path], str(image["file_name"]), path, owners)
        size = int(image["width"]), int(image["height"])
        photo, content = oriented_photo(photo_file, size, str(photo_file))
        annotations = [(label(file, item), item) for item in file.annotations[int(image["id"])]]
        mask, objects = draw(annotations, size, f"{path}, {name}")
        return Example(photo, content, mask, objects)

    splits, split_notes = splits_below(
        source, {name: names[name][0].path for name in names}, split_of_file
    )
    labelled = [
        [(label(file, item), item) for item in items]
        for file in files
        for items in file.annotations.values()
    ]
    notes = [*class_notes(found, classes, known), *_without_mask(labelled, source), *split_notes]
    empty = [name for name in dict.fromkeys(known) if name not in used]
    if empty and wanted is None:
        notes.append(
            f"left out, as they have no annotation (--classes keeps them): {listed(empty)}"
        )
    return Export("COCO JSON", classes, tuple(sorted(names)), read, splits, tuple(notes))


def split_of_file(root: Path, path: Path) -> str | None:
    """Return the split that a folder of a file below the root or its own name tells, if any."""
    return split_by_folder(root, path) or split_in(path.stem)


def _photo_folders(path: Path, photos: Path | None) -> list[Path]:
    """Return the folders in which the photos of a file are looked for, in this order.

    Those of the file's split or subset come first: others may have photos of the same names.
    """
    above = path.parent.parent
    near = [photos] if photos else [path.parent, path.parent / "images", above, above / "images"]
    split, subset = split_in(path.stem), path.stem.partition("_")[2]
    own = [
        folder
        for around in near
        if around.is_dir()
        for folder in sorted(around.iterdir())
        if folder.is_dir() and (folder.name == subset or (split and split_in(folder.name) == split))
    ]
    return own + near


def _file(path: Path, content: Any) -> _File:
    if isinstance(content, dict) and "shapes" in content:
        raise DatasetError(f"{path}: a LabelMe file; give the folder of these files")
    try:
        images = {int(image["id"]): image for image in content["images"]}
        if len(images) < len(content["images"]):
            raise ValueError("two images have one id")
        for image in images.values():
            (
                whole_number(image, "width"),
                whole_number(image, "height"),
                photo_place(image["file_name"]),
            )
        categories = {int(item["id"]): str(item["name"]).strip() for item in content["categories"]}
        annotations: dict[int, list[dict[str, Any]]] = {number: [] for number in images}
        for item in content["annotations"]:
            if int(item["image_id"]) not in annotations:
                raise ValueError(f"no image has the id {item['image_id']}")
            annotations[int(item["image_id"])].append(item)
            if int(item["category_id"]) not in categories:
                raise ValueError(f"no category has the id {item['category_id']}")
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        why = form_fault(error)
        raise DatasetError(
            f"{path}: not COCO's instances ({why}); export it as COCO JSON, with segmentations"
        ) from error
    return _File(path, images, annotations, categories)


def _without_mask(photos: Sequence[Sequence[Labelled]], source: Path) -> list[str]:
    """Return a line about the annotations that are boxes alone, if there are any.

    Raises:
        DatasetError: All of them are.
    """
    photos = [items for items in photos if items]
    if photos and not any(item.get("segmentation") for items in photos for _, item in items):
        raise DatasetError(f"{source}: has boxes but no masks; export segmentations")
    bare = [
        sum(label > 0 and not item.get("segmentation") for label, item in items) for items in photos
    ]
    if not sum(bare):
        return []
    where = counted(sum(count > 0 for count in bare), "photo")
    return [f"{counted(sum(bare), 'annotation')} without a mask in {where}: left as background"]
