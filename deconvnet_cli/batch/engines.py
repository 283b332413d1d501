"""Where the photos of a batch are worked on: worker processes of this machine, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.run import Engine
from deconvnet_cli.batch.spec import BatchSpec, Fingerprint, SystemInfo
from deconvnet_cli.errors import DeconvnetError

LOCAL, RAY = "local", "ray"


@contextmanager
def engine_of(
    engine: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    spec: BatchSpec,
    workers: int | None,
    device: str,
) -> Iterator[tuple[SystemInfo, Engine]]:
    """What there is to know of the nets, and what does the jobs, until the end.

    Raises:
        DeconvnetError: see :func:`deconvnet_cli.batch.ray.cluster.connected` and ``load_system``.
    """
    from deconvnet_cli.batch.spec import system_info
    from deconvnet_cli.runtime.devices import at_a_time

    if engine == LOCAL:
        info = system_info(spec, *spec.load())
        yield info, local_engine(spec, info.fingerprint, at_a_time(workers))
        return
    from deconvnet_cli.batch.ray.cluster import connected
    from deconvnet_cli.batch.ray.engine import ray_engine, survey_cluster

    with connected(ray_address, device, nets_per_gpu or 1) as cluster:
        info = survey_cluster(spec, cluster)
        yield info, ray_engine(spec, info, cluster)


def local_engine(spec: BatchSpec, known: Fingerprint, workers: int) -> Engine:
    """Worker processes on this machine."""

    def engine(
        jobs: Iterable[Job | None], stop: Callable[[], bool]
    ) -> Iterator[tuple[Job, Entry | DeconvnetError]]:
        from deconvnet_cli.batch.photo import begin
        from deconvnet_cli.runtime.workers import side_by_side

        return side_by_side(jobs, partial(begin, spec, known), workers, stop)

    return engine
