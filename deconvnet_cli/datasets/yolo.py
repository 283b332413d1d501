"""YOLO's segmentation texts: a file a photo, with a line of numbers for each polygon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from deconvnet_cli.data.classes import with_background
from deconvnet_cli.data.faults import first_names
from deconvnet_cli.data.label_png import made_kind, png_head
from deconvnet_cli.data.suffixes import ALL_SUFFIXES
from deconvnet_cli.data.voc_lists import grouped, note_twins
from deconvnet_cli.datasets.export import (
    Example,
    Export,
    class_notes,
    oriented_photo,
    photo_place,
    split_in,
    splits_below,
)
from deconvnet_cli.datasets.labelme import draw_shapes
from deconvnet_cli.datasets.pairs import by_name, files_below
from deconvnet_cli.errors import DatasetError, DependencyError, why
from deconvnet_cli.storage.files import read_whole
from deconvnet_cli.storage.lists import given_list, read_list

MAX_BYTES = 1 << 26  # of one file
YAML = (".yaml", ".yml")
NAMES = "classes.txt"  # as Label Studio calls it
TEXTS, PHOTOS = "labels", "images"  # folders beside each other; a text lies as its photo does
MARGIN = 0.01  # by which outlines may leave the photo, as a share of it: they are rounded
BOX = 5  # numbers in a line: the class, and the centre, width and height of a box
Polygon = tuple[int, list[float]]  # a class by its number, and x, y ... as shares of the photo


def open_yolo(source: Path, photos: Path | None, wanted: Sequence[str] | None) -> Export:
    """Open a folder with photos, texts, and ``data.yaml`` or ``classes.txt``, which has the names.

    A photo without a text shows background alone, as YOLO has it.

    Args:
        source: The folder, or the file in it that names the classes.
        photos: The folder of the photos; by default they are looked for in ``source``.
        wanted: The classes, in the order of their labels; None takes those of the file.

    Raises:
        DatasetError: A file cannot be read or is not of YOLO's form, or a text has no photo.
        DependencyError: PyYAML is not installed.
    """
    folder = source if source.is_dir() else source.parent
    names_file = names_file_of(source)
    known = read_names(names_file)
    classes = with_background(list(wanted or known.values()), str(source))
    root = photos or folder
    files = files_below(root, ALL_SUFFIXES)
    files = [path for path in files if not made_kind(png_head(path))]  # by this tool, beside texts
    groups = grouped(files, lambda path: _place(path, root))
    note_twins(groups.values())
    shown = {place: paths[0] for place, paths in groups.items()}
    texts = {_place(path, folder): path for path in files_below(folder, (".txt",))}
    texts.pop(_place(names_file, folder), None)
    others = [path for place, path in texts.items() if place not in shown]
    for path in others:
        if TEXTS in path.relative_to(folder).parts:
            raise DatasetError(
                f"{path}: {root} has no photo called {path.stem}; give the folder of the photos "
                "with --photos DIR, or remove the text"
            )
    if not texts:
        raise DatasetError(
            f"{names_file}: no texts are in its folder or below; move it to the folder that has "
            f"{PHOTOS} and {TEXTS}"
        )
    if len(others) == len(texts):
        raise DatasetError(f"{source}: no text there has a photo in {root}; give --photos DIR")
    polygons: dict[PurePath, list[Polygon]] = {}
    faults: dict[PurePath, DatasetError] = {}  # each is told when its photo's turn comes
    for place in shown.keys() & texts.keys():
        try:
            polygons[place] = _polygons(texts[place], known)
        except DatasetError as error:
            faults[place] = error
    if faults and not any(polygons.values()):
        raise faults[min(faults)]
    places = by_name(list(shown), lambda place: place, root, lambda place: shown[place])

    def read(name: str) -> Example:
        place = places[name]
        if place in faults:
            raise faults[place]
        path = shown[place]
        photo, content = oriented_photo(path, None, str(path))
        width, height = photo.size
        shapes = [
            {
                "label": known[number],
                "points": [(x * width, y * height) for x, y in zip(at[::2], at[1::2], strict=True)],
            }
            for number, at in polygons.get(place, ())
        ]
        mask, objects = draw_shapes(shapes, classes, photo.size, str(texts.get(place, path)))
        return Example(photo, content, mask, objects)

    found = {known[number] for outlines in polygons.values() for number, _ in outlines}
    splits, notes = splits_below(root, {name: shown[place] for name, place in places.items()})
    if not splits:
        listed = {name: path for path in others for name in _listed(path, places)}
        lists = {name: listed.get(name, Path()) for name in places}
        splits, notes = splits_below(root, lists, lambda _, path: split_in(path.stem))
        used = set(listed.values())
        others = [path for path in others if path not in used]
    notes = (*class_notes(found, classes, known.values()), *notes)
    if others:
        notes += (f"no photo is called so: {first_names([path.name for path in others])}",)
    return Export("YOLO's texts", classes, tuple(places), read, splits, notes)


def names_file_of(source: Path) -> Path:
    """Return the file of a folder that names YOLO's classes, or the file itself.

    Raises:
        DatasetError: The folder has none, or several.
    """
    if source.is_file():
        return source
    files = [path for path in source.iterdir() if path.suffix.lower() in YAML]
    if not files and (source / NAMES).is_file():
        return source / NAMES
    if len(files) != 1:
        raise DatasetError(
            f"{source}: has {len(files)} YAML files; name the one with YOLO's classes, or write it "
            "(names: [cat, dog])"
        )
    return files[0]


def read_names(path: Path) -> dict[int, str]:
    """Return the names of YOLO's classes, which begin with 0 and have no background.

    They are those in a YAML file, or the lines of a text.

    Raises:
        DatasetError: The YAML file cannot be read, or has no names.
        DependencyError: PyYAML is not installed.
        UsageError: The text cannot be read.
    """
    if path.suffix.lower() not in YAML:
        return {number: line.strip() for number, line in enumerate(given_list(path))}
    try:
        import yaml
    except ImportError as error:
        raise DependencyError("YOLO's data.yaml needs PyYAML: pip install pyyaml") from error
    try:
        # This loader makes text of all values: a class may be called "no" or 007.
        content = yaml.load(read_whole(path, MAX_BYTES), yaml.BaseLoader)
        names: Any = content["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        found = {int(number): name for number, name in pairs}
        if isinstance(names, str) or not all(isinstance(name, str) for name in found.values()):
            raise ValueError("a name is no text")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path}: has no list of names, as YOLO's data.yaml has (names: [cat, dog])"
        ) from error
    return {number: name.strip() for number, name in found.items()}


def _place(path: Path, root: Path) -> PurePath:
    """Return where a photo or its text lies below the root, without ``images`` and ``labels``."""
    return _bare(path.relative_to(root).with_suffix(""))


def _bare(place: PurePath) -> PurePath:
    """Return a place without the folders ``images`` and ``labels``."""
    folders = (part for part in place.parts[:-1] if part not in (TEXTS, PHOTOS))
    return PurePath(*folders, place.name)


def _listed(path: Path, places: Mapping[str, PurePath]) -> list[str]:
    """Return the names of photos in the list of a split, such as ``train.txt``: a path a line.

    A path may begin above the export or inside it, so the common end of both decides.
    """
    if not split_in(path.stem):
        return []
    try:
        lines = read_list(path)
    except (OSError, UnicodeDecodeError):
        return []  # a text about something else, which is named as such
    alike: dict[str, list[str]] = {}
    for name, place in places.items():
        alike.setdefault(place.name, []).append(name)
    found = []
    for line in lines:
        place = _bare(photo_place(line))
        for name in alike.get(place.name, ()):
            shared = min(len(place.parts), len(places[name].parts))
            if place.parts[-shared:] == places[name].parts[-shared:]:
                found.append(name)
    return found


def _polygons(path: Path, known: Mapping[int, str]) -> list[Polygon]:
    """Return the polygons in a text.

    Raises:
        DatasetError: The text cannot be read, or a line is no polygon of a class that is known.
    """
    found = []
    try:
        lines = read_whole(path, MAX_BYTES).decode("utf-8-sig").splitlines()
        for number, line in enumerate(lines, 1):
            values = [float(word) for word in line.split()]
            if len(values) == BOX:
                raise DatasetError(
                    f"{path}: line {number} is a box, which has no outline; export segmentation, "
                    "not detection"
                )
            if not values:
                continue
            if len(values) < 7 or len(values) % 2 == 0:
                raise ValueError(f"line {number} has {len(values)} numbers, which is no polygon")
            if values[0] not in known:
                raise ValueError(f"line {number} has class {values[0]:g}, which has no name")
            if not all(-MARGIN <= value <= 1 + MARGIN for value in values[1:]):
                raise ValueError(f"line {number} has points outside the photo, 0 to 1")
            found.append((int(values[0]), values[1:]))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({why(error)})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not a text of YOLO's ({error}); export it again") from error
    return found
