"""The options that say where the photos of a batch are worked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    from deconvnet_cli.batch_run import Engine
    from deconvnet_cli.labelling import Facts, Labelling

LOCAL, RAY = "local", "ray"
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


@contextmanager
def engine_of(
    engine: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    labelling: Labelling,
    workers: int | None,
    device: str,
) -> Iterator[tuple[Facts, Engine]]:
    """What there is to know of the nets, and what does the jobs, until the end.

    Raises:
        DeconvnetError: see :func:`deconvnet_cli.ray_cluster.connected` and ``prepare``.
    """
    from deconvnet_cli.batch_run import local_engine
    from deconvnet_cli.devices import at_a_time
    from deconvnet_cli.labelling import facts_of

    if engine == LOCAL:
        facts = facts_of(labelling, *labelling.load())
        yield facts, local_engine(labelling, facts.recipe, at_a_time(workers))
        return
    from deconvnet_cli.ray_cluster import connected
    from deconvnet_cli.ray_engine import ray_engine, survey_cluster

    with connected(ray_address, device, nets_per_gpu or 1) as cluster:
        facts = survey_cluster(labelling, cluster)
        yield facts, ray_engine(labelling, facts, cluster)
