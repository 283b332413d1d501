"""A VOC tree written from an export: photos, label PNGs, numbered objects, lists, classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from deconvnet_cli.data.classes import FILE
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import IGNORE, LISTS
from deconvnet_cli.data.voc_lists import INSTANCES, MASKS, PHOTOS
from deconvnet_cli.datasets.export import Export, absent_notes, jpeg_bytes
from deconvnet_cli.errors import DatasetError, DeconvnetError, UsageError
from deconvnet_cli.storage.files import make_folder, write_whole


def write_tree(
    export: Export,
    root: Path,
    val_share: float,
    seed: int,
    on_photo: Callable[[], None] = lambda: None,
    on_failure: Callable[[DeconvnetError], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Write an export as a VOC tree; the lists come last, so that half a tree is none.

    Args:
        root: A folder that is not there yet, or has no file.
        val_share: The share of the photos that ``val.txt`` gets, 0 to 1, where the export has no
            splits of its own.
        seed: Of the split: the same seed, names and masks give the same lists.
        on_failure: Is told of a photo that cannot be used, which is left out; None raises.
        say: Is told which classes a list lacks.

    Returns:
        The names that were written.

    Raises:
        UsageError: The folder has files.
        DatasetError, ImageError: A photo cannot be used and ``on_failure`` is None; or none can.
        OutputError: Something cannot be written.
    """
    _require_new(root)
    labels: dict[str, frozenset[int]] = {}  # of each photo that was written
    for name in export.names:
        try:
            example = export.read(name)
        except DeconvnetError as error:
            if on_failure is None:
                raise
            on_failure(error)
            on_photo()
            continue
        content = example.content or jpeg_bytes(example.photo)
        _write(root / PHOTOS / f"{name}.jpg", content)
        _write(root / MASKS / f"{name}.png", label_png(example.mask, export.classes))
        if example.objects is not None:
            objects = np.where(example.mask == IGNORE, IGNORE, example.objects).astype(np.uint8)
            _write(root / INSTANCES / f"{name}.png", label_png(objects))
        labels[name] = frozenset(np.unique(example.mask).tolist()) - {0, IGNORE}
        on_photo()
    if not labels:
        raise DatasetError(f"{export.kind}: not one photo of {len(export.names)} can be used")
    _write(root / FILE, "".join(f"{name}\n" for name in export.classes).encode())
    lists = split_names(export, labels, val_share, seed)
    for note in absent_notes(lists, labels, export.classes):
        say(note)
    for split, names in lists.items():
        text = "".join(f"{name}\n" for name in names)
        _write(root / LISTS / f"{split}.txt", text.encode())
    return list(labels)


def _require_new(root: Path) -> None:
    """Raise UsageError unless a tree can be written there: no file may be in the folder."""
    if not root.exists() or (root.is_dir() and all(path.is_dir() for path in root.rglob("*"))):
        return
    why = "is there already"
    if (root / PHOTOS).is_dir() and not any((root / LISTS).glob("*.txt")):
        why += ", without lists, as an import leaves it that was stopped; remove it if it is that"
        raise UsageError(f"{root}: {why}, or give a new folder with -o")
    raise UsageError(f"{root}: {why}; give a new folder with -o")


def _write(path: Path, content: bytes) -> None:
    """Write a file, whose folder is made with the first of it."""
    make_folder(path.parent)
    write_whole(path, content)


def split_names(
    export: Export, labels: Mapping[str, Collection[int]], val_share: float, seed: int
) -> dict[str, list[str]]:
    """Return the names of each list: the export's own splits, or a seeded ``train`` and ``val``.

    Both have at least one photo if there are two, and as far as the share allows one of each class,
    rare classes first.

    Args:
        labels: The labels in the mask of each photo.
    """
    if export.splits:
        own = {
            split: [name for name in names if name in labels]
            for split, names in export.splits.items()
        }
        return {split: names for split, names in own.items() if names}
    shuffled = sorted(labels)
    Random(seed).shuffle(shuffled)
    count = round(val_share * len(shuffled))
    if val_share > 0:
        count = min(max(1, count), len(shuffled) - 1)
    kept = Counter(label for found in labels.values() for label in found)  # photos left in train
    val: dict[str, None] = {}

    def take(names: Sequence[str], most: int) -> None:
        for name in names:
            if len(val) < most and name not in val and all(kept[each] > 1 for each in labels[name]):
                val[name] = None
                kept.subtract(labels[name])

    for label in sorted(kept, key=lambda label: (kept[label], label)):
        names = [name for name in shuffled if label in labels[name]]
        if val.keys().isdisjoint(names):
            take(names, min(count, len(val) + 1))
    take(shuffled, count)
    val |= dict.fromkeys([name for name in shuffled if name not in val][: count - len(val)])
    lists = {"train": sorted(labels.keys() - val), "val": sorted(val)}
    return {split: names for split, names in lists.items() if names}
