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
    """The progress of a run.

    Attributes:
        step: How many steps of the optimiser are done. This also gives the place in the data, as
            sample ``i`` is the same whenever it is drawn.
        loss: The sum of the losses since the last line of the log.
    """

    step: int = 0
    loss: float = 0.0


def check_settings(run: Path, settings: TrainSettings) -> None:
    """Raise UsageError if the folder holds a run with other settings."""
    path = run / "settings.toml"
    if not path.is_file():
        return
    before = path.read_text(errors="replace").splitlines()
    other = [line for line in as_toml(settings).splitlines() if line not in before]
    if other:
        raise UsageError(
            f"{path}: this run has other settings ({other[0]} is new); give another --out"
        )


def prepare_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder, or check that the run in it has these settings.

    Raises:
        UsageError: The folder holds a run with other settings.
        OutputError: The folder cannot be made or written to.
    """
    make_folder(run)
    check_settings(run, settings)
    write_whole(run / "settings.toml", as_toml(settings).encode())


def save_checkpoint(
    run: Path, net: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the full state of a run atomically. The schedule follows from the step."""
    state = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "step": progress.step,
        "loss": progress.loss,
    }
    write_whole(run / "checkpoint.pt", lambda file: torch.save(state, file))


def load_checkpoint(
    run: Path, net: nn.Module, optimiser: torch.optim.Optimizer | None = None
) -> Progress:
    """Restore the state of a run and return its progress; without a checkpoint it is 0.

    Raises:
        WeightsError: The checkpoint cannot be read or belongs to another net.
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
        cuda_states = state.get("cuda_random", [])
        if len(cuda_states) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(cuda_states)
        return Progress(int(state["step"]), float(state["loss"]))
    except Exception as error:  # torch raises many types for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of this net ({reason})") from error


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of ``log.jsonl`` up to the first that is damaged, as after a kill."""
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
    """Remove the lines after ``step``; a run that resumes there writes them again."""
    kept = [line for line in read_log(run) if line["step"] <= step]
    write_whole(run / "log.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())


def append_log(run: Path, line: dict[str, Any]) -> None:
    """Add one line to ``log.jsonl``.

    Raises:
        OutputError: The file cannot be written.
    """
    path = run / "log.jsonl"
    try:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
