"""The options that several commands share; ``configure`` says what they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from deconvnet_cli.choices import (
    BACKENDS,
    DEFAULT,
    ENSEMBLES,
    FCN_DEFAULT,
    MERGES,
    PRECISIONS,
    SYSTEMS,
)
from deconvnet_cli.errors import UsageError
from deconvnet_cli.storage.remote import RemotePath, place

F = TypeVar("F", bound=Callable[..., Any])


class Edges(click.ParamType[str]):
    """``gradient`` or ``structured:FILE``."""

    name = "gradient|structured:FILE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        kind, _, file = value.partition(":")
        if value == "gradient" or (kind == "structured" and file):
            return value
        self.fail(f"{value!r} is neither 'gradient' nor 'structured:FILE'")


class FolderOrUrl(click.Path):
    """A folder, or a URL such as ``s3://bucket/labels``."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = place(value) if isinstance(value, str) else value
        return path if isinstance(path, RemotePath) else super().convert(str(path), param, ctx)


class Proposals(click.ParamType[int]):
    """A number of boxes, or ``auto``, which is 0."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if value == "auto":
            return 0
        return click.IntRange(1).convert(value, param, ctx)


def weights_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of shipped weights, for a shell that completes; without torch."""
    text = (resources.files("deconvnet_weights") / "registry.json").read_text()
    return [name for name in json.loads(text) if name.startswith(incomplete)]


PROPOSALS = (
    click.option(
        "--proposals",
        type=Proposals(),
        metavar="N|auto",
        help="Boxes that are segmented, the whole photo among them; the weights say how many by "
        "default (50 in the paper). auto: no more of them once they hardly change a label.",
    ),
    click.option(
        "--candidates",
        type=click.IntRange(1),
        default=2000,
        show_default=True,
        help="Boxes that EdgeBoxes is asked for.",
    ),
    click.option(
        "--edges",
        type=Edges(),
        metavar="gradient|structured:FILE",
        default="gradient",
        show_default=True,
        help="Where EdgeBoxes gets its edges; structured needs OpenCV's model file.",
    ),
)
ENSEMBLE = (
    click.option(
        "--net",
        "system_name",
        type=click.Choice(SYSTEMS),
        help="DeconvNet, FCN-8s, or both together; by default what the weights are of.",
    ),
    click.option(
        "--ensemble",
        type=click.Choice(ENSEMBLES),
        help="How both are put together; the weights of FCN-8s say how by default.",
    ),
    click.option(
        "--share",
        type=click.FloatRange(0, 1),
        help="FCN-8s' weight in the mean; by default what its weights say (0.5 in the paper).",
    ),
)
CRF_BACKEND = click.option(
    "--crf-backend",
    type=click.Choice(BACKENDS),
    default=BACKENDS[0],
    show_default=True,
    help="Who computes the CRF: this tool, or the optional package pydensecrf2.",
)
SEGMENTING = (
    click.option(
        "--weights",
        default=DEFAULT,
        show_default=True,
        metavar="NAME|FILE",
        shell_complete=weights_names,
        help="Shipped weights by name, or a safetensors file.",
    ),
    click.option(
        "--fcn-weights",
        default=FCN_DEFAULT,
        show_default=True,
        metavar="NAME|FILE",
        shell_complete=weights_names,
        help="The same of FCN-8s, for --net edeconvnet and fcn8s.",
    ),
    *ENSEMBLE,
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N|mps"),
    click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=PRECISIONS[0],
        show_default=True,
    ),
    *PROPOSALS,
    click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True),
    click.option(
        "--rule",
        type=click.Choice(MERGES),
        help="How overlapping crops are merged; the weights say which by default.",
    ),
    click.option("--crf/--no-crf", default=False, show_default=True, help="Refine by a dense CRF."),
    CRF_BACKEND,
)
MAX_PIXELS = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=200_000_000,
    show_default=True,
    metavar="N",
    help="Width times height that a photo may have; a larger one is refused before it is decoded.",
)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1),
    help="Photos worked on at a time, on a CPU with one core each; results do not depend on it.  "
    "[default: cores, at most 8]",
)
SHARD = click.option(
    "--shard",
    metavar="I/N|auto",
    help="Only every N-th image, from the I-th on; auto: as SLURM's array or RANK and WORLD_SIZE "
    "say.",
)
QUIET = click.option("--quiet", is_flag=True, help="No progress and no summary.")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON line an image on stdout.")


def apply(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator for several options, listed in help in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def refuse_given(context: click.Context, names: Collection[str], why: str) -> None:
    """Raise UsageError if one of these options, by its parameter's name, was given all the same.

    Args:
        why: nothing would come of it, as a sentence to which "leave out --it" is added.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise UsageError(f"{why}; leave out {parameter.opts[-1]}")


def refuse_overwriting(source: Path, target: Path, what: str = "the photo itself") -> None:
    """Raise UsageError if the output would take the place of the input, which is ``what``."""
    if source.exists() and target.exists() and source.samefile(target):
        raise UsageError(f"{target}: is {what}; give another output with -o")
