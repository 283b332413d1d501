"""``deconvnet soft-labels``: a teacher's probabilities for each pixel, for ``train --teacher``."""

from __future__ import annotations

from pathlib import Path

import click

from deconvnet_cli.commands.shared.grouped_help import argument, option
from deconvnet_cli.commands.shared.options import QUIET_OPTION, apply
from deconvnet_cli.errors import ImageError, UsageError


@click.command("soft-labels")
@argument("photos", nargs=-1, type=click.Path(path_type=Path))
@option("--voc-root", type=click.Path(path_type=Path), help="VOC2012/ folder.")
@option(
    "--split",
    "--list",
    "lists",
    multiple=True,
    help="List in ImageSets/Segmentation/; repeatable.",
)
@option(
    "--weights",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Weights of the teacher: folded MobileNetV2 + DeepLabv3 head (safetensors).",
)
@option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder for the soft labels.",
)
@apply(QUIET_OPTION)
def command(
    photos: tuple[Path, ...],
    voc_root: Path | None,
    lists: tuple[str, ...],
    weights: Path,
    out: Path,
    quiet: bool,
) -> None:
    """Write the teacher's probabilities for each of PHOTOS, or for lists of a VOC tree, to
    OUT/NAME.npz. Photos whose file is in OUT already are left out, unless it is damaged. A photo
    that cannot be read is reported, and the exit code is 1.
    """
    in_tree = bool(voc_root) + bool(lists)
    if in_tree != (0 if photos else 2):
        raise UsageError("give either photos, or --voc-root and at least one --split")

    from deconvnet_cli.data.images import read_photo
    from deconvnet_cli.data.objects import list_names
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.nets.registry import net_spec
    from deconvnet_cli.reporting import console
    from deconvnet_cli.storage.files import make_folder
    from deconvnet_cli.storage.hashing import file_sha256
    from deconvnet_cli.training.soft_labels import (
        load_teacher,
        soft_labels,
        soft_path,
        to_make,
        write_soft,
    )

    if voc_root is not None:
        tree = open_tree(voc_root)
        sources = {name: tree.image(name) for name in list_names(tree, lists)}
    else:
        sources = {photo.stem: photo for photo in photos}
        if len(sources) < len(photos):
            raise UsageError("two photos have the same name; their soft labels would collide")
    net = load_teacher(weights)
    convention = net_spec("deconvnet-mobilenet").input
    teacher = file_sha256(weights)
    make_folder(out)
    names = list(to_make(out, list(sources), teacher))
    written = []
    with console.progress(quiet) as progress:
        for name in progress.track(names, description="soft labels"):
            try:
                photo = read_photo(sources[name])
            except ImageError as error:
                console.failure(error)
                continue
            write_soft(soft_path(out, name), soft_labels(net, convention, photo), teacher)
            written.append(soft_path(out, name))
    if not quiet:
        console.several_files(written, "written")
        if there := len(sources) - len(names):
            console.say(f"{out}: {there} there already")
    if len(written) < len(names):
        raise SystemExit(1)
