"""The batches of a run: where the photos are held, and where crops are cut from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from deconvnet_cli.training.device_crops import collate, cut_crops, cut_soft_labels
from deconvnet_cli.training.distributed import rank, share_of, world_size
from deconvnet_cli.training.photo_store import PhotoFiles, PhotoStore
from deconvnet_cli.training.samples import SOFT_CELL, CropDataset
from deconvnet_cli.training.settings import TrainSettings

BYTES_A_PIXEL = 5  # of a decoded photo, its mask and soft labels, with something to spare
SHARE_OF_MEMORY = 4  # the photos may take one part in so many of a machine's or a GPU's memory


class DeviceCrops(CropDataset):
    """A dataset whose samples are cut in whole batches on the device of a ``PhotoStore``."""

    def batch(self, numbers: Iterable[int]) -> list[Tensor]:
        """Return the samples of these numbers as one batch on the device."""
        store, settings = cast(PhotoStore, self.source), self.settings
        plans = collate(store, list(map(self.plan, numbers)), settings.side, settings.size)
        plans = plans.to(store.photos.values.device)
        batch = list(cut_crops(store, plans))
        if self.soft:
            batch.append(cut_soft_labels(store, plans, settings.size // SOFT_CELL))
        return batch


def choose_cache(cache: str, files: PhotoFiles, names: Sequence[str], device: torch.device) -> str:
    """Return where the photos of a run are held: on the "device", in "memory", or "none".

    Args:
        cache: One of these, or "auto": on a GPU if they fit, else in memory if they fit.

    Raises:
        ImageError: A photo cannot be read.
    """
    if cache != "auto":
        return cache
    sizes = (files.size(name) for name in names)
    needed = SHARE_OF_MEMORY * BYTES_A_PIXEL * sum(width * height for width, height in sizes)
    if device.type == "cuda" and needed < torch.cuda.get_device_properties(device).total_memory:
        return "device"
    try:
        installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # as on Windows
        return "none"
    return "memory" if needed * world_size() < installed else "none"


def batches_of(
    samples: Dataset[tuple[Tensor, ...]],
    settings: TrainSettings,
    start: int,
    workers: int,
    device: torch.device,
) -> Iterator[list[Tensor]]:
    """Return the batches of this process from step ``start`` to the end, in order.

    Process ``r`` of ``n`` takes the samples r, r + n, r + 2n ...

    Args:
        workers: How many processes cut crops on the CPU; 0 cuts them in this one.
        device: The device that trains, to which the batches are copied.
    """
    samples_per_step = settings.batch * settings.accumulate
    first, end = start * samples_per_step + rank(), settings.steps * samples_per_step
    numbers = range(first, end, world_size())
    share = share_of(settings.batch)
    if isinstance(samples, DeviceCrops):
        for at in range(0, len(numbers), share):
            yield samples.batch(numbers[at : at + share])
        return
    pinned = device.type == "cuda"  # so that copies run beside the work
    loader = DataLoader(Subset(samples, numbers), share, num_workers=workers, pin_memory=pinned)
    for batch in loader:
        yield [part.to(device, non_blocking=pinned) for part in batch]
