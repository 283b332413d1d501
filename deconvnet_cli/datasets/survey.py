"""What is in a VOC tree, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.classes import FILE, listed, twins
from deconvnet_cli.data.decoding import MAX_BYTES
from deconvnet_cli.data.faults import first_names
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_colours import BINARY
from deconvnet_cli.data.label_png import read_labels
from deconvnet_cli.data.mask_check import is_binary
from deconvnet_cli.data.voc import IGNORE, LISTS, VocTree
from deconvnet_cli.data.voc_lists import MASKS, PHOTOS, leads_out, listed_names, paired_names
from deconvnet_cli.datasets.export import absent_notes
from deconvnet_cli.errors import DatasetError, ImageError, why
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.runtime.opencv import cv2
from deconvnet_cli.storage.files import read_whole
from deconvnet_cli.storage.hashing import bytes_sha256

FEW = 5  # photos of a class, under which a net hardly learns it


@dataclass
class ClassCount:
    """How much there is of a class.

    Attributes:
        photos: Photos with a pixel of it.
        objects: Its connected components, all photos together.
        pixels: Its pixels.
    """

    photos: int = 0
    objects: int = 0
    pixels: int = 0


@dataclass
class Survey:
    """What is in a tree.

    Attributes:
        classes: The names of the labels, the background first.
        counts: By label.
        names: The names of all photos and masks.
        sizes: Width and height of each photo that could be read.
        labels: The labels in the mask of each name.
        lists: How many names each list has.
        problems: What is wrong and how to mend it, a line each.
        remarks: What a person should know but need not mend.
    """

    classes: tuple[str, ...]
    counts: list[ClassCount]
    names: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    labels: dict[str, list[int]] = field(default_factory=dict)
    lists: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def total_pixels(self) -> int:
        """Pixels of all masks that are not ignored."""
        return sum(count.pixels for count in self.counts)


def survey_tree(tree: VocTree, on_name: Callable[[], None] = lambda: None) -> Survey:
    """Look at every photo and mask of a tree."""
    survey = Survey(tree.classes, [ClassCount() for _ in tree.classes])
    lists = _read_lists(tree, survey)
    survey.names = _names(tree, [name for given in lists.values() for name in given])
    hashes: dict[str, str] = {}
    for name in survey.names:
        _survey_photo(tree, name, survey, hashes)
        on_name()
    _survey_lists(lists, set(survey.names), survey)
    _survey_classes(survey, tree.root)
    used = {split: names for split, names in lists.items() if split in ("train", "val")}
    survey.remarks += absent_notes(used, survey.labels, survey.classes)
    return survey


def _survey_classes(survey: Survey, root: Path) -> None:
    """Note the classes that are in no mask, or in few."""
    counts = dict(zip(survey.classes[1:], survey.counts[1:], strict=True))
    absent = [name for name, count in counts.items() if not count.photos]
    if (root / FILE).is_file():
        survey.problems += [
            f"{name}: in no mask; label it, or take it out of {FILE} if it is the last: the lines "
            "number the labels"
            for name in absent
        ]
    elif absent:
        survey.problems.append(
            f"{root}: has no {FILE}, so its classes are VOC's, and these are in no mask: "
            f"{listed(absent)}; if the labels are of your own classes, name them in {FILE}"
        )
    if survey.labels and not survey.counts[0].photos:
        survey.remarks.append(
            f"{survey.classes[0]}: in no mask; it is label 0, and a first class of 0 or a "
            "background of 1 gives all classes wrong names"
        )
    survey.remarks += [
        f"two classes by their case alone: {names}; if they are one, rename one and import again"
        for names in twins(counts)
    ]
    for name, count in counts.items():
        if 0 < count.photos < FEW:
            photos = counted(count.photos, "photo")
            survey.remarks.append(f"{name}: in {photos} only; a net needs more to learn it")


def _names(tree: VocTree, listed: Sequence[str]) -> list[str]:
    """Return the names of all photos and masks of a tree, sorted.

    Those in folders within its folders are found by the names that the lists give them.
    """
    pairs, alone = paired_names(tree.root)
    deeper = {
        name
        for name in listed
        if not leads_out(name) and (tree.image(name).is_file() or tree.mask(name).is_file())
    }
    return sorted({*pairs, *(path.stem for path in alone), *deeper})


def _survey_photo(tree: VocTree, name: str, survey: Survey, hashes: dict[str, str]) -> None:
    """Count one photo and its mask, or note what is wrong with them."""
    photo, mask = tree.image(name), tree.mask(name)
    size: tuple[int, int] | None = None
    if others := [path.name for path in tree.photos(name)[1:]]:
        survey.problems.append(
            f"{photo}: has the same name as {', '.join(others)}, and one mask cannot be of both; "
            "remove or rename one, with a mask of its own"
        )
    if not photo.is_file():
        survey.problems.append(f"{mask}: has no photo {PHOTOS}/{name}.jpg; add it")
        return
    try:
        content = read_whole(photo, MAX_BYTES)
        size = read_photo(content, str(photo)).size
        survey.sizes.append(size)
        digest = bytes_sha256(content)
        if digest in hashes:
            survey.remarks.append(f"{photo}: the same file as {hashes[digest]}; remove one")
        hashes.setdefault(digest, name)
    except OSError as error:
        survey.problems.append(f"{photo}: cannot be read ({why(error)})")
    except ImageError as error:
        survey.problems.append(str(error))
    if not mask.is_file():
        survey.problems.append(f"{photo}: has no mask {MASKS}/{name}.png; add it")
        return
    try:
        labels = read_labels(mask, tree.classes, rgb=tree.rgb, size=size)
    except DatasetError as error:
        survey.problems.append(str(error))
    else:
        _count(labels, name, mask, survey)


def _count(labels: NDArray[np.uint8], name: str, path: Path, survey: Survey) -> None:
    """Add the classes of a mask to the counts."""
    values = np.unique(labels)
    if is_binary(labels):
        survey.problems.append(f"{path}: has 0 and 255 alone, and 255 is ignored; {BINARY}")
        return
    wrong = [value for value in values.tolist() if value >= len(survey.classes) and value != IGNORE]
    if wrong:
        survey.problems.append(
            f"{path}: label {wrong[0]}; there are 0 to {len(survey.classes) - 1} and 255"
        )
        return
    if not any(0 < value < IGNORE for value in values.tolist()):
        only = "void" if values.tolist() == [IGNORE] else "background"
        survey.remarks.append(f"{path}: nothing but {only}")
    survey.labels[name] = values.tolist()
    for value in survey.labels[name]:
        if value == IGNORE:
            continue
        inside = (labels == value).astype(np.uint8)
        count = survey.counts[value]
        count.photos += 1
        count.pixels += int(inside.sum())
        if value:
            count.objects += int(cv2.connectedComponents(inside)[0]) - 1


def _read_lists(tree: VocTree, survey: Survey) -> dict[str, list[str]]:
    """Return the names of each list of the tree."""
    lists = {}
    for path in sorted((tree.root / LISTS).glob("*.txt")):
        try:
            lists[path.stem] = listed_names(path, lambda name: tree.image(name).is_file())
        except DatasetError as error:
            survey.problems.append(str(error))
            continue
        survey.lists[path.stem] = len(lists[path.stem])
    if not lists:
        survey.problems.append(f"{tree.root / LISTS}: has no lists; add train.txt and val.txt")
    return lists


def _survey_lists(lists: dict[str, list[str]], names: set[str], survey: Survey) -> None:
    """Note names that are listed twice, of no photo, or in both train and val."""
    for split, given in lists.items():
        missing = [name for name in given if name not in names]
        if missing:
            survey.problems.append(
                f"{split}.txt: names without a photo: {first_names(missing)}; take them out"
            )
        twice = len(given) - len(set(given))
        if twice:
            survey.problems.append(f"{split}.txt: {twice} names stand twice; take them out")
    both = sorted(set(lists.get("train", ())) & set(lists.get("val", ())))
    if both:
        survey.problems.append(
            f"train.txt and val.txt: both have {first_names(both)}; "
            "a photo that is trained on must not be scored"
        )
    unlisted = names - {name for given in lists.values() for name in given}
    if unlisted and lists:
        survey.remarks.append(f"in no list: {first_names(sorted(unlisted))}")
