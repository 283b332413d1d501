"""The net and its loss, compiled for this machine by ``torch.compile``."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from deconvnet_cli.errors import DependencyError


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
