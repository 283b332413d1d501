"""The options that several commands share. Their defaults stand in ``segmentation.settings``."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import fields
from functools import wraps
from importlib import resources
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from deconvnet_cli.choices import BACKENDS, ENSEMBLES, MAX_PIXELS, MERGES, PRECISIONS, SYSTEMS
from deconvnet_cli.commands.shared.grouped_help import (
    box_option,
    crf_option,
    file_option,
    machine_option,
    message_option,
    net_option,
)
from deconvnet_cli.commands.shared.option_types import Edges, FiniteRange, Proposals
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.settings import SegmentOptions

F = TypeVar("F", bound=Callable[..., Any])
LOADING = "loading the net"  # the first stage that progress displays show


def weights_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of shipped weights that a shell may complete. Does not import torch."""
    text = (resources.files("deconvnet_weights") / "registry.json").read_text()
    return [name for name in json.loads(text) if name.startswith(incomplete)]


SYSTEM_OPTION = net_option(
    "--net",
    "system_name",
    type=click.Choice(SYSTEMS),
    help="Run DeconvNet, FCN-8s, or both together (EDeconvNet). By default the weights decide.",
)
ENSEMBLE_OPTIONS = (
    net_option(
        "--ensemble",
        type=click.Choice(ENSEMBLES),
        help="How to combine both nets. By default the weights of FCN-8s decide.",
    ),
    net_option(
        "--share",
        type=FiniteRange(0, 1),
        help="Share of FCN-8s in the mean. By default its weights decide (0.5 in the paper).",
    ),
)
SEARCH_OPTIONS = (
    box_option(
        "--candidates",
        type=click.IntRange(1),
        default=SegmentOptions.candidates,
        help="Number of boxes to ask EdgeBoxes for.",
    ),
    box_option(
        "--edges",
        type=Edges(),
        metavar="gradient|structured:FILE",
        default=SegmentOptions.edges,
        help="Edges that EdgeBoxes works on. structured needs OpenCV's model file.",
    ),
)
CRF_BACKEND_OPTION = crf_option(
    "--crf-backend",
    type=click.Choice(BACKENDS),
    default=SegmentOptions.crf_backend,
    help="Compute the CRF with this tool, or with the optional package pydensecrf2.",
)
DEVICE_OPTION = machine_option(
    "--device",
    default=SegmentOptions.device,
    metavar="auto|cpu|cuda|cuda:N|mps",
    help="Device that runs the nets. auto: a GPU with CUDA if there is one, or the CPU.",
)
SEGMENT_OPTIONS = (
    SYSTEM_OPTION,
    net_option(
        "--weights",
        default=SegmentOptions.weights,
        metavar="NAME|FILE",
        shell_complete=weights_names,
        help="Weights that ship, by name, or a safetensors file.",
    ),
    net_option(
        "--fcn-weights",
        default=SegmentOptions.fcn_weights,
        metavar="NAME|FILE",
        shell_complete=weights_names,
        help="Weights of FCN-8s, for --net edeconvnet and --net fcn8s.",
    ),
    *ENSEMBLE_OPTIONS,
    net_option(
        "--rule",
        "merge_rule",
        type=click.Choice(MERGES),
        help="How to merge overlapping crops. max: by the greatest logit, as in the paper, but "
        "like context-max for nets that see the whole photo in its own shape, as the default does; "
        "max-probability, mean-probability: by the greatest or the mean probability; context-max, "
        "context: the same, each together with the probability in the whole photo. By default the "
        "weights decide.",
    ),
    box_option(
        "--proposals",
        type=Proposals(),
        metavar="N|auto",
        help="Number of boxes to segment, the whole photo included (50 in the paper). auto: the "
        "weights' number, without boxes that would hardly change the labels. By default auto with "
        "--rule context and context-max, and otherwise the weights' number.",
    ),
    *SEARCH_OPTIONS,
    crf_option(
        "--crf/--no-crf",
        default=SegmentOptions.crf,
        help="Move the borders of the labels to edges in the photo, with a dense CRF.",
    ),
    CRF_BACKEND_OPTION,
    DEVICE_OPTION,
    machine_option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default=SegmentOptions.precision,
        help="Number format of the nets. auto: the fastest one that suits the device.",
    ),
    machine_option(
        "--batch-size",
        type=click.IntRange(1),
        help="Number of crops in a forward pass.  [default: 2 on a CPU, 8 elsewhere]",
    ),
)
MAX_PIXELS_OPTION = file_option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    help="Refuse a photo whose width times height is more than N, before it is decoded.",
)
PAGE_OPTION = file_option(
    "--page",
    type=click.IntRange(1),
    help="Read page or frame N of a file that has several, such as a TIFF or an animated GIF.  "
    "[default: 1]",
)
READING_OPTIONS = (PAGE_OPTION, MAX_PIXELS_OPTION)
WORKERS_OPTION = machine_option(
    "--workers",
    type=click.IntRange(1),
    help="Number of photos to work on at a time, each on one core if on a CPU. The results are the "
    "same.  [default: cores, at most 8]",
)
SHARD_OPTION = machine_option(
    "--shard",
    metavar="I/N|auto",
    help="Take only the I-th of N parts of the photos. auto: I and N come from SLURM's array, or "
    "from RANK and WORLD_SIZE.",
)
RGB_OPTION = file_option(
    "--rgb", is_flag=True, help="Also read RGB masks, by the colours of the classes or VOC's."
)
QUIET_OPTION = message_option("--quiet", is_flag=True, help="Print no progress, summary or table.")
JSON_OPTION = message_option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON lines on standard output, and everything else on standard error.",
)
MESSAGE_OPTIONS = (QUIET_OPTION, JSON_OPTION)


def apply(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return one decorator for several options, listed in help in this order."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


def segment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``SEGMENT_OPTIONS`` to a command, which gets them as its argument ``options``."""

    @wraps(function)
    def command(*arguments: Any, **values: Any) -> Any:
        options = SegmentOptions(
            **{field.name: values.pop(field.name) for field in fields(SegmentOptions)}
        )
        return function(*arguments, options=options, **values)

    return apply(*SEGMENT_OPTIONS)(command)


def check_backend(options: SegmentOptions) -> None:
    """Raise UsageError if a backend of the CRF is given, and no CRF."""
    if not options.crf:
        refuse_given(("crf_backend",), "without --crf there is no CRF")


def refuse_given(names: Collection[str], why: str) -> None:
    """Raise UsageError if one of these parameters was given on the command line.

    The error begins with ``why``, and says to leave out that option.
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise UsageError(f"{why}; leave out {parameter.opts[-1]}")


def refuse_others(kept: Collection[str], why: str) -> None:
    """Raise UsageError if another option than these was given, see :func:`refuse_given`."""
    refuse_given(click.get_current_context().params.keys() - kept, why)


def refuse_silence(quiet: bool, given: Collection[object], options: str) -> None:
    """Raise UsageError if --quiet leaves out all: no ``options`` besides the table are given."""
    if quiet and not any(given):
        raise UsageError(f"--quiet leaves out the table, and so all results; give {options} too")
