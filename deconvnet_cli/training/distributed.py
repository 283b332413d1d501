"""Several processes that train one net, as ``torchrun`` starts them; with one, nothing happens.

What has to be the same as in one process: the gradient is that of the mean over all counted
pixels of all processes (:func:`summed`), and BatchNorm takes the statistics of the whole batch
(:func:`synchronised`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.layers import BatchNorm


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; 0 writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_device(device: torch.device) -> torch.device:
    """The device of this process: one GPU each where GPUs are used."""
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """The process group of ``torchrun``, if this process is one of several."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def share_of(batch: int) -> int:
    """The crops of a batch that each process takes.

    Raises:
        UsageError: the batch cannot be shared out evenly.
    """
    if batch % world_size():
        raise UsageError(f"a batch of {batch} cannot be shared by {world_size()} processes evenly")
    return batch // world_size()


def summed(value: Tensor) -> Tensor:
    """The sum of a number over all processes; no gradient flows through it."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process."""
    return bool(summed(torch.tensor(int(flag), device=device)))


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Each process's value is in the sum of every process.
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients flow."""
    total: Tensor = _Sum.apply(x)
    return total


class SharedBatchNorm(BatchNorm):
    """BatchNorm with the statistics of the whole batch, on any device.

    torch's ``SyncBatchNorm`` is for GPUs alone, so it is used there and this one elsewhere.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        values = x.float()
        number = torch.tensor([float(values.numel() // values.shape[1])], device=x.device)
        sums = torch.cat((values.sum((0, 2, 3)), values.square().sum((0, 2, 3)), number))
        sums = sum_over_processes(sums)
        number = sums[-1]
        mean, squares = (sums[:-1] / number).chunk(2)
        variance = squares - mean.square()
        with torch.no_grad():
            share = self.count_batch()
            unbiased = variance * number / (number - 1)
            cast(Tensor, self.running_mean).lerp_(mean, share)
            cast(Tensor, self.running_var).lerp_(unbiased, share)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised: Tensor = values * scale[:, None, None] + shift[:, None, None]
        return normalised.to(x.dtype)


def synchronised(net: nn.Module, device: torch.device) -> nn.Module:
    """The net with BatchNorm over all processes; the same net where there is one process."""
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
