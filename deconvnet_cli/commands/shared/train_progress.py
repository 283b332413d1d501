"""The progress bar of a training run: loss, crops a second, time waited, last validation."""

from __future__ import annotations

from typing import Any

from rich.progress import Progress


class TrainBar:
    """A bar that says how a run goes; the time left is a column of ``console.progress``."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.progress = progress
        self.task = progress.add_task("train", total=steps)
        self.parts = {"loss": "", "pace": "", "validation": ""}

    def on_step(self, step: int, loss: float | None) -> None:
        """Advance the bar to a step, and show the loss where it is known."""
        if loss is not None:
            self.parts["loss"] = f"loss {loss:.3f}"
        self.progress.update(self.task, completed=step, description=self.text())

    def on_log(self, line: dict[str, Any]) -> None:
        """Show the newest line of the log."""
        if "crops_per_s" in line:
            waited = f"waited {line['waited']:.0%}"
            self.parts["pace"] = f"{line['crops_per_s']:.1f} crops/s, {waited}"
        if "val_mean_iou" in line:
            best = max(value for name, value in line.items() if name.startswith("val_"))
            self.parts["validation"] = f"mean IoU {best:.3f}"
        self.progress.update(self.task, description=self.text())

    def text(self) -> str:
        """Return the parts that are known, as ``loss 0.712, 31.0 crops/s, waited 2%``."""
        return ", ".join(part for part in self.parts.values() if part) or "train"
