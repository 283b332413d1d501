"""A worker of a GPU batch that holds no net: it reads a photo, finds its boxes and writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection
from typing import Any

import numpy as np

from deconvnet_cli.batch.gpu.messages import Answer, Request
from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.photo import (
    decoded_photo,
    prepared,
    result_or_failed_entry,
    write_result,
)
from deconvnet_cli.batch.plan import Job
from deconvnet_cli.batch.source import read_source
from deconvnet_cli.batch.spec import BatchSpec, SystemInfo
from deconvnet_cli.errors import NetsError
from deconvnet_cli.runtime.devices import one_core_a_photo


def start_client(
    spec: BatchSpec, info: SystemInfo, addresses: Sequence[Any]
) -> Callable[[Job], Entry]:
    """Connect to one of the net processes and return a function that labels one photo at a time.

    The returned function raises what that of :func:`deconvnet_cli.batch.photo.start_worker` does,
    and NetsError if the net process ends.

    Raises:
        NetsError: The net process has ended.
    """
    one_core_a_photo()
    try:
        nets = Client(addresses[os.getpid() % len(addresses)])
    except (OSError, EOFError) as error:
        raise nets_ended() from error
    maps = spec.save_scores or spec.outputs.needs_probabilities

    def label_job(job: Job) -> Entry:
        source = read_source(job.photo)

        def label() -> Entry:
            photo = decoded_photo(job, source, spec)
            working, boxes, ms = prepared(photo, info)
            request = Request(np.asarray(working), boxes, photo.size, maps)
            answer = ask(nets, request)
            answer.result.ms.update(ms)
            return write_result(job, source, photo, answer.result, answer.inferred, spec, info)

        return result_or_failed_entry(label, job, source, spec, info.fingerprint)

    return label_job


def ask(nets: Connection, request: Request) -> Answer:
    """Send a photo to a net process and return the answer, or raise the error that came."""
    try:
        nets.send(request)
        answer: Answer | Exception = nets.recv()
    except (OSError, EOFError) as error:
        raise nets_ended() from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def nets_ended() -> NetsError:
    """Return the error of a net process that has ended."""
    return NetsError(
        "the process that runs the nets ended (too little memory of the GPU or of this machine?); "
        "the same command goes on, with --batch-size or --nets-per-gpu smaller if it happens again"
    )
