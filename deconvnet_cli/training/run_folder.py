"""The folder of a training run: ``settings.toml``, ``log.jsonl``, ``checkpoint.pt``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.storage.files import make_folder, write_whole, writing
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.settings_toml import as_toml, read_settings

CHECKPOINT = "checkpoint.pt"


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        step: How many steps of the optimiser are done. This also gives the place in the data, as
            sample ``i`` is the same whenever it is drawn.
        loss: The sum of the losses since the last line of the log.
        best: The best mean IoU of all validations; -1 before the first.
        best_step: The step of that validation.
        misses: How many validations since then were no better.
        finished: Whether the run is complete.
        planned: How many steps the complete run was to have; 0 in checkpoints of before.
    """

    step: int = 0
    loss: float = 0.0
    best: float = -1.0
    best_step: int = 0
    misses: int = 0
    finished: bool = False
    planned: int = 0

    def is_complete(self, settings: TrainSettings) -> bool:
        """Return whether a run is complete; settings with more steps than it had prolong it."""
        # Checkpoints of before do not say how many steps there were to be.
        planned = self.planned or (settings.steps if settings.patience else self.step)
        return self.finished and settings.steps <= planned

    def out_of_patience(self, settings: TrainSettings) -> bool:
        """Return whether so many validations in a row were no better that the run ends."""
        return 0 < settings.patience <= self.misses


@dataclass(frozen=True)
class TrainedNets:
    """The net that is trained, and the average of its weights.

    Attributes:
        average: The exponential moving average, or None.
        progress: Of a complete run, its progress; else None.
    """

    net: nn.Module
    average: nn.Module | None = None
    progress: Progress | None = None

    def each(self) -> dict[str, nn.Module]:
        """Return the nets by name, "last" and maybe "average"."""
        return {"last": self.net} | ({"average": self.average} if self.average else {})

    def evaluated(self, progress: Progress) -> TrainedNets:
        """Return the nets of a complete run, in eval mode."""
        for net in self.each().values():
            net.eval()
        return replace(self, progress=progress)


def check_settings(run: Path, settings: TrainSettings) -> None:
    """Raise UsageError if the folder holds a run with other settings, or is a file.

    More ``crops`` prolong a run. A setting that an older version did not write had its default.
    """
    if run.exists() and not run.is_dir():
        raise UsageError(f"{run}: not a folder; give one with --out")
    path = run / "settings.toml"
    if not path.is_file():
        return
    before = read_settings(path)
    for field in fields(settings):
        value = getattr(settings, field.name)
        known = before.get(field.name, field.default)
        if field.name == "crops" and isinstance(known, int) and known < settings.crops:
            continue
        if (tuple(known) if isinstance(known, list) else known) != value:
            rule = "; more crops would prolong it" if field.name == "crops" else ""
            raise UsageError(
                f"{path}: this run has other settings ({field.name} = {json.dumps(value)} is new); "
                f"give another --out{rule}"
            )


def prepare_run(run: Path, settings: TrainSettings) -> None:
    """Make the folder, or check that the run in it has these settings.

    Raises:
        UsageError: The folder holds a run with other settings.
        OutputError: The folder cannot be made or written to.
    """
    make_folder(run)
    check_settings(run, settings)
    write_whole(
        run / "settings.toml", as_toml(asdict(settings)).encode("utf-8", "backslashreplace")
    )


def save_checkpoint(
    run: Path, nets: TrainedNets, optimiser: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write the full state of a run atomically. The schedule follows from the step."""
    state = {
        "net": nets.net.state_dict(),
        "average": nets.average.state_dict() if nets.average else {},
        "optimiser": optimiser.state_dict(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        **asdict(progress),
    }
    write_whole(run / CHECKPOINT, lambda file: torch.save(state, file))


def has_checkpoint(run: Path) -> bool:
    """Return whether a run has a state to go on from."""
    return (run / CHECKPOINT).is_file()


def load_checkpoint(
    run: Path, nets: TrainedNets, optimiser: torch.optim.Optimizer | None = None
) -> Progress:
    """Restore the state of a run and return its progress; without a checkpoint it is 0.

    Raises:
        WeightsError: The checkpoint cannot be read or belongs to another net.
    """
    if not has_checkpoint(run):
        return Progress()
    path = run / CHECKPOINT
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        nets.net.load_state_dict(state["net"])
        if nets.average is not None:
            nets.average.load_state_dict(state["average"])
        if optimiser is not None:
            optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        cuda_states = state.get("cuda_random", [])
        if len(cuda_states) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(cuda_states)
        known = {field.name for field in fields(Progress)}
        return Progress(**{name: value for name, value in state.items() if name in known})
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
    with writing(path), open(path, "a") as file:
        file.write(json.dumps(line) + "\n")
