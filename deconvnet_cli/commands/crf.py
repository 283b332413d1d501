"""``deconvnet crf``: refine stored scores, or search for the best settings of the CRF."""

from __future__ import annotations

from os.path import realpath
from pathlib import Path

import click

from deconvnet_cli.batch.manifest import manifests_in
from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, crf_option, option
from deconvnet_cli.commands.shared.option_types import PATH
from deconvnet_cli.commands.shared.options import (
    CRF_BACKEND_OPTION,
    ENSEMBLE_OPTIONS,
    MESSAGE_OPTIONS,
    SYSTEM_OPTION,
    WORKERS_OPTION,
    apply,
    refuse_silence,
)
from deconvnet_cli.errors import DeconvnetError, UsageError
from deconvnet_cli.outputs.targets import KNOWN_SUFFIXES, into_folder, require_suffix
from deconvnet_cli.segmentation.loading import crf_settings
from deconvnet_cli.storage.files import make_folder, refuse_overwriting, write_whole
from deconvnet_cli.storage.remote import as_compared


@click.command("crf", cls=GroupedCommand)
@argument("sources", nargs=-1, required=True, type=PATH)
@option(
    "-o",
    "--output",
    metavar="DIR|FILE",
    help="Folder for the label PNGs, or the file if the scores are those of one photo.",
)
@option(
    "--grid",
    multiple=True,
    metavar="NAME=VALUE,VALUE...",
    help="Evaluate each of these values of a setting, combined with every other --grid; "
    "repeatable. It needs --voc-root.",
)
@option("--voc-root", type=PATH, help="VOC2012/ folder, for --grid.")
@option(
    "--split",
    metavar="NAME",
    help="List in ImageSets/Segmentation/, for --grid: evaluate only its photos. By default, "
    "evaluate all whose scores are in SOURCES.",
)
@option("--rgb", is_flag=True, help="Also read RGB masks, by the colours of the classes or VOC's.")
@crf_option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the CRF; repeatable.",
)
@apply(CRF_BACKEND_OPTION, SYSTEM_OPTION, *ENSEMBLE_OPTIONS, WORKERS_OPTION, *MESSAGE_OPTIONS)
def command(
    sources: tuple[Path, ...],
    output: str | None,
    pairs: tuple[str, ...],
    grid: tuple[str, ...],
    voc_root: Path | None,
    split: str | None,
    rgb: bool,
    crf_backend: str,
    system_name: str | None,
    ensemble: str | None,
    share: float | None,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Refine the scores in SOURCES, folders or files that `batch --save-scores` wrote, and write
    label PNGs to the folder OUTPUT under the same names and paths. With --grid, print the mean IoU
    of each combination of settings instead, and of no CRF. The settings are gaussian_sd,
    gaussian_weight, bilateral_sd, bilateral_colour_sd, bilateral_weight and iterations.
    """
    if bool(grid) == bool(output):
        raise UsageError("give either -o DIR, to write labels, or --grid, to compare settings")
    if grid and voc_root is None:
        raise UsageError("--grid needs the masks: --voc-root DIR")
    if grid:
        refuse_silence(quiet, [as_json], "--json")
    if output and (voc_root is not None or split is not None or rgb):
        raise UsageError("--voc-root, --split and --rgb are only for --grid; leave them out")
    if output == "-":
        raise UsageError("-o -: crf writes files; give -o FILE.png, or a folder: -o DIR/")
    if output and manifests_in(Path(output)):
        raise UsageError(
            f"{output}: has the labels of a batch, which would be replaced; give another folder"
        )

    from deconvnet_cli.data.label_png import label_png
    from deconvnet_cli.evaluation.crf_search import (
        Refinable,
        combinations,
        image_of,
        read_refinable,
        settings_with,
        sweep,
    )
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import at_a_time, one_core_a_photo
    from deconvnet_cli.runtime.ordered_pool import in_order

    base = settings_with(pairs, crf_settings(crf_backend))
    files = stored_files(sources)
    targets = label_files(output, files) if output else {}
    for source, target in targets.items():
        if realpath(target.with_suffix(source.suffix)) == realpath(source):
            raise UsageError(
                f"{target}: lies beside its scores, where the labels without a CRF belong; "
                "give another -o"
            )

    one_core_a_photo()
    workers = at_a_time(workers)

    def read(path: Path, photo: Path | None = None) -> Refinable:
        return read_refinable(path, photo, system_name, ensemble, share)

    if grid:
        from deconvnet_cli.commands.shared import evaluation_tables
        from deconvnet_cli.data.voc import open_tree

        tree = open_tree(voc_root, rgb=rgb)  # type: ignore[arg-type]
        choices = combinations(base, grid, fixed=pairs)
        if split is not None:
            listed = set(tree.names(split))
            files = {path: at for path, at in files.items() if image_of(path, at, tree) in listed}
            if not files:
                raise UsageError(f"--split {split}: none of its photos has scores there")
        with console.progress(quiet) as progress:
            # A step is one choice on one photo: a photo with many choices takes a while.
            advance = console.bar(progress, "crf", len(files) * len(choices))
            ious = sweep(files.items(), choices, read, tree, workers, advance)
        evaluation_tables.sweep(ious, len(files), quiet=quiet, as_json=as_json)
        return
    failed = 0
    written: list[Path] = []

    def refined(path: Path) -> Path:
        found, target = read(path), targets[path]
        refuse_overwriting(found.stored.photo, target)
        labels = found.labels(base)
        make_folder(target.parent)
        write_whole(target, label_png(labels, found.stored.classes))
        return target

    with console.progress(quiet) as progress:
        advance = console.bar(progress, "crf", len(files))
        for path, result in in_order(files, refined, workers):
            try:
                target = result()
            except UsageError:  # of the options, so that other files would fail as well
                raise
            except DeconvnetError as error:
                failed += 1
                console.failure(error)
                if as_json:
                    console.json_line({"scores": str(path), "error": str(error)})
                continue
            finally:
                advance()
            written.append(target)
            if as_json:
                console.json_line({"scores": str(path), "output": str(target)})
    if not quiet:
        console.several_files(written, "refined")
    if failed:
        raise SystemExit(1)


def label_files(output: str, files: dict[Path, Path]) -> dict[Path, Path]:
    """Return the label PNG of each file of stored scores; ``files`` has its path in a folder.

    Raises:
        UsageError: The output is a file, and there are several, or it is no PNG.
    """
    path = Path(output)
    if into_folder(output) or path.suffix.lower() not in KNOWN_SUFFIXES:
        if path.is_file():
            raise UsageError(f"{output}: is a file; give a folder, or a name that ends in .png")
        return {source: path / name.with_suffix(".png") for source, name in files.items()}
    require_suffix(path, "png", "the labels are", ", or a folder: -o DIR/")
    if len(files) > 1:
        raise UsageError(
            f"{output}: {len(files)} files of scores need a folder; write -o {output}/"
        )
    return dict.fromkeys(files, path)


def stored_files(sources: tuple[Path, ...]) -> dict[Path, Path]:
    """Return the files of stored scores, each with the path of its labels in the output folder.

    Raises:
        UsageError: A source has no stored scores, or two files would have the same output.
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
            if as_compared(relative) in outputs:
                raise UsageError(f"{path}: another file has the output {relative} already")
            outputs.add(as_compared(relative))
            files[path] = relative
    return files
