"""The options that say where the photos of a batch are worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from deconvnet_cli.batch.engines import LOCAL, RAY
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    pass

ENGINE = (
    click.option(
        "--engine",
        type=click.Choice((LOCAL, RAY)),
        default=LOCAL,
        show_default=True,
        help="Worker processes of this machine, or a Ray cluster (extra ray).",
    ),
    click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Head of the Ray cluster.  [default: RAY_ADDRESS, or a new one on this machine]",
    ),
    click.option(
        "--nets-per-gpu",
        type=click.IntRange(1),
        help="Actors with a net that share a GPU of the Ray cluster.  [default: 1]",
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
        raise UsageError("--workers and --watch are for --engine local; Ray takes all that it has")
    if engine == LOCAL and (ray_address is not None or nets_per_gpu is not None):
        raise UsageError("--ray-address and --nets-per-gpu go with --engine ray")
