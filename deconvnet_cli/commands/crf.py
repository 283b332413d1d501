"""``deconvnet crf``: refine stored scores, or find the best settings for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from deconvnet_cli.commands.options import (
    CRF_BACKEND,
    ENSEMBLE,
    JSON,
    QUIET,
    apply,
    refuse_overwriting,
)
from deconvnet_cli.configure import crf_settings
from deconvnet_cli.errors import DatasetError, DeconvnetError, UsageError
from deconvnet_cli.manifest import manifests_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deconvnet_cli.crf import CrfSettings
    from deconvnet_cli.maps import Ensemble
    from deconvnet_cli.score_store import Stored
    from deconvnet_cli.segmenter import Scored
    from deconvnet_cli.voc import VocTree

LEAST, MOST = 0.001, 100_000  # far below and above what is of use; pydensecrf crashes further out


@click.command("crf")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), help="Folder for labels."
)
@click.option(
    "--set", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting of the CRF; repeatable."
)
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUE,VALUE...",
    help="Score these values of a setting, with all others given; repeatable. Needs --voc-root.",
)
@click.option("--voc-root", type=click.Path(path_type=Path), help="VOC2012/ folder, for --grid.")
@apply(CRF_BACKEND, *ENSEMBLE, QUIET, JSON)
def command(
    sources: tuple[Path, ...],
    output: Path | None,
    pairs: tuple[str, ...],
    grid: tuple[str, ...],
    voc_root: Path | None,
    crf_backend: str,
    system: str | None,
    ensemble: str | None,
    share: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Refine the scores in SOURCES, folders or files that `batch --save-scores` made.

    Label PNGs go to OUTPUT, each under its file's name and path. With --grid, mean IoU is
    reported for each combination of settings instead, and without the CRF. Settings:
    gaussian_sd, gaussian_weight, bilateral_sd, bilateral_colour_sd, bilateral_weight, iterations.
    """
    if bool(grid) == bool(output):
        raise UsageError("give either -o DIR, for labels, or --grid, for scores")
    if grid and voc_root is None:
        raise UsageError("--grid needs the masks: --voc-root DIR")
    if output and voc_root is not None:
        raise UsageError("--voc-root has the masks for --grid; leave it out")
    if output and manifests_in(output):
        raise UsageError(
            f"{output}: has the labels of a batch, which would be replaced; give another folder"
        )

    from deconvnet_cli import report

    base = settings_of(pairs, crf_settings(crf_backend))
    files = stored_files(sources)

    def read(path: Path, photo: Path | None = None) -> Refinable:
        return refinable(path, photo, system, ensemble, share)

    if grid:
        from deconvnet_cli import report_scores
        from deconvnet_cli.voc import open_tree

        tree = open_tree(voc_root)  # type: ignore[arg-type]
        choices = combinations(base, grid)
        with report.progress(quiet) as progress:
            tracked = progress.track(list(files.items()), description="crf")
            ious = sweep(tracked, choices, read, tree)
        report_scores.sweep(ious, quiet=quiet, as_json=as_json)
        return
    failed = 0
    with report.progress(quiet) as progress:
        for path, relative in progress.track(list(files.items()), description="crf"):
            try:
                target = output / relative.with_suffix(".png")  # type: ignore[operator]
                write_labels(target, read(path), base)
            except DeconvnetError as error:
                failed += 1
                report.failure(error)
                continue
            if as_json:
                report.json_line({"scores": str(path), "output": str(target)})
    if failed:
        raise SystemExit(1)


class Refinable(NamedTuple):
    """What is stored of a photo, as the CRF takes it.

    Attributes:
        scored: the maps that are wanted, with the photo.
        ensemble: how they are put together.
        stored: the whole of it.
        system: what the maps are of.
    """

    scored: Scored
    ensemble: Ensemble
    stored: Stored
    system: str

    def labels(self, crf: CrfSettings | None) -> NDArray[np.uint8]:
        """Refined labels in the size of the photo; None leaves the maps as they are."""
        from deconvnet_cli.segmenter import label_photo

        width, height = self.stored.width, self.stored.height
        return label_photo(self.scored, width, height, self.ensemble, crf).labels


def refinable(
    path: Path, photo: Path | None, system: str | None, rule: str | None, share: float | None
) -> Refinable:
    """Read one file of the store, and its photo where it was or where ``photo`` says.

    Raises:
        DatasetError, ImageError: one of them cannot be used.
    """
    from dataclasses import replace

    from deconvnet_cli.score_store import read_scores, scored_again
    from deconvnet_cli.table import part, parts_there

    stored = read_scores(path)
    scored = scored_again(stored, photo)
    chosen = system or parts_there(stored.maps)
    scored = replace(scored, maps=part(stored.maps, chosen, path))
    return Refinable(scored, stored.ensemble(rule, share), stored, chosen)


def write_labels(target: Path, found: Refinable, crf: CrfSettings) -> None:
    """Refine one photo and write its label PNG."""
    from deconvnet_cli.files import make_folder, write_whole
    from deconvnet_cli.images import label_png

    refuse_overwriting(found.stored.photo, target)
    result = found.labels(crf)
    make_folder(target.parent)
    write_whole(target, label_png(result))


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

    from deconvnet_cli.metrics import confusion, scores
    from deconvnet_cli.voc import CLASSES, read_mask

    total = {name: np.zeros((len(CLASSES),) * 2, np.int64) for name in choices}
    systems = set()
    for path, relative in files:
        image = relative.with_suffix("").as_posix()
        if not tree.mask(image).is_file():
            image = path.stem  # scored from a folder above JPEGImages, or of a submission
        truth = read_mask(tree.mask(image))
        found = read(path, tree.image(image))
        systems.add(found.system)
        if len(systems) > 1:
            raise DatasetError(
                f"{path}: scores of {found.system}, others are not; choose one with --net"
            )
        for name, crf in choices.items():
            try:
                total[name] += confusion(truth, found.labels(crf))
            except DatasetError as error:
                raise DatasetError(f"{path}: {error}") from error
    return {name: scores(counts).mean_iou for name, counts in total.items()}


def stored_files(sources: tuple[Path, ...]) -> dict[Path, Path]:
    """Files of stored scores, each with its path below the output folder.

    Raises:
        UsageError: a source is missing or has none, or two files would have the same output.
    """
    files: dict[Path, Path] = {}
    seen: set[str] = set()
    outputs: set[Path] = set()
    for source in sources:
        found = sorted(source.rglob("*.npz")) if source.is_dir() else [source]
        if not found or not found[0].exists():
            raise UsageError(f"{source}: no stored scores; `batch --save-scores` makes them")
        for path in found:
            if realpath(path) in seen:
                continue
            seen.add(realpath(path))
            relative = path.relative_to(source) if source.is_dir() else Path(path.name)
            if relative in outputs:
                raise UsageError(f"{path}: another file has the output {relative} already")
            outputs.add(relative)
            files[path] = relative
    return files


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
    from deconvnet_cli.crf import CrfSettings

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
