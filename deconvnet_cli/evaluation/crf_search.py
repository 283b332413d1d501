"""The search for the best settings of the dense CRF on stored scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from deconvnet_cli.errors import DatasetError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deconvnet_cli.data.voc import VocTree
    from deconvnet_cli.segmentation.score_maps import Ensemble
    from deconvnet_cli.segmentation.segment import Inferred
    from deconvnet_cli.segmentation.settings import CrfSettings
    from deconvnet_cli.segmentation.stored_scores import Stored


LEAST, MOST = 0.001, 100_000  # far below and above what is of use; pydensecrf crashes further out


class Refinable(NamedTuple):
    """What is stored of a photo, as the CRF takes it.

    Attributes:
        scored: the maps that are wanted, with the photo.
        ensemble: how they are put together.
        stored: the whole of it.
        system: what the maps are of.
    """

    scored: Inferred
    ensemble: Ensemble
    stored: Stored
    system_name: str

    def labels(self, crf: CrfSettings | None) -> NDArray[np.uint8]:
        """Refined labels in the size of the photo; None leaves the maps as they are."""
        from deconvnet_cli.segmentation.segment import label_photo

        width, height = self.stored.width, self.stored.height
        return label_photo(self.scored, width, height, self.ensemble, crf).labels


def refinable(
    path: Path, photo: Path | None, system_name: str | None, rule: str | None, share: float | None
) -> Refinable:
    """Read one file of the store, and its photo where it was or where ``photo`` says.

    Raises:
        DatasetError, ImageError: one of them cannot be used.
    """
    from dataclasses import replace

    from deconvnet_cli.evaluation.paper_table import part, parts_there
    from deconvnet_cli.segmentation.stored_scores import read_scores, scored_again

    stored = read_scores(path)
    scored = scored_again(stored, photo)
    chosen = system_name or parts_there(stored.maps)
    scored = replace(scored, maps=part(stored.maps, chosen, path))
    return Refinable(scored, stored.ensemble(rule, share), stored, chosen)


def sweep(
    files: Iterable[tuple[Path, Path]],
    choices: Mapping[str, CrfSettings | None],
    read: Callable[[Path, Path], Refinable],
    tree: VocTree,
) -> dict[str, float]:
    """Mean IoU by the name of each choice, over all files.

    Raises:
        DatasetError: a file or its mask cannot be used, or files are of different systems.
    """
    import numpy as np

    from deconvnet_cli.data.label_png import read_mask
    from deconvnet_cli.data.voc import CLASSES
    from deconvnet_cli.evaluation.metrics import confusion, metrics_of

    total = {name: np.zeros((len(CLASSES),) * 2, np.int64) for name in choices}
    systems = set()
    for path, relative in files:
        image = relative.with_suffix("").as_posix()
        if not tree.mask(image).is_file():
            image = path.stem  # scored from a folder above JPEGImages, or of a submission
        truth = read_mask(tree.mask(image))
        found = read(path, tree.image(image))
        systems.add(found.system_name)
        if len(systems) > 1:
            raise DatasetError(
                f"{path}: scores of {found.system_name}, others are not; choose one with --net"
            )
        for name, crf in choices.items():
            try:
                total[name] += confusion(truth, found.labels(crf))
            except DatasetError as error:
                raise DatasetError(f"{path}: {error}") from error
    return {name: metrics_of(counts).mean_iou for name, counts in total.items()}


def settings_of(pairs: tuple[str, ...], settings: CrfSettings) -> CrfSettings:
    """The settings with these in their place."""
    from dataclasses import replace

    for pair in pairs:
        (name, value), *more = parsed(pair)
        if more:
            raise UsageError(f"{pair}: --set takes one value; several are for --grid")
        settings = replace(settings, **{name: value})
    return settings


def combinations(base: CrfSettings, grid: tuple[str, ...]) -> dict[str, CrfSettings | None]:
    """All combinations of the values in ``grid``, by name; and no CRF at all."""
    from dataclasses import replace
    from itertools import product

    choices: dict[str, CrfSettings | None] = {"no CRF": None}
    axes = [list(parsed(text)) for text in grid]
    names = [axis[0][0] for axis in axes]
    if len(set(names)) < len(names):
        raise UsageError("--grid: a setting is named twice; give all its values at once")
    for values in product(*axes):
        name = ", ".join(f"{key} = {value}" for key, value in values)
        choices[name] = replace(base, **dict(values))
    return choices


def parsed(text: str) -> Iterator[tuple[str, Any]]:
    """``NAME=VALUE,VALUE`` as pairs.

    Raises:
        UsageError: no such setting, or a value that is no number or out of range.
    """
    from deconvnet_cli.segmentation.settings import CrfSettings

    kinds: dict[str, Any] = {
        name: type(value)
        for name, value in asdict(CrfSettings()).items()
        if not isinstance(value, str)
    }
    name, _, values = text.partition("=")
    name = name.strip()
    if name not in kinds:
        raise UsageError(f"{text}: no setting of the CRF is called {name}; see --help")
    for value in values.split(","):
        try:
            number = kinds[name](value)
        except ValueError:
            raise UsageError(f"{text}: {value or 'nothing'} is no {kinds[name].__name__}") from None
        low = 0 if name.endswith("weight") else LEAST
        if not low <= number <= MOST:
            raise UsageError(f"{text}: {name} must be {low} to {MOST}")
        yield name, number
