"""The options that say which machines work on the photos of a batch."""

from __future__ import annotations

import click

from deconvnet_cli.batch.engines import LOCAL, RAY
from deconvnet_cli.commands.shared.grouped_help import MACHINE, option
from deconvnet_cli.errors import UsageError

ENGINE_OPTIONS = (
    option(
        "--engine",
        type=click.Choice((LOCAL, RAY)),
        default=LOCAL,
        show_default=True,
        group=MACHINE,
        help="Use worker processes of this machine, or a Ray cluster (extra ray).",
    ),
    option(
        "--ray-address",
        metavar="HOST:PORT",
        group=MACHINE,
        help="Head of the Ray cluster.  [default: RAY_ADDRESS, or a new one on this machine]",
    ),
    option(
        "--nets-per-gpu",
        type=click.IntRange(1),
        group=MACHINE,
        help="Number of processes with nets that share a GPU.  [default: 2; with Ray 1]",
    ),
)


def check_engine(
    engine: str,
    ray_address: str | None,
    workers: int | None,
    watch: bool,
) -> None:
    """Raise UsageError if options do not fit the engine."""
    if engine == RAY and (workers is not None or watch):
        raise UsageError("--workers and --watch are for --engine local; Ray uses its whole cluster")
    if engine == LOCAL and ray_address is not None:
        raise UsageError("--ray-address goes with --engine ray")
