"""The photos that ``evaluate`` scores, and their labels: of PNGs, of nets, or of stored scores.

PNGs are scored without torch, so what needs it is imported inside the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deconvnet_cli.data.voc import VocTree, open_tree, require_classes
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.evaluation.predictions import files_of_names, find_predictions, read_prediction
from deconvnet_cli.evaluation.scoreboard import TABLE, Labels
from deconvnet_cli.reporting import console
from deconvnet_cli.runtime.shards import shard_of, shard_text
from deconvnet_cli.segmentation.loading import crf_settings, load_system
from deconvnet_cli.segmentation.settings import CrfSettings, SegmentOptions

Predict = Callable[[str, Labels], Mapping[str, Labels]]


def tree_and_names(
    root: Path | None, split: str, limit: int | None, part: tuple[int, int] | None, *, rgb: bool
) -> tuple[VocTree, list[str]]:
    """Return the VOC tree and the names of the photos to evaluate."""
    if root is None:
        raise UsageError("give --voc-root DIR, or files with --merge or --compare")
    tree = open_tree(root, rgb=rgb)
    names = tree.names(split)
    if len(set(names)) < len(names):
        raise DatasetError(f"{split}: an image is named twice in this list; name it once")
    names = names[:limit]
    found = shard_of(names, part)
    if part is not None and names and not found:
        raise UsageError(
            f"--shard {shard_text(part)}: no image of {split} is in it; the list has "
            f"{len(names)}, so give at most {len(names)} shards"
        )
    if not names:
        raise UsageError(f"{split}: names no image; choose another list")
    return tree, found


def usable_files(
    folder: Path, tree: VocTree, names: list[str], allow_missing: bool
) -> dict[str, Path]:
    """Return the label PNG of each name, all of which can be scored.

    Raises:
        DatasetError: Some label PNGs cannot be scored; each of them is printed first.
    """
    found = find_predictions(folder, tree, names)
    if not found.files:
        raise DatasetError(
            f"{folder}: has no label PNG for this list; call them NAME.png, such as {names[0]}.png"
        )
    lines = list(found.wrong)
    remedy = ""
    if not allow_missing and found.missing:
        lines += [f"{folder / name}.png: missing" for name in found.missing]
        remedy = "; --allow-missing leaves out the missing ones"
    if len(lines) == 1:
        raise DatasetError(lines[0] + remedy)
    if lines:
        for line in lines:
            console.failure(line)
        raise DatasetError(
            f"{folder}: {len(lines)} of {len(names)} label PNGs cannot be scored{remedy}"
        )
    if found.missing:
        are = "is" if len(found.missing) == 1 else "are"
        console.say(f"{len(found.missing)} of {len(names)} photos {are} missing and left out")
    return found.files


def from_files(files: Mapping[str, Path], tree: VocTree) -> Predict:
    """Return the function that reads the label map of a photo from its PNG."""

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        labels = read_prediction(files[name], truth, tree.classes, rgb=tree.rgb)
        return {"predictions": labels}

    return predict


def from_nets(
    tree: VocTree, table: bool, max_pixels: int, options: SegmentOptions
) -> tuple[Predict, dict[str, Any]]:
    """Return the function that labels a photo with the nets, and a description of the nets."""
    if table:
        options = replace(options, system_name="edeconvnet", crf=True)
    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.evaluation.paper_table import label_rows, row_of
    from deconvnet_cli.segmentation.segment import infer
    from deconvnet_cli.segmentation.system import describe

    system, settings = load_system(options)
    name = options.fcn_weights if system.deconvnet is None else options.weights
    require_classes(tree, system.classes, name)
    rows = TABLE if table else (row_of(system.name, crf=settings.crf is not None),)

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        photo = read_photo(tree.image(name), max_pixels=max_pixels)
        scored = infer(photo, system, settings)
        crf = settings.crf or CrfSettings()
        return label_rows(scored, rows, photo.size, system.ensemble, crf=crf)

    return predict, describe(system, settings)


def from_store(
    folder: Path,
    tree: VocTree,
    names: list[str],
    table: bool,
    max_pixels: int,
    options: SegmentOptions,
) -> tuple[Predict, dict[str, Any]]:
    """Return the function that labels a photo from its stored scores, and their description."""
    from deconvnet_cli.evaluation.paper_table import label_rows, row_of
    from deconvnet_cli.segmentation.stored_scores import read_scores, restore

    crf = crf_settings(options.crf_backend)
    files = files_of_names(folder, names, ".npz")
    missing = [path for path in files.values() if not path.is_file()]
    if missing:
        raise DatasetError(
            f"{missing[0]}: no stored scores ({len(missing)} of {len(names)} are missing); "
            "`deconvnet batch --save-scores` writes them"
        )

    def predict(name: str, truth: Labels) -> dict[str, Labels]:
        path = files[name]
        stored = read_scores(path)
        require_classes(tree, stored.classes, str(path))
        system_name = options.system_name or stored.maps.system
        rows = TABLE if table else (row_of(system_name, crf=options.crf),)
        ensemble = stored.ensemble(
            options.ensemble, options.share, "edeconvnet" if table else system_name
        )
        scored = restore(stored, tree.image(name), max_pixels=max_pixels)
        return label_rows(scored, rows, stored.size, ensemble, source=path, crf=crf)

    return predict, {"scores": {"folder": str(folder)}}
