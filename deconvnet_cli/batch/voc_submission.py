"""Label PNGs in the folders that the PASCAL VOC evaluation server takes.

VOC2012 development kit, section on submission of results: a palette PNG an image of the list,
``results/VOC2012/Segmentation/comp6_test_cls/NAME.png``. Competition 6 is the one that allows
other training data than VOC's own, which the weights here have seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deconvnet_cli.batch.plan import Job
from deconvnet_cli.data.decoding import LABEL_FORMATS, MAX_BYTES, Undecodable, identify, load
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import CLASSES, palette
from deconvnet_cli.errors import DatasetError, ImageError, UsageError
from deconvnet_cli.storage.files import read_whole

COMPETITION = "comp6"


def submission_folder(output: Path, listed: Path) -> Path:
    """Where the label PNGs of a list go."""
    name = f"{COMPETITION}_{listed.stem}_cls"
    return output / "results" / "VOC2012" / "Segmentation" / name


def plan_submission(jobs: list[Job], listed: Path, output: Path) -> list[Job]:
    """A job for each name of the list, in its order, from among those of all photos found.

    Raises:
        UsageError: the list cannot be read or is empty, or two photos have the same name.
        ImageError: a photo of the list was not found.
    """
    try:
        names = listed.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{listed}: the list cannot be read ({error})") from error
    if not names:
        raise UsageError(f"{listed}: the list is empty")
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
    scores = output / "scores"  # the server takes label PNGs and nothing else
    return [
        Job(photos[name], folder / f"{name}.png", scores / f"{name}.npz")
        for name in dict.fromkeys(names)
    ]


def check_submission(jobs: list[Job]) -> Path:
    """Check every label PNG as the server will, and return their folder.

    Raises:
        DatasetError: one is missing, not a palette PNG in VOC's colours, of another size than its
            photo, or has labels beyond 20; or the folder holds something else.
    """
    folder = jobs[0].target.parent
    for job in jobs:
        check_label_png(job.target, read_photo(job.photo).size)
    expected = {job.target.name for job in jobs}
    other = sorted(path.name for path in folder.iterdir() if path.name not in expected)
    if other:
        raise DatasetError(f"{folder / other[0]}: does not belong to the list; remove it")
    return folder


def check_label_png(path: Path, size: tuple[int, int]) -> None:
    """Raise DatasetError unless this is a palette PNG of that size with labels 0 to 20."""
    try:
        with identify(read_whole(path, MAX_BYTES), LABEL_FORMATS) as image:
            load(image)
            mode, colours, labels = image.mode, image.getpalette() or [], np.array(image)
    except (OSError, Undecodable) as error:
        raise DatasetError(f"{path}: not a readable PNG; remove it and start again") from error
    wrong = ""
    if mode != "P":
        wrong = f"mode {mode}, not a palette PNG"
    elif labels.shape != (size[1], size[0]):
        wrong = f"{labels.shape[1]}x{labels.shape[0]} pixels, its photo {size[0]}x{size[1]}"
    elif labels.max(initial=0) >= len(CLASSES):
        wrong = f"label {labels.max()}; labels are 0..{len(CLASSES) - 1}"
    elif colours[: 3 * len(CLASSES)] != palette()[: len(CLASSES)].flatten().tolist():
        wrong = "its palette is not VOC's"
    if wrong:
        raise DatasetError(f"{path}: {wrong}; remove it and start again")
