"""The Ray engine of a batch: photos stream through the stages of ``stages.py`` on a cluster.

This process alone holds the manifest and decides which photos are done. Ray slows down a stage
whose results are not taken quickly enough, and repeats work lost with a worker or a machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from typing import Any

from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.ray.cluster import Cluster
from deconvnet_cli.batch.run import Answers, Engine
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec
from deconvnet_cli.errors import DeconvnetError

ROWS = 8  # most photos of a task: each task costs Ray some milliseconds
ROUNDS = 3  # how often photos are tried that Ray loses nevertheless


def survey_cluster(spec: BatchSpec, cluster: Cluster) -> BatchInfo:
    """Load the system on a worker of the cluster and return what is known of the batch then.

    Raises:
        DeconvnetError: The system cannot be loaded there.
    """
    import ray

    from deconvnet_cli.batch.ray.stages import survey

    remote_survey = ray.remote(num_cpus=1, num_gpus=cluster.share)(survey)
    try:
        info: BatchInfo | DeconvnetError = ray.get(remote_survey.remote(spec, os.getcwd()))
    except ray.exceptions.RayError as error:
        raise cluster_failure(error) from error
    if isinstance(info, DeconvnetError):
        raise info
    return info


def cluster_failure(error: Exception) -> DeconvnetError:
    """Return the error to report when Ray itself fails."""
    last = str(error).strip().splitlines()[-1:] or [type(error).__name__]
    return DeconvnetError(
        f"the Ray cluster failed ({last[0]}); is deconvnet installed on all its machines?"
    )


def ray_engine(info: BatchInfo, cluster: Cluster) -> Engine:
    """Return an engine that runs jobs on the workers of a cluster."""

    def engine(jobs: Iterable[Job | None], stop: Callable[[], bool]) -> Answers:
        left = dict(enumerate(job for job in jobs if job is not None))
        for _ in range(ROUNDS):
            if not left or stop():
                return
            with closing(run_round(left, info, cluster)) as answers:
                for number, answer in answers:
                    job = left.pop(number, None)  # None: Ray did a task twice
                    if job is not None:
                        yield job, answer
                    if stop():  # the next run does the photos that are under way
                        return
        if left:
            raise DeconvnetError(
                f"the Ray cluster lost {len(left)} photos, see its logs; the same command goes "
                "on with them"
            )

    return engine


def run_round(
    jobs: Mapping[int, Job], info: BatchInfo, cluster: Cluster
) -> Generator[tuple[int, Any], None, None]:
    """Run jobs and yield the number of each with its entry or error, as they end.

    Raises:
        DeconvnetError: The cluster fails.
    """
    import ray

    from deconvnet_cli.batch.ray.stages import rows_of

    blocks = build_pipeline(jobs, info, cluster).iter_batches(
        batch_size=None, batch_format="pyarrow", prefetch_batches=0
    )
    try:
        for block in blocks:
            yield from rows_of(block)
    except ray.exceptions.RayError as error:
        raise cluster_failure(error) from error


def build_pipeline(jobs: Mapping[int, Job], info: BatchInfo, cluster: Cluster) -> Any:
    """Return the stages, one after another, as a Ray dataset that has not started yet."""
    import ray

    from deconvnet_cli.batch.ray.attempts import AttemptCounter
    from deconvnet_cli.batch.ray.stages import NetActor, find_boxes, finish_photos, to_table

    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # their photos are in the next round
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = list(jobs.items())
    rows = max(1, min(ROWS, len(items) // (4 * cluster.cpus)))
    tables = [to_table(items[start : start + rows]) for start in range(0, len(items), rows)]
    counter = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AttemptCounter).remote()
    shared = {"info": info, "home": os.getcwd(), "counter": counter}
    block = {"batch_size": rows, "batch_format": "pyarrow"}
    net = {
        "fn_constructor_kwargs": shared,
        "compute": ray.data.ActorPoolStrategy(min_size=1, max_size=cluster.actors),
        **({"num_gpus": cluster.share} if cluster.gpus else {"num_cpus": 1}),
    }
    return (
        ray.data.from_arrow(tables)
        .map_batches(find_boxes, fn_kwargs=shared, num_cpus=1, **block)
        .map_batches(NetActor, **net, **block)
        .map_batches(finish_photos, fn_kwargs=shared, num_cpus=1, **block)
    )
