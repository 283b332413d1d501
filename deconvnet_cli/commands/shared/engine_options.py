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
        help="Number of Ray actors, each with a net, that share a GPU.  [default: 1]",
    ),
)


def check_engine(
    engine: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    workers: int | None,
    watch: bool,
) -> None:
    """Raise UsageError if options do not fit the engine."""
    if engine == RAY and (workers is not None or watch):
        raise UsageError("--workers and --watch are for --engine local; Ray uses its whole cluster")
    if engine == LOCAL and (ray_address is not None or nets_per_gpu is not None):
        raise UsageError("--ray-address and --nets-per-gpu go with --engine ray")
