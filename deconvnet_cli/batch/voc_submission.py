"""Label PNGs in the folders that the PASCAL VOC evaluation server accepts.

The VOC2012 development kit (submission of results) asks for one palette PNG for each image of the
list, ``results/VOC2012/Segmentation/comp6_test_cls/NAME.png``. Competition 6 allows training data
other than VOC's own, which the weights here have seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deconvnet_cli.batch.job import Job
from deconvnet_cli.data.classes import in_short
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import read_png
from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.data.voc_lists import listed_names
from deconvnet_cli.errors import DatasetError, ImageError, UsageError

COMPETITION = "comp6"
START_AGAIN = "remove it and start again"


def submission_folder(output: Path, listed: Path) -> Path:
    """Return the folder for the label PNGs of a list."""
    name = f"{COMPETITION}_{listed.stem}_cls"
    return output / "results" / "VOC2012" / "Segmentation" / name


def plan_submission(jobs: list[Job], listed: Path, output: Path) -> list[Job]:
    """Return a job for each name of the list, in its order, chosen from the jobs of all photos.

    Raises:
        DatasetError: The list cannot be read or is empty.
        UsageError: Two photos have the same name.
        ImageError: A photo of the list was not found.
    """
    stems = {job.photo.stem for job in jobs}
    names = listed_names(listed, stems.__contains__)
    photos: dict[str, Path] = {}
    for job in jobs:
        other = photos.setdefault(job.photo.stem, job.photo)
        if other != job.photo and job.photo.stem in names:
            raise UsageError(f"{other} and {job.photo}: both are called {job.photo.stem}")
    missing = [name for name in names if name not in photos]
    if missing:
        raise ImageError(
            f"{missing[0]}: named in {listed}, but no such photo was found "
            f"({len(missing)} of {len(names)} are missing); give the folder JPEGImages"
        )
    folder = submission_folder(output, listed)
    scores = output / "scores"  # the server accepts nothing but label PNGs
    return [
        Job(photos[name], folder / f"{name}.png", scores / f"{name}.npz")
        for name in dict.fromkeys(names)
    ]


def check_voc_classes(classes: tuple[str, ...]) -> None:
    """Raise UsageError unless the labels are of VOC's classes, which the server expects."""
    if classes != CLASSES:
        raise UsageError(
            f"--voc-submission takes labels of VOC's classes; the weights have {in_short(classes)}"
        )


def check_submission(jobs: list[Job], page: int | None = None) -> Path:
    """Check every label PNG of the photos, or of a page of them, and return their folder.

    Raises:
        DatasetError: A label PNG is missing, is not a palette PNG in VOC's colours, differs in
            size from its photo, or has labels beyond 20; or the folder holds other files.
    """
    folder = jobs[0].target.parent
    for job in jobs:
        check_label_png(job.target, read_photo(job.photo, page=page).size)
    expected = {job.target.name for job in jobs}
    other = sorted(path.name for path in folder.iterdir() if path.name not in expected)
    if other:
        raise DatasetError(f"{folder / other[0]}: does not belong to the list; remove it")
    return folder


def check_label_png(path: Path, size: tuple[int, int]) -> None:
    """Raise DatasetError unless this is a palette PNG of that size with labels 0 to 20."""
    image = read_png(path, size, START_AGAIN)
    labels, colours = np.array(image), image.getpalette() or []
    wrong = ""
    if image.mode != "P":
        wrong = f"mode {image.mode}, not a palette PNG"
    elif labels.max(initial=0) >= len(CLASSES):
        wrong = f"label {labels.max()}; labels are 0..{len(CLASSES) - 1}"
    elif colours[: 3 * len(CLASSES)] != palette()[: len(CLASSES)].flatten().tolist():
        wrong = "its palette is not VOC's"
    if wrong:
        raise DatasetError(f"{path}: {wrong}; {START_AGAIN}")
