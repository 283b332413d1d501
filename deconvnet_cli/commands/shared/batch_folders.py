"""The output folder of ``deconvnet batch``."""

from __future__ import annotations

from pathlib import Path

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.storage.remote import RemotePath, place, real


def output_of(sources: tuple[str, ...], output: Path | None) -> Path:
    """Return the output folder; by default it is beside the one folder that is the source."""
    if output is not None:
        return output
    if len(sources) != 1 or not Path(sources[0]).is_dir():
        raise UsageError("give the output folder: -o DIR")
    folder = Path(sources[0]).resolve()
    if not folder.name:
        raise UsageError(f"{folder}: nothing lies beside it; give the output folder: -o DIR")
    return folder.with_name(f"{folder.name}-labels")


def refuse_source(sources: tuple[str, ...], output: Path, outputs: Outputs) -> None:
    """Raise UsageError if pictures would be written where later runs look for photos."""
    pictures = any(suffix.endswith(".png") for suffix in (outputs.label_suffix, *outputs.suffixes))
    for where in map(place, sources):
        same = real(where) == real(output) and (isinstance(where, RemotePath) or where.is_dir())
        if pictures and same:
            raise UsageError(
                f"{output}: holds the photos, and the next run would take what is written for "
                "photos too; give another -o folder"
            )
