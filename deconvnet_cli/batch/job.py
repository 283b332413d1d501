"""A job of a batch: one photo, and where its labels go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One photo and the files to make of it.

    Attributes:
        photo: The photo.
        target: The file of its labels.
        kept: Where to keep its scores; None for beside the labels.
    """

    photo: Path
    target: Path
    kept: Path | None = None

    @property
    def scores(self) -> Path:
        """Return where the photo's scores go, if they are kept."""
        return self.kept or self.target.with_suffix(".npz")
