"""A worker of a GPU batch that holds no net: it reads a photo, finds its boxes and writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Client, Connection
from typing import Any

import numpy as np
from PIL import Image

from deconvnet_cli.batch.gpu.net_process import Request
from deconvnet_cli.batch.job import Job
from deconvnet_cli.batch.manifest import Entry
from deconvnet_cli.batch.photo import Segmented, labeller, prepared
from deconvnet_cli.batch.spec import BatchInfo
from deconvnet_cli.errors import NetsError
from deconvnet_cli.runtime.devices import one_core_a_photo


def start_client(info: BatchInfo, addresses: Sequence[Any]) -> Callable[[Job], Entry]:
    """Connect to one of the net processes and return a function that labels one photo at a time.

    The returned function raises what that of :func:`deconvnet_cli.batch.photo.labeller` does,
    and NetsError if the net process ends.

    Raises:
        NetsError: The net process has ended.
    """
    one_core_a_photo()
    try:
        nets = Client(addresses[os.getpid() % len(addresses)])
    except (OSError, EOFError) as error:
        raise nets_ended() from error
    maps = info.spec.save_scores or info.spec.outputs.needs_probabilities

    def segment(photo: Image.Image) -> Segmented:
        working, boxes, ms = prepared(photo, info)
        result, inferred = ask(nets, Request(np.asarray(working), boxes, photo.size, maps))
        result.ms.update(ms)
        return result, inferred

    return labeller(info, segment)


def ask(nets: Connection, request: Request) -> Segmented:
    """Send a photo to a net process and return the answer, or raise the error that came."""
    try:
        nets.send(request)
        answer: Segmented | Exception = nets.recv()
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
