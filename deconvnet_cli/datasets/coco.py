"""COCO JSON: polygons and run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from deconvnet_cli.data.classes import listed, with_background
from deconvnet_cli.datasets.coco_masks import Labelled, draw, is_crowd, masks_of_pycocotools
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


@dataclass(frozen=True, eq=False)
class _Image:
    """An image of a file, and its annotations, each with the name of its class."""

    path: Path
    name: str
    size: tuple[int, int]
    annotations: list[tuple[str, Mapping[str, Any]]]


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
    images: list[_Image] = []
    categories: dict[str, None] = {}  # the names of all files, in order
    for path, content in contents.items():
        found, names = _images(path, content)
        images += found
        categories.update(dict.fromkeys(names[number] for number in sorted(names)))
        used = {int(item["category_id"]) for image in found for _, item in image.annotations}
        if used and wanted is None:  # refuses two numbers of one name
            with_background([names[number] for number in sorted(used)], str(path))
    annotated = {name for image in images for name, _ in image.annotations}
    taken = [name for name in categories if name in annotated]
    classes = with_background(wanted if wanted is not None else taken, str(source))

    def place(image: _Image) -> PurePath:
        around = Path() if image.path == source else image.path.parent.relative_to(source)
        return around / photo_place(image.name)

    def words(image: _Image) -> str:
        return image.name + (f" of {image.path.relative_to(source)}" if len(contents) > 1 else "")

    def labelled(image: _Image) -> list[Labelled]:
        return [
            (classes.index(name) if name in classes else 0, item)
            for name, item in image.annotations
        ]

    named = by_name(images, place, source, words)
    folders = {path: _photo_folders(path, photos) for path in contents}
    owners: dict[Path, str] = {}

    def read(name: str) -> Example:
        image = named[name]
        file = find_photo(folders[image.path], image.name, image.path, owners)
        photo, content = oriented_photo(file, image.size, str(file))
        mask, objects = draw(labelled(image), image.size, f"{image.path}, {name}")
        return Example(photo, content, mask, objects)

    splits, split_notes = splits_below(
        source, {name: image.path for name, image in named.items()}, split_of_file
    )
    annotations = [labelled(image) for image in images]
    notes = [
        *class_notes(taken, classes, categories),
        *_without_mask(annotations, source),
        *_crowds([item for items in annotations for label, item in items if label]),
        *split_notes,
    ]
    empty = [name for name in categories if name not in annotated]
    if empty and wanted is None:
        notes.append(
            f"left out, as they have no annotation (--classes keeps them): {listed(empty)}"
        )
    return Export("COCO JSON", classes, tuple(sorted(named)), read, splits, tuple(notes))


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


def _images(path: Path, content: Any) -> tuple[list[_Image], dict[int, str]]:
    """Return the images of a file, and the names of its classes by their numbers."""
    if isinstance(content, dict) and "shapes" in content:
        raise DatasetError(f"{path}: a LabelMe file; give the folder of these files")
    try:
        images: dict[int, _Image] = {}
        for item in content["images"]:
            size = whole_number(item, "width"), whole_number(item, "height")
            photo_place(item["file_name"])
            images[int(item["id"])] = _Image(path, item["file_name"], size, [])
        if len(images) < len(content["images"]):
            raise ValueError("two images have one id")
        names = {int(item["id"]): str(item["name"]).strip() for item in content["categories"]}
        for item in content["annotations"]:
            if int(item["image_id"]) not in images:
                raise ValueError(f"no image has the id {item['image_id']}")
            if int(item["category_id"]) not in names:
                raise ValueError(f"no category has the id {item['category_id']}")
            annotation = names[int(item["category_id"])], item
            images[int(item["image_id"])].annotations.append(annotation)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DatasetError(
            f"{path}: not COCO's instances ({form_fault(error)}); export it as COCO JSON, with "
            "segmentations"
        ) from error
    return list(images.values()), names


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


def _crowds(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what people should know of the crowds among the annotations that are taken."""
    crowds = [item for item in items if item.get("iscrowd") and item.get("segmentation")]
    ignored = sum(map(is_crowd, crowds))
    notes = {
        "ignored": ignored,
        "with attributes taken as objects, as CVAT exports masks so": len(crowds) - ignored,
    }
    return [f"{counted(count, 'crowd')} {what}" for what, count in notes.items() if count]
