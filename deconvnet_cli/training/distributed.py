"""Training of one net by several processes, as ``torchrun`` starts them.

Several processes give the same result as one: the loss is the mean over the counted pixels of all
processes (:func:`summed`), and BatchNorm takes the statistics of the whole batch
(:func:`synchronised`). In a single process these functions change nothing.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.layers import BatchNorm

# How long processes wait for each other, as while the first one finds the proposals of a list.
PATIENCE = timedelta(hours=6)


def world_size() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process; number 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_device(device: torch.device) -> torch.device:
    """Return the device of this process; on GPUs each process has its own."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Join the process group of ``torchrun``, if this process is one of several."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    # Its functions take the group of this moment as their default: were it imported later, as DDP
    # does, the group and its threads would outlive their end, and could abort the process.
    importlib.import_module("torch.distributed.nn.functional")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process do the work inside before the others do it.

    The others then find what the first one has written, and do not compute it again.
    """
    if rank() > 0:
        dist.barrier()
    try:
        yield
    finally:
        if rank() == 0 and world_size() > 1:
            dist.barrier()


def share_of(batch: int) -> int:
    """Return how many crops of a batch each process takes.

    Raises:
        UsageError: The processes cannot share the batch evenly.
    """
    if batch % world_size():
        raise UsageError(
            f"{world_size()} processes cannot share a batch of {batch} evenly; "
            f"give a --batch-size that is a multiple of {world_size()}"
        )
    return batch // world_size()


def summed(value: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; no gradient flows through it."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def any_of(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process."""
    if world_size() == 1:  # a GPU need not be waited for
        return flag
    return bool(summed(torch.tensor(int(flag), device=device)))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # The sum of every process contains this process's value.
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; gradients flow through it."""
    total: Tensor = _Sum.apply(x)
    return total


class SharedBatchNorm(BatchNorm):
    """A BatchNorm that takes the statistics of the whole batch, on any device.

    It is used on CPUs; torch's ``SyncBatchNorm`` works on GPUs alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        own_count = torch.tensor([float(values.numel() // values.shape[1])], device=x.device)
        sums = sum_over_processes(torch.cat((values.sum((0, 2, 3)), own_count)))
        mean, count = sums[:-1] / sums[-1], sums[-1]
        # A mean of squares less the square of the mean would be wrong, even below 0, where the mean
        # is far greater than the spread.
        deviations = values - mean[:, None, None]
        variance = sum_over_processes(deviations.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            weight = self.count_batch()
            unbiased = variance * count / (count - 1)
            cast(Tensor, self.running_mean).lerp_(mean, weight)
            cast(Tensor, self.running_var).lerp_(unbiased, weight)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = deviations * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)


def synchronised(net: nn.Module, device: torch.device) -> nn.Module:
    """Return the net with BatchNorm over all processes; a single process changes nothing."""
    if world_size() == 1:
        return net
    if device.type == "cuda":
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
        converted: nn.Module = convert(net)  # type: ignore[no-untyped-call]
        return converted
    for module in net.modules():
        if isinstance(module, BatchNorm):
            module.__class__ = SharedBatchNorm
    return net
