"""The engines that run a batch: processes of this machine, with a GPU or without, or Ray."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:  # torch comes with these, and the command's --help has to be quick
    from deconvnet_cli.batch.run import Engine
    from deconvnet_cli.batch.spec import BatchInfo, BatchSpec

LOCAL, RAY = "local", "ray"


@contextmanager
def open_engine(
    name: str,
    ray_address: str | None,
    nets_per_gpu: int | None,
    spec: BatchSpec,
    workers: int | None,
    device: str,
) -> Iterator[tuple[BatchInfo, Engine]]:
    """Yield what is known of the batch once its system is loaded, and the engine that runs jobs.

    Raises:
        DeconvnetError: See :func:`deconvnet_cli.batch.ray.cluster.connected` and ``load_system``.
        DeviceError: This machine has no such device.
    """
    if name == RAY:
        from deconvnet_cli.batch.ray.cluster import connected
        from deconvnet_cli.batch.ray.engine import ray_engine, survey_cluster

        with connected(ray_address, device, nets_per_gpu or 1) as cluster:
            info = survey_cluster(spec, cluster)
            yield info, ray_engine(info, cluster)
        return
    from deconvnet_cli.batch.spec import batch_info
    from deconvnet_cli.runtime.cores import cores
    from deconvnet_cli.runtime.devices import at_a_time, choose_device

    kind = choose_device(device).type
    if kind == "cuda":  # its nets have processes of their own
        from deconvnet_cli.batch.gpu.engine import NETS, gpu_engine

        with gpu_engine(spec, workers or cores(), nets_per_gpu or NETS) as opened:
            yield opened
    elif nets_per_gpu is not None:
        raise UsageError(f"--nets-per-gpu is for GPUs with CUDA or --engine ray; this is {kind}")
    else:
        info = batch_info(spec, *spec.load())
        yield info, local_engine(info, at_a_time(workers))


def local_engine(info: BatchInfo, workers: int) -> Engine:
    """Return an engine that runs jobs in worker processes on this machine."""
    from deconvnet_cli.batch.photo import start_worker
    from deconvnet_cli.runtime.workers import side_by_side

    return lambda jobs, stop: side_by_side(jobs, partial(start_worker, info), workers, stop)
