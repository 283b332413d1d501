"""A batch on a Ray cluster: photos stream through the stages of ``stages.py``.

This process alone says what is done and holds the manifest. Ray holds back a stage whose results
are not taken quickly enough, and does again what is lost with a worker or a machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any

from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.ray.cluster import Cluster
from deconvnet_cli.batch.run import Engine
from deconvnet_cli.batch.spec import BatchSpec, SystemInfo
from deconvnet_cli.errors import DeconvnetError

ROWS = 8  # photos of a task at most: a task costs Ray some milliseconds
ROUNDS = 3  # over photos that Ray has lost nevertheless


def survey_cluster(spec: BatchSpec, cluster: Cluster) -> SystemInfo:
    """The facts of the nets, from a worker like those that will run them.

    Raises:
        DeconvnetError: they cannot be loaded there.
    """
    import ray

    from deconvnet_cli.batch.ray.stages import survey

    ask = ray.remote(num_cpus=1, num_gpus=cluster.share)(survey)
    try:
        info: SystemInfo | DeconvnetError = ray.get(ask.remote(spec, os.getcwd()))
    except ray.exceptions.RayError as error:
        raise unfit(error) from error
    if isinstance(info, DeconvnetError):
        raise info
    return info


def unfit(error: Exception) -> DeconvnetError:
    """What is said when it is Ray that fails."""
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return DeconvnetError(f"the Ray cluster fails ({last[0]}); is deconvnet on all its machines?")


def ray_engine(spec: BatchSpec, info: SystemInfo, cluster: Cluster) -> Engine:
    """Workers of a cluster."""

    def engine(
        jobs: Iterable[Job | None], stop: Callable[[], bool]
    ) -> Iterator[tuple[Job, Entry | DeconvnetError]]:
        left = dict(enumerate(job for job in jobs if job is not None))
        for _ in range(ROUNDS):
            if not left or stop():
                return
            with closing(one_round(left, spec, info, cluster)) as answers:
                for number, answer in answers:
                    job = left.pop(number, None)  # None: a task was done twice
                    if job is not None:
                        yield job, answer
                    if stop():  # what is under way is left; the next run does it
                        return
        if left:
            raise DeconvnetError(
                f"{len(left)} photos are lost on the Ray cluster, see its logs; the same command "
                "goes on with them"
            )

    return engine


def one_round(
    jobs: Mapping[int, Job], spec: BatchSpec, info: SystemInfo, cluster: Cluster
) -> Generator[tuple[int, Entry | DeconvnetError], None, None]:
    """The numbers of jobs with what has become of each, as they are done.

    Raises:
        DeconvnetError: the cluster, or each of its workers, fails.
    """
    import ray

    from deconvnet_cli.batch.ray.stages import Stop, rows_of

    blocks = stages(jobs, spec, info, cluster).iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    try:
        for block in blocks:
            for number, answer in rows_of(block):
                if isinstance(answer, Stop):
                    raise answer.error
                yield number, answer
    except ray.exceptions.RayError as error:
        raise unfit(error) from error


def stages(jobs: Mapping[int, Job], spec: BatchSpec, info: SystemInfo, cluster: Cluster) -> Any:
    """The stages one after another, as a dataset of Ray that has not begun."""
    import ray

    from deconvnet_cli.batch.ray.stages import Judge, Tally, find_boxes, finish_photos, table

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # their photos are in the next round
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = list(jobs.items())
    rows = max(1, min(ROWS, len(items) // (4 * cluster.cpus)))
    tables = [table(items[start : start + rows]) for start in range(0, len(items), rows)]
    tally = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tally).remote()
    known = {"spec": spec, "info": info, "home": os.getcwd(), "tally": tally}
    block = {"batch_size": rows, "batch_format": "pyarrow"}
    net = {
        "fn_constructor_kwargs": known,
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.actors),
        **({"num_gpus": cluster.share} if cluster.gpus else {"num_cpus": 1}),
    }
    return (
        ray.data.from_arrow(tables)
        .map_batches(find_boxes, fn_kwargs=known, num_cpus=1, **block)
        .map_batches(Judge, **net, **block)
        .map_batches(finish_photos, fn_kwargs=known, num_cpus=1, **block)
    )
