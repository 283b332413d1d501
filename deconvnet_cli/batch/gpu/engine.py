"""The engine of a batch on a GPU of this machine.

Few processes own the nets (``net_process.py``). The workers, one for each core, hold none: they
read photos, find boxes and write files (``client.py``), so that the GPU is given the next photos
while others are read and written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from deconvnet_cli.batch.gpu.client import start_client
from deconvnet_cli.batch.gpu.net_process import start_nets
from deconvnet_cli.batch.run import Engine
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec
from deconvnet_cli.errors import CrashError
from deconvnet_cli.runtime.worker_process import BROKEN, DIED, READY, Task, Worker, end_all
from deconvnet_cli.runtime.workers import side_by_side

NETS = 2  # processes that own a GPU: while one waits for an answer, the other computes


@contextmanager
def gpu_engine(spec: BatchSpec, workers: int, nets: int) -> Iterator[tuple[BatchInfo, Engine]]:
    """Start the processes that own the nets; yield what is known of the batch and the engine.

    Args:
        spec: What is made of each photo; its system is loaded in the net processes alone.
        workers: The number of processes that read photos and write files.
        nets: The number of processes that own the nets.

    Raises:
        DeconvnetError: The system cannot be loaded.
        CrashError: A net process ends before it has loaded the system.
    """
    team: list[Worker[None, tuple[BatchInfo, object]]] = []
    try:
        for _ in range(nets):
            team.append(started(spec))
        told = [told_by(worker) for worker in team]
        info = told[0][0]
        begin = partial(start_client, info, [address for _, address in told])
        yield info, lambda jobs, stop: side_by_side(jobs, begin, workers, stop)
    finally:
        end_all(team)


def started(spec: BatchSpec) -> Worker[None, tuple[BatchInfo, object]]:
    """Start a process that loads the system."""
    try:
        return Worker(partial(start_nets, spec))
    except (OSError, EOFError) as error:
        raise CrashError(
            f"no process could be made for the nets ({error or 'no answer'}); "
            "end other programs, or give a smaller --nets-per-gpu"
        ) from error


def told_by(worker: Worker[None, tuple[BatchInfo, object]]) -> tuple[BatchInfo, object]:
    """Wait until a net process has loaded the system, and return what it says."""
    kind, value = worker.answer()
    if kind == READY and worker.give(Task(None)):
        kind, value = worker.answer()
    if kind == BROKEN:
        raise value
    if kind == DIED:
        raise CrashError(f"the process that runs the nets {value} as it started")
    told: tuple[BatchInfo, object] = value
    return told
