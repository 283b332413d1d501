"""A process that owns the nets of a GPU batch and segments what other processes send to it.

Each of them has a connection, which a thread reads. One more thread takes the photos that have
come meanwhile, a group at a time, and runs the nets on them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, Listener
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.batch.photo import Segmented, out_of_memory
from deconvnet_cli.batch.spec import BatchInfo, BatchSpec, batch_info
from deconvnet_cli.errors import DeconvnetError, NetsError
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.segmentation.score_maps import ScoreMaps
from deconvnet_cli.segmentation.segment import label_photo
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.segmentation.together import infer_together

GROUP = 4  # most photos whose crops share batches
BACKLOG = 128  # processes that may connect at the same time


@dataclass(frozen=True, eq=False)
class Request:
    """A photo that is to be segmented.

    Attributes:
        pixels: The working copy of the photo, uint8 H x W x 3, RGB.
        boxes: The boxes that the net is shown, int32 N x 4; None if no net takes boxes.
        size: The width and height of the labels, those of the original photo.
        maps: Whether the answer holds the maps, which are 80 times as large as the labels.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.int32] | None
    size: tuple[int, int]
    maps: bool


Asked = SimpleQueue[tuple[Request, Future[Segmented]]]


def start_nets(spec: BatchSpec) -> Callable[[None], tuple[BatchInfo, Any]]:
    """Load the system in this process, and begin to segment in threads.

    Returns:
        A function of None that returns what is known of the batch and the address to connect to.

    Raises:
        DeconvnetError: The system cannot be loaded.
    """
    one_core_a_photo()
    system, settings = spec.load()
    info = batch_info(spec, system, settings)
    listener = Listener(backlog=BACKLOG)
    asked: Asked = SimpleQueue()
    threading.Thread(target=accept, args=(listener, asked), daemon=True).start()
    threading.Thread(target=segment_all, args=(asked, system, settings), daemon=True).start()
    return lambda _: (info, listener.address)


def accept(listener: Listener, asked: Asked) -> None:
    """Begin a thread for each process that connects."""
    while True:
        with suppress(OSError, EOFError):  # a process that ended while it connected
            connection = listener.accept()
            threading.Thread(target=attend, args=(connection, asked), daemon=True).start()


def attend(connection: Connection, asked: Asked) -> None:
    """Pass on the photos of one process, one at a time, and send back the answers."""
    with connection, suppress(EOFError, OSError):  # the process has ended
        while True:
            request: Request = connection.recv()
            future: Future[Segmented] = Future()
            asked.put((request, future))
            error = future.exception()
            connection.send(future.result() if error is None else portable(error))


def portable(error: BaseException) -> Exception:
    """Return an error as one that another process can read."""
    if isinstance(error, DeconvnetError):
        return error
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return MemoryError(text) if out_of_memory(error) else RuntimeError(text)


def segment_all(asked: Asked, system: System, settings: SegmentSettings) -> None:
    """Segment photos as they come, those that wait as one group.

    If a group fails, each of its photos is tried alone, as it may be one that fails, or too many.
    """
    while True:
        group = next_group(asked)
        if len(group) > 1 and answer(group, system, settings) is None:
            continue
        for request, future in group:
            if (error := answer([(request, future)], system, settings)) is not None:
                future.set_exception(error)


def next_group(asked: Asked) -> list[tuple[Request, Future[Segmented]]]:
    """Wait for a photo, and return it with those that wait behind it."""
    group = [asked.get()]
    with suppress(Empty):
        while len(group) < GROUP:
            group.append(asked.get_nowait())
    return group


def answer(
    group: Sequence[tuple[Request, Future[Segmented]]], system: System, settings: SegmentSettings
) -> Exception | None:
    """Segment a group and answer; return the error if that fails, and answer nothing then."""
    try:
        answers = segment_group([request for request, _ in group], system, settings)
    except Exception as error:  # of torch, for example: the process must go on with other photos
        if gpu_works():
            return error
        what = str(error).partition("\n")[0]
        return NetsError(
            f"the GPU failed for good ({what}); see `deconvnet doctor`, then start the batch again"
        )
    for (_, future), labelled in zip(group, answers, strict=True):
        future.set_result(labelled)
    return None


def gpu_works() -> bool:
    """Free what a failed group has left on the GPU; return whether CUDA still answers.

    After some errors, such as one of the hardware, every further call in a process fails.
    """
    if torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError:
            return False
    return True


def segment_group(
    requests: Sequence[Request], system: System, settings: SegmentSettings
) -> list[Segmented]:
    """Run the nets on the photos of a group, refine and label them; maps come to the CPU."""
    photos = [Image.fromarray(request.pixels) for request in requests]
    boxes = [request.boxes for request in requests]
    answers: list[Segmented] = []
    found = infer_together(photos, boxes, system, settings)
    for request, inferred in zip(requests, found, strict=True):
        result = label_photo(inferred, request.size, system.ensemble, settings.crf)
        maps = result.maps.cpu() if request.maps else ScoreMaps(None, None, raw=False)
        kept = replace(inferred, maps=inferred.maps.cpu()) if request.maps else None
        answers.append((replace(result, maps=maps), kept))
    return answers
