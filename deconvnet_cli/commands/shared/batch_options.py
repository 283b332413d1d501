"""Where ``deconvnet batch`` runs and writes: its engine options and its output folder."""

from __future__ import annotations

from pathlib import Path

import click

from deconvnet_cli.batch.engines import LOCAL, RAY
from deconvnet_cli.commands.shared.grouped_help import machine_option
from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.storage.remote import RemotePath, place, real

ENGINE_OPTIONS = (
    machine_option(
        "--engine",
        type=click.Choice((LOCAL, RAY)),
        default=LOCAL,
        help="Use worker processes of this machine, or a Ray cluster (extra ray).",
    ),
    machine_option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Head of the Ray cluster.  [default: RAY_ADDRESS, or a new one on this machine]",
    ),
    machine_option(
        "--nets-per-gpu",
        type=click.IntRange(1),
        help="Number of processes with nets that share a GPU.  [default: 2; with Ray 1]",
    ),
)


def check_engine(engine: str, ray_address: str | None, workers: int | None, watch: bool) -> None:
    """Raise UsageError if options do not fit the engine."""
    if engine == RAY and (workers is not None or watch):
        raise UsageError("--workers and --watch are for --engine local; Ray uses its whole cluster")
    if engine == LOCAL and ray_address is not None:
        raise UsageError("--ray-address goes with --engine ray")


def output_of(sources: tuple[str, ...], output: Path | None) -> Path:
    """Return the output folder; by default it is beside the one folder that is the source."""
    if output is not None:
        return output
    if len(sources) != 1:
        raise UsageError("give the output folder: -o DIR")
    if not Path(sources[0]).is_dir():
        raise UsageError(
            f"{sources[0]}: no folder of this name; check it, or give the output folder: -o DIR"
        )
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
