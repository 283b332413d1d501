"""``deconvnet soft-labels``: a teacher's probabilities for each pixel, for ``train --teacher``."""

from __future__ import annotations

from pathlib import Path

import click

from deconvnet_cli.commands.shared.grouped_help import GroupedCommand, argument, option
from deconvnet_cli.commands.shared.option_types import PATH
from deconvnet_cli.commands.shared.options import (
    MAX_PIXELS_OPTION,
    QUIET_OPTION,
    apply,
    check_backend,
    segment_options,
)
from deconvnet_cli.errors import ImageError, UsageError
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.settings import SegmentOptions


@click.command("soft-labels", cls=GroupedCommand, common=("voc_root", "lists", "out", "weights"))
@argument("photos", nargs=-1, type=PATH)
@option("--voc-root", type=PATH, help="VOC2012/ folder.")
@option(
    "--split", "--list", "lists", multiple=True, help="List in ImageSets/Segmentation/; repeatable."
)
@option("-o", "--out", required=True, type=PATH, help="Folder for the soft labels.")
@apply(MAX_PIXELS_OPTION, QUIET_OPTION)
@segment_options
def command(
    photos: tuple[Path, ...],
    voc_root: Path | None,
    lists: tuple[str, ...],
    out: Path,
    max_pixels: int,
    quiet: bool,
    options: SegmentOptions,
) -> None:
    """Write the probabilities that `segment` finds, with the same options, in each of PHOTOS, or
    in lists of a VOC tree, to OUT/NAME.npz. They are the soft labels of `train --teacher`. Photos
    whose file is in OUT already are left out, unless it is damaged. A photo that cannot be read is
    reported, and the exit code is 1.
    """
    check_backend(options)
    in_tree = bool(voc_root) + bool(lists)
    if in_tree != (0 if photos else 2):
        raise UsageError("give either photos, or --voc-root and at least one --split")

    from deconvnet_cli.batch.spec import fingerprint_of
    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.data.objects import list_names
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.reporting import console
    from deconvnet_cli.runtime.devices import bound_memory
    from deconvnet_cli.segmentation.segment import segment
    from deconvnet_cli.storage.files import make_folder
    from deconvnet_cli.storage.remote import as_compared
    from deconvnet_cli.training.soft_labels import (
        SoftLabels,
        on_grid,
        soft_path,
        to_make,
        write_soft,
    )

    if voc_root is not None:
        tree = open_tree(voc_root)
        sources = {name: tree.image(name) for name in list_names(tree, lists)}
    else:
        sources = {photo.stem: photo for photo in photos}
        if len({as_compared(Path(name)) for name in sources}) < len(photos):
            raise UsageError("two photos have the same name; their soft labels would collide")
    bound_memory()
    system, settings = load_system(options)
    fingerprint = fingerprint_of(system, settings)
    teacher = "".join([*fingerprint.weights.values(), fingerprint.settings])
    make_folder(out)
    names = list(to_make(out, list(sources), teacher))
    written = []
    with console.progress(quiet) as progress:
        for name in progress.track(names, description="soft labels"):
            try:
                photo = read_photo(sources[name], max_pixels=max_pixels)
            except ImageError as error:
                console.failure(error)
                continue
            probabilities = segment(photo, system, settings).maps.probabilities()
            path = soft_path(out, name)
            found = SoftLabels(on_grid(probabilities, *photo.size), teacher, system.classes)
            write_soft(path, found)
            written.append(path)
    if not quiet:
        console.several_files(written, "written")
        if there := len(sources) - len(names):
            console.say(f"{out}: {there} there already")
    if len(written) < len(names):
        raise SystemExit(1)
