"""Where ``evaluate`` gets label maps: from PNGs, from nets, or from stored scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deconvnet_cli.configure import crf_settings, prepare
from deconvnet_cli.errors import DatasetError

if TYPE_CHECKING:
    from deconvnet_cli.scoreboard import Labels
    from deconvnet_cli.voc import VocTree

    Predict = Callable[[str, Labels], Mapping[str, Labels]]


def checked(folder: Path, tree: VocTree, names: list[str], allow_missing: bool) -> list[str]:
    """The names whose label PNGs can be scored; all problems are said before it fails."""
    from deconvnet_cli import report
    from deconvnet_cli.predictions import problems_of

    problems = problems_of(folder, tree, names)
    lines = list(problems.wrong)
    remedy = ""
    if not allow_missing and problems.missing:
        lines += [f"{folder / name}.png: missing" for name in problems.missing]
        remedy = "; --allow-missing leaves out the missing ones"
    if len(lines) == 1:
        raise DatasetError(lines[0] + remedy)
    if lines:
        report.problems(lines)
        raise DatasetError(
            f"{folder}: {len(lines)} of {len(names)} label PNGs cannot be scored{remedy}"
        )
    left = [name for name in names if name not in set(problems.missing)]
    if not left:
        raise DatasetError(f"{folder}: has no label PNG of this list; they are called NAME.png")
    if problems.missing:
        report.say(f"{len(problems.missing)} of {len(names)} images are missing and left out")
    return left


def from_folder(folder: Path) -> Predict:
    """Label maps from the PNGs of a folder."""
    from deconvnet_cli.predictions import read_prediction

    return lambda name, truth: {"predictions": read_prediction(folder / f"{name}.png", truth)}


def from_nets(
    tree: VocTree, table: bool, max_pixels: int, options: dict[str, Any]
) -> tuple[Predict, dict[str, Any]]:
    """Label maps from running the nets, and what is to be said about them."""
    if table:
        options = {**options, "system": "edeconvnet", "crf": True}
    nets, settings = prepare(**options)

    from deconvnet_cli.crf import CrfSettings
    from deconvnet_cli.images import read_photo
    from deconvnet_cli.scoreboard import TABLE
    from deconvnet_cli.segmenter import score_photo
    from deconvnet_cli.systems import describe
    from deconvnet_cli.table import label_rows, row_of

    rows = TABLE if table else (row_of(nets.system, crf=settings.crf is not None),)

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        photo = read_photo(tree.image(name), max_pixels=max_pixels)
        scored = score_photo(photo, nets, settings)
        crf = settings.crf or CrfSettings()
        return label_rows(scored, rows, photo.width, photo.height, nets.ensemble, crf=crf)

    return predict, describe(nets, settings)


def from_store(
    folder: Path,
    tree: VocTree,
    names: list[str],
    table: bool,
    max_pixels: int,
    options: dict[str, Any],
) -> tuple[Predict, dict[str, Any]]:
    """Label maps from stored scores, without a net."""
    from deconvnet_cli.score_store import read_scores, scored_again
    from deconvnet_cli.scoreboard import TABLE
    from deconvnet_cli.table import label_rows, parts_there, row_of

    crf = crf_settings(options["crf_backend"])
    missing = [path for name in names if not (path := folder / f"{name}.npz").is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no stored scores ({len(missing)} of {len(names)} are missing); "
            "`deconvnet batch --save-scores` writes them"
        )

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        path = folder / f"{name}.npz"
        stored = read_scores(path)
        system = options["system"] or parts_there(stored.maps)
        rows = TABLE if table else (row_of(system, crf=options["crf"]),)
        ensemble = stored.ensemble(options["ensemble"], options["share"])
        scored = scored_again(stored, tree.image(name), max_pixels=max_pixels)
        return label_rows(scored, rows, stored.width, stored.height, ensemble, source=path, crf=crf)

    return predict, {"scores": {"folder": str(folder)}}
