"""``deconvnet weights``: list, show, check, import, average and compress weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import click

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.commands.shared.grouped_help import argument, option
from deconvnet_cli.commands.shared.option_types import FILE, FiniteRange, NewFile
from deconvnet_cli.commands.shared.options import weights_names
from deconvnet_cli.commands.shared.output_options import output_file
from deconvnet_cli.errors import UsageError
from deconvnet_cli.storage.files import refuse_overwriting

WEIGHTS_FILE = ("safetensors", "the weights are")


@click.group("weights")
def command() -> None:
    """List, show, check, import, average and compress weights."""


@command.command("list")
def list_weights() -> None:
    """List the shipped weights with their net, size and metrics."""
    from deconvnet_cli.reporting import console
    from deconvnet_cli.weights.files import read_card
    from deconvnet_cli.weights.shipped import registry, shipped_folder

    rows = []
    for name, entry in registry().items():
        path = shipped_folder() / entry["file"]
        card = read_card(path)
        metrics = ", ".join(f"{key} {value}" for key, value in card.scores.items())
        rows.append((name, card.net, f"{path.stat().st_size / 1e6:.1f} MB", metrics))
    console.table(("name", "net", "size", "metrics"), rows)


@command.command("show")
@argument("weights", metavar="NAME|FILE", shell_complete=weights_names)
def show(weights: str) -> None:
    """Print the card of weights as JSON."""
    from deconvnet_cli.weights.card import plain_values
    from deconvnet_cli.weights.files import read_card
    from deconvnet_cli.weights.shipped import locate

    click.echo(json.dumps(plain_values(read_card(locate(weights))), indent=2))


@command.command("verify")
@argument("weights", metavar="[NAME|FILE]...", nargs=-1, shell_complete=weights_names)
@option("--sha256", "expected", help="SHA-256 that each FILE must have.")
def verify(weights: tuple[str, ...], expected: str | None) -> None:
    """Check the SHA-256 of weights, and that every tensor loads. By default, check all shipped
    weights.
    """
    from deconvnet_cli.reporting import console
    from deconvnet_cli.weights.files import load
    from deconvnet_cli.weights.shipped import check_sha256, registry, weights_sha256

    for name in weights or tuple(registry()):
        path = load(name).path
        if expected is not None:
            check_sha256(path, expected)
        console.result(f"{name}: right, SHA-256 {weights_sha256(path)}")


@command.command("import")
@argument("source", metavar="FILE|URL")
@option(
    "-o",
    "--output",
    type=NewFile(*WEIGHTS_FILE),
    help="Weights file to write.  [default: FILE with .safetensors; for a URL, in this folder]",
)
@option(
    "--net",
    type=click.Choice(NET_NAMES),
    default="deconvnet-vgg16",
    help="Net that the weights are for.",
)
@option(
    "--licence", default="unknown; ask the makers", help="Licence of the weights, for their card."
)
@option(
    "--classes",
    "classes_file",
    type=FILE,
    help="File with the names of the classes, one per line, background first. By default they are "
    "VOC's.",
)
@option("--sha256", "expected", help="SHA-256 that the file must have.")
@option(
    "--max-size",
    "most",
    type=FiniteRange(0, 1e6, min_open=True),
    default=4.0,
    metavar="GB",
    help="Largest download.",
)
@option("--verbose", is_flag=True, help="Print which layer went where, a line each.")
def import_(
    source: str,
    output: Path | None,
    net: str,
    licence: str,
    classes_file: Path | None,
    expected: str | None,
    most: float,
    verbose: bool,
) -> None:
    """Convert a .caffemodel, .pth or .safetensors to a weights file, and print how many of its
    layers are used. Only plain tensors are read from pickled files; no code in them is run. An
    http(s) address is downloaded first; an interrupted download goes on when the command is run
    again.
    """
    from deconvnet_cli.data.classes import read_classes
    from deconvnet_cli.data.voc import CLASSES
    from deconvnet_cli.reporting import console
    from deconvnet_cli.storage.download import is_web_address, name_in
    from deconvnet_cli.weights.importing import import_weights
    from deconvnet_cli.weights.shipped import check_sha256

    classes = CLASSES if classes_file is None else read_classes(classes_file)
    with ExitStack() as stack:
        if is_web_address(source):
            target = output or Path(Path(name_in(source)).stem + ".safetensors")
            path = stack.enter_context(_download(source, target.parent, expected, most))
        else:
            path = Path(source)
            if not path.name:
                raise UsageError(f"{source}: not the name of a file")
            if expected is not None:
                check_sha256(path, expected)
            target = output or path.with_suffix(".safetensors")
        refuse_overwriting(path, target, "the file to import")
        imported = import_weights(path, target, net, licence=licence, classes=classes)
    if verbose:
        rows = [
            (
                row.source,
                " ".join("x".join(map(str, shape)) for shape in row.shapes),
                " ".join(row.targets),
                row.note,
            )
            for row in imported.rows
        ]
        console.table(("in the file", "shapes", "in the net", "note"), rows)
    console.result(f"{net}: {imported.summary}")
    console.result(str(imported.path))


@contextmanager
def _download(address: str, folder: Path, sha256: str | None, gigabytes: float) -> Iterator[Path]:
    """Yield the downloaded file, with a progress bar on a terminal."""
    from deconvnet_cli.reporting import console
    from deconvnet_cli.storage.download import downloaded

    with console.bytes_progress() as bar:
        task = bar.add_task("downloading", total=None)
        arriving = downloaded(
            address,
            folder,
            sha256=sha256,
            most_bytes=int(gigabytes * 1e9),
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
        with arriving as path:
            bar.stop()
            yield path


@command.command("average")
@argument("first", metavar="FIRST", shell_complete=weights_names)
@argument("second", metavar="SECOND", shell_complete=weights_names)
@output_file("Weights file to write.", *WEIGHTS_FILE)
@option("--share", type=FiniteRange(0, 1), default=0.5, help="Share of SECOND in the mean.")
def average_(first: str, second: str, share: float, output: Path) -> None:
    """Average the weights FIRST and SECOND, for example of a net before and after further training.
    If SECOND is another net with the same encoder, encoder and head are averaged and the rest is
    taken from FIRST.
    """
    from deconvnet_cli.data.classes import first_difference
    from deconvnet_cli.reporting import console
    from deconvnet_cli.weights.average import average
    from deconvnet_cli.weights.files import load, store
    from deconvnet_cli.weights.shipped import weights_sha256

    one, other = load(first), load(second)
    for path in (one.path, other.path):
        refuse_overwriting(path, output, "one of the weights to average")
    if one.card.classes != other.card.classes:
        raise UsageError(
            f"{first} and {second} have different classes: "
            f"{first_difference(one.card.classes, other.card.classes)}"
        )
    average(one.net, other.net, share)
    provenance = (
        f"{1 - share:g} of {one.path.name} ({one.card.provenance}), {share:g} of "
        f"{other.path.name}, SHA-256 {weights_sha256(other.path)} ({other.card.provenance})"
    )
    licence = "; ".join(dict.fromkeys((one.card.licence, other.card.licence)))
    card = replace(one.card, provenance=provenance, licence=licence, scores={})
    store(output, one.net, card)
    console.result(str(output))


@command.command("compress")
@argument("weights", metavar="NAME|FILE", shell_complete=weights_names)
@output_file("Weights file to write.", *WEIGHTS_FILE)
def compress(weights: str, output: Path) -> None:
    """Store weights in 8 bits, with a scale for each output channel: half the size of the usual
    half precision. Every command reads such files like others. Score them again with `deconvnet
    evaluate`, since rounding changes some labels.
    """
    from deconvnet_cli.reporting import console
    from deconvnet_cli.weights.files import load, store

    loaded = load(weights)
    refuse_overwriting(loaded.path, output, "the weights to compress")
    provenance = f"{loaded.card.provenance}; kernels in 8 bits"
    card = replace(loaded.card, provenance=provenance, scores={})
    store(output, loaded.net, card, eight_bit=True)
    console.result(str(output))
