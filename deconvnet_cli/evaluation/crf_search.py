"""Search for the best settings of the dense CRF on stored scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.mask_check import require_masks
from deconvnet_cli.data.voc import VocTree, require_classes
from deconvnet_cli.errors import DatasetError, ImageError, UsageError
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.evaluation.paper_table import maps_of
from deconvnet_cli.runtime.ordered_pool import in_order
from deconvnet_cli.segmentation.crf.refine import refine_each
from deconvnet_cli.segmentation.labels import enlarge_and_label
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.segment import Inferred, label_photo
from deconvnet_cli.segmentation.settings import CrfSettings
from deconvnet_cli.segmentation.stored_scores import Stored, read_scores, restore

LEAST, MOST = 0.001, 100_000  # far beyond useful values; pydensecrf crashes further out


class Refinable(NamedTuple):
    """The stored scores of a photo, ready for the CRF.

    Attributes:
        inferred: The photo with the maps of the system.
        ensemble: How the maps become one.
        stored: The content of the file.
        system_name: The system that the maps belong to.
    """

    inferred: Inferred
    ensemble: Ensemble
    stored: Stored
    system_name: str

    def labels_each(
        self, choices: Mapping[str, CrfSettings | None]
    ) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield the name of each choice and its labels; the choices share what they can."""
        yield from ((name, self.labels(None)) for name, crf in choices.items() if crf is None)
        refining = {name: crf for name, crf in choices.items() if crf is not None}
        names, settings = list(refining), list(refining.values())
        before = self.inferred.maps.probabilities(self.ensemble)
        photo, values = np.asarray(self.inferred.photo), before.cpu().numpy()
        for place, after in refine_each(photo, values, settings, before.device):
            yield names[place], enlarge_and_label(torch.from_numpy(after), *self.stored.size)

    def labels(self, crf: CrfSettings | None) -> NDArray[np.uint8]:
        """Return the labels in the size of the photo, refined unless ``crf`` is None."""
        return label_photo(self.inferred, self.stored.size, self.ensemble, crf).labels


def read_refinable(
    path: Path, photo: Path | None, system_name: str | None, rule: str | None, share: float | None
) -> Refinable:
    """Read one file of stored scores and its photo.

    Args:
        photo: The path of the photo; None takes the path from the file.
        system_name: The system to label with; None takes all maps of the file.
        rule: The ensemble rule; None takes the file's.
        share: FCN-8s' share in the ensemble; None takes the file's.

    Raises:
        DatasetError, ImageError: The file or its photo cannot be used.
    """
    stored = read_scores(path)
    chosen = system_name or stored.maps.system
    ensemble = stored.ensemble(rule, share, chosen)
    maps = maps_of(stored.maps, chosen, path)
    try:
        inferred = replace(restore(stored, photo), maps=maps)
    except ImageError as error:
        raise ImageError(f"{path}: its photo {error}") from error
    return Refinable(inferred, ensemble, stored, chosen)


def image_of(path: Path, relative: Path, tree: VocTree) -> str:
    """Return the name in the tree of the photo of a file of stored scores."""
    image = relative.with_suffix("").as_posix()
    # Otherwise batch ran on a folder above JPEGImages, or made a submission.
    return image if tree.mask(image).is_file() else path.stem


def sweep(
    files: Iterable[tuple[Path, Path]],
    choices: Mapping[str, CrfSettings | None],
    read: Callable[[Path, Path], Refinable],
    tree: VocTree,
    workers: int = 1,
    on_done: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Return the mean IoU over all files for each choice of settings, by its name.

    Args:
        files: The files of stored scores, with their paths relative to the store.
        choices: The settings by name; None is no CRF.
        read: A function that reads a file, given its path and that of its photo.
        workers: The number of files to work on at a time; it does not change the result.
        on_done: A function that is called after each choice of each file, from any thread.

    Raises:
        DatasetError: A file or its mask cannot be used, or files are of different systems.
    """
    total = {name: np.zeros((len(tree.classes),) * 2, np.int64) for name in choices}
    files = list(files)
    require_masks(tree, [image_of(path, relative, tree) for path, relative in files])

    def counted(file: tuple[Path, Path]) -> tuple[str, dict[str, NDArray[np.int64]]]:
        """Return the system of a file, and its confusion matrix for each choice."""
        path, relative = file
        image = image_of(path, relative, tree)
        truth = tree_mask(tree, image)
        found = read(path, tree.image(image))
        require_classes(tree, found.stored.classes, str(path))
        counts = {}
        for name, labels in found.labels_each(choices):
            try:
                counts[name] = confusion(truth, labels, len(tree.classes))
            except DatasetError as error:
                raise DatasetError(f"{path}: {error}") from error
            on_done()
        return found.system_name, counts

    systems = set()
    for (path, _), result in in_order(files, counted, workers):
        system, counts = result()
        systems.add(system)
        if len(systems) > 1:
            raise DatasetError(
                f"{path}: has scores of {system}, unlike others; choose one with --net"
            )
        for name, matrix in counts.items():
            total[name] += matrix
    return {name: metrics_of(counts).mean_iou for name, counts in total.items()}


def settings_with(pairs: tuple[str, ...], settings: CrfSettings) -> CrfSettings:
    """Return the settings with the values of ``pairs``, each ``NAME=VALUE``."""
    for pair in pairs:
        (name, value), *more = parsed(pair)
        if more:
            raise UsageError(f"{pair}: --set takes one value; use --grid for several")
        settings = replace(settings, **{name: value})
    return settings


def name_of(text: str) -> str:
    """Return the name of the setting in ``NAME=VALUE,VALUE``."""
    return text.partition("=")[0].strip()


def combinations(
    base: CrfSettings, grid: tuple[str, ...], fixed: tuple[str, ...] = ()
) -> dict[str, CrfSettings | None]:
    """Return all combinations of the values in ``grid``, by name, and the choice of no CRF.

    Raises:
        UsageError: A setting is named twice, or it is one of ``fixed``, which ``base`` has.
    """
    choices: dict[str, CrfSettings | None] = {"no CRF": None}
    axes = [list(parsed(text)) for text in grid]
    names = [axis[0][0] for axis in axes]
    if len(set(names)) < len(names):
        raise UsageError("--grid: a setting is named twice; give all its values at once")
    if both := set(names) & set(map(name_of, fixed)):
        raise UsageError(f"{min(both)}: --grid gives its values; leave out --set")
    for values in product(*axes):
        name = ", ".join(f"{key} = {value}" for key, value in values)
        choices[name] = replace(base, **dict(values))
    return choices


def parsed(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the pairs of name and value in ``NAME=VALUE,VALUE``.

    Raises:
        UsageError: The setting is unknown, or a value is not a number or out of range.
    """
    kinds: dict[str, Any] = {
        name: type(value)
        for name, value in asdict(CrfSettings()).items()
        if not isinstance(value, str)
    }
    name, values = name_of(text), text.partition("=")[2]
    if name not in kinds:
        raise UsageError(f"{text}: the CRF has no setting {name}; see --help")
    for value in values.split(","):
        try:
            number = kinds[name](value)
        except ValueError:
            kind = "whole number" if kinds[name] is int else "number"
            raise UsageError(f"{text}: {value or 'nothing'} is not a {kind}") from None
        low = 0 if name.endswith("weight") else 1 if kinds[name] is int else LEAST
        if not low <= number <= MOST:
            raise UsageError(f"{text}: {name} must be {low} to {MOST}")
        yield name, number
