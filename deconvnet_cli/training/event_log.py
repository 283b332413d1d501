"""The log of a run for TensorBoard, beside ``log.jsonl``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deconvnet_cli.errors import DependencyError, install


def event_log(folder: Path) -> Callable[[dict[str, Any]], None]:
    """Return a function that adds a line of the log to TensorBoard's files in a folder.

    Raises:
        DependencyError: The package tensorboard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError(
            f"--tensorboard needs a package that is missing: {install('tensorboard')}"
        ) from error
    writer = SummaryWriter(str(folder))

    def write(line: dict[str, Any]) -> None:
        for name, value in line.items():
            if name != "step":
                writer.add_scalar(name, value, line["step"])
        writer.flush()

    return write
