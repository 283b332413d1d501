"""``deconvnet dataset``: convert exports of other tools to VOC trees, and check trees."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deconvnet_cli.choices import EXPORT_KINDS
from deconvnet_cli.commands.shared.grouped_help import argument, option
from deconvnet_cli.commands.shared.option_types import FILE, FOLDER, PATH, FiniteRange, NewFile
from deconvnet_cli.commands.shared.options import refuse_given
from deconvnet_cli.reporting.numerals import counted

if TYPE_CHECKING:
    from deconvnet_cli.datasets.survey import Survey


@click.group("dataset")
def command() -> None:
    """Convert an export of another tool to a VOC tree, and check a tree before training."""


@command.command("import")
@argument("source", type=PATH)
@option(
    "-o",
    "--output",
    "tree",
    required=True,
    type=FOLDER,
    help="Folder for the VOC tree; it must be new or empty.",
)
@option(
    "--kind",
    type=click.Choice(EXPORT_KINDS),
    default="auto",
    help="Format of SOURCE. auto: find out.",
)
@option(
    "--photos", type=FOLDER, help="Folder of the photos, if they are not beside the annotations."
)
@option("--colours", type=FILE, help="Colour table of RGB masks: lines such as cat 64 0 0.")
@option(
    "--classes",
    "classes_file",
    type=FILE,
    help="File with the classes to take, one name per line, in the order of their labels. Other "
    "classes become background.",
)
@option(
    "--val-share",
    type=FiniteRange(0, 1, max_open=True),
    default=0.2,
    help="Share of the photos that go to val.txt, unless SOURCE has its own splits.",
)
@option("--seed", type=int, default=0, help="Seed of that split.")
@option("--quiet", is_flag=True, help="Print no progress and no summary.")
def import_command(
    source: Path,
    tree: Path,
    kind: str,
    photos: Path | None,
    colours: Path | None,
    classes_file: Path | None,
    val_share: float,
    seed: int,
    quiet: bool,
) -> None:
    """Write SOURCE as a VOC tree: photos, label PNGs, objects, train.txt and val.txt, classes.txt.

    SOURCE is a COCO JSON file (polygons or run lengths) or a folder with one for each split, a
    folder of LabelMe JSON files, CVAT's "Segmentation mask" export, Roboflow's semantic masks,
    YOLO's segmentation texts with data.yaml, a folder of RGB masks with a colour table, or a folder
    of grey masks, whose values 1, 2 ... are those of --classes, or with --kind objects the numbers
    of objects of one class. A photo that cannot be used is reported and left out, and the exit
    code is 1.
    """
    from deconvnet_cli.data.classes import listed, read_classes
    from deconvnet_cli.data.faults import first_names
    from deconvnet_cli.datasets.opening import open_export
    from deconvnet_cli.datasets.tree import write_tree
    from deconvnet_cli.errors import DatasetError, DeconvnetError
    from deconvnet_cli.reporting import console

    wanted = None if classes_file is None else read_classes(classes_file)[1:]
    with console.stages(quiet) as on_step:
        on_step(f"reading {source}", 0, 0)
        export = open_export(source, kind, photos, colours, wanted)
    if export.splits:
        refuse_given(("val_share", "seed"), f"{source} has its own splits")
    failures: list[DeconvnetError] = []
    notes: list[str] = []

    def on_failure(error: DeconvnetError) -> None:
        failures.append(error)
        console.failure(error)

    with console.progress(quiet) as progress:
        advance = console.bar(progress, "import", len(export.names))
        names = write_tree(export, tree, val_share, seed, advance, on_failure, notes.append)
    unmasked = len(export.unmasked)
    if unmasked:
        which = first_names([str(path) for path in export.unmasked])
        console.failure(
            DatasetError(f"{counted(unmasked, 'photo')} without a mask left out: {which}")
        )
    if not quiet:
        for note in (*export.notes, *notes):
            console.say(note)
        made = counted(len(names), "photo")
        console.say(f"{tree}: {made} from {export.kind}, {len(failures) + unmasked} left out")
        console.say(f"classes: {listed(export.classes)}")
    if failures or unmasked:
        raise SystemExit(1)


@command.command("check")
@argument("folder", metavar="TREE", type=FOLDER)
@option(
    "--sheet",
    type=NewFile("png", "the sheet is"),
    help="Write a PNG of photos with their masks to this file.",
)
@option("--rgb", is_flag=True, help="Also read RGB masks, by the colours of the classes or VOC's.")
@option("--quiet", is_flag=True, help="Print no progress.")
@option("--json", "as_json", is_flag=True, help="Print one JSON line instead of tables.")
def check_command(folder: Path, sheet: Path | None, rgb: bool, quiet: bool, as_json: bool) -> None:
    """Print the photos, objects and pixels of each class in TREE, the sizes, and all problems.

    The exit code is 1 if something must be fixed before training.
    """
    from deconvnet_cli.data.images import png_bytes
    from deconvnet_cli.data.voc import open_tree
    from deconvnet_cli.datasets.contact_sheet import contact_sheet
    from deconvnet_cli.datasets.survey import survey_tree
    from deconvnet_cli.reporting import console
    from deconvnet_cli.storage.files import write_whole

    tree = open_tree(folder, rgb=rgb)
    with console.progress(quiet) as progress:
        survey = survey_tree(tree, console.bar(progress, "check", None))
    if as_json:
        console.json_line(survey_line(survey))
    else:
        survey_tables(survey)
    if sheet is not None:
        picture = contact_sheet(tree, survey.names)
        write_whole(sheet, png_bytes(picture, photo=True))
    if survey.problems:
        raise SystemExit(1)


def survey_tables(survey: Survey) -> None:
    """Print the classes, the sizes and lists, and what is wrong, on standard output."""
    from deconvnet_cli.reporting import console

    total = max(1, survey.total_pixels)
    rows = [
        [
            name,
            str(count.photos),
            str(count.objects) if label else "",
            str(count.pixels),
            f"{count.pixels / total:.1%}",
        ]
        for label, (name, count) in enumerate(zip(survey.classes, survey.counts, strict=True))
    ]
    console.table(["class", "photos", "objects", "pixels", "share"], rows, numbers=True)
    facts = [["photos", str(len(survey.sizes))]]
    if survey.sizes:
        longest = sorted(max(size) for size in survey.sizes)
        middle = longest[len(longest) // 2]
        facts.append(["longer side", f"{longest[0]} to {longest[-1]} pixels, median {middle}"])
    facts += [[f"{split}.txt", counted(count, "name")] for split, count in survey.lists.items()]
    facts += [["note", remark] for remark in survey.remarks]
    facts += [["PROBLEM", problem] for problem in survey.problems]
    console.table(["", ""], facts)


def survey_line(survey: Survey) -> dict[str, Any]:
    """Return the survey as plain values for one JSON line."""
    return {
        "classes": dict(zip(survey.classes, map(asdict, survey.counts), strict=True)),
        "photos": len(survey.sizes),
        "lists": survey.lists,
        "problems": survey.problems,
        "remarks": survey.remarks,
    }
