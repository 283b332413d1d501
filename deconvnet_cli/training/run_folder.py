"""The folder of a training run: ``settings.toml``, ``log.jsonl``, ``checkpoint.pt``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deconvnet_cli.errors import OutputError, UsageError, WeightsError
from deconvnet_cli.storage.files import make_folder, write_whole
from deconvnet_cli.training.settings import TrainSettings, as_toml


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        step: steps of the optimiser that are done; says where in the data the run is, as sample
            ``i`` is the same whenever it is drawn.
        loss: sum of the losses since the last line of the log.
    """

    step: int = 0
    loss: float = 0.0


def prepare_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder, or check that the run in it has these settings.

    Raises:
        UsageError: the folder holds a run with other settings.
        OutputError: it cannot be made or written.
    """
    make_folder(run)
    text = as_toml(settings)
    path = run / "settings.toml"
    if path.is_file():
        before = path.read_text(errors="replace").splitlines()
        other = [line for line in text.splitlines() if line not in before]
        if other:
            raise UsageError(
                f"{path}: this run has other settings ({other[0]} is new); give another --out"
            )
    write_whole(path, text.encode())


def save_checkpoint(
    run: Path, net: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the full state, whole or not at all. The schedule follows from the step."""
    state = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "step": progress.step,
        "loss": progress.loss,
    }
    write_whole(run / "checkpoint.pt", lambda file: torch.save(state, file))


def load_checkpoint(
    run: Path, net: nn.Module, optimiser: torch.optim.Optimizer | None = None
) -> Progress:
    """Restore the state of a run; a run without a checkpoint is at its start.

    Raises:
        WeightsError: the checkpoint cannot be read or is of another net.
    """
    path = run / "checkpoint.pt"
    if not path.is_file():
        return Progress()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        net.load_state_dict(state["net"])
        if optimiser is not None:
            optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        return Progress(int(state["step"]), float(state["loss"]))
    except Exception as error:  # torch raises many kinds for a damaged file
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of this net ({first})") from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """The lines of ``log.jsonl`` up to one that is none, as one torn when the run was killed."""
    try:
        text = (run / "log.jsonl").read_text(errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            break
        lines.append(values)
    return lines


def rewind_log(run: Path, step: int) -> None:
    """Take out the lines after ``step``: a run that goes on from there writes them again."""
    kept = [line for line in read_log(run) if line["step"] <= step]
    write_whole(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())


def append_log(run: Path, line: dict[str, Any]) -> None:
    """Add one line to ``log.jsonl``.

    Raises:
        OutputError: it cannot be written.
    """
    path = run / "log.jsonl"
    try:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
