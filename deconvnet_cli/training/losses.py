"""The losses, each a mean over the counted pixels of all processes, and their compilation."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deconvnet_cli.data.voc import IGNORE
from deconvnet_cli.errors import DependencyError
from deconvnet_cli.nets.layers import HasCoarseLogits
from deconvnet_cli.training.distributed import summed, world_size
from deconvnet_cli.training.settings import TrainSettings


def mean_over_all(total: Tensor, counted: Tensor) -> Tensor:
    """Return this process's part of a mean over the counted pixels of all processes.

    The result is scaled by the number of processes, because they average their gradients. If no
    pixel counts, it is 0, not NaN.

    Args:
        total: The sum of the losses of this process's pixels.
        counted: How many of its pixels count.
    """
    return total * (world_size() / summed(counted).clamp_min(1))


def hard_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of logits N x C x S x S against labels N x S x S, 255 ignored."""
    # One row a pixel is a view of channels_last logits, and four times as fast as planes on a CPU.
    rows = logits.permute(0, 2, 3, 1).flatten(0, 2).float()
    total = F.cross_entropy(rows, labels.flatten(), ignore_index=IGNORE, reduction="sum")
    return mean_over_all(total, (labels != IGNORE).sum())


def soft_entropy(logits: Tensor, soft: Tensor) -> Tensor:
    """Return the cross entropy of logits N x C x S x S against soft labels N x C x s x s.

    S is a multiple of s; logits are averaged over the pixels of each soft label. Soft labels that
    are all 0 (outside the photo) do not count.
    """
    averaged = F.adaptive_avg_pool2d(logits, (soft.shape[2], soft.shape[3]))
    total = -(soft * averaged.float().log_softmax(1)).sum()
    return mean_over_all(total, soft.sum())


class Objective(nn.Module):
    """A net and its loss as one module, so that several processes can share its gradients."""

    def __init__(self, net: nn.Module, settings: TrainSettings) -> None:
        super().__init__()
        self.net = net
        self.settings = settings

    def forward(self, inputs: Tensor, labels: Tensor, soft: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            inputs: Prepared crops, float N x 3 x S x S.
            labels: Hard labels, int64 N x S x S, 255 ignored.
            soft: A teacher's probabilities, float N x C x s x s, which add a loss of their own.
        """

        def entropy(logits: Tensor) -> Tensor:
            hard = hard_entropy(logits, labels)
            if soft is None:
                return hard
            return hard + self.settings.teacher_weight * soft_entropy(logits, soft)

        bf16 = self.settings.precision == "bf16"
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            if not isinstance(self.net, HasCoarseLogits):
                return entropy(self.net(inputs))
            logits, coarse = self.net.forward_with_coarse(inputs)
            loss = entropy(logits)
            if coarse.requires_grad:  # Encoder and head are not frozen.
                loss = loss + self.settings.coarse_weight * entropy(coarse)
            return loss


def compiled(objective: nn.Module) -> Callable[..., Tensor]:
    """Return a function that computes what a module does, by kernels made for this machine.

    They are made at the first call, which takes minutes on a CPU, and for the shapes of that call.

    Args:
        objective: The module; its parameters stay its own.

    Raises:
        DependencyError: At the first call, if there is no compiler.
    """
    # It says that there is no CUDA runtime where only the CUDA compiler is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    quick = torch.compile(objective)

    def run(*arguments: Tensor) -> Tensor:
        try:
            loss: Tensor = quick(*arguments)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            (cause, *_) = str(error.inner_exception).splitlines() or [""]
            raise DependencyError(
                f"--compile: torch cannot compile the net ({cause}); install a C++ compiler such "
                "as g++ (for a GPU, Triton), or leave out --compile"
            ) from error
        return loss

    return run
