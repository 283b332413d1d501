"""The options of ``bench`` that keep figures in a file, and compare with earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deconvnet_cli.commands.shared.grouped_help import option
from deconvnet_cli.commands.shared.option_types import EXISTING_FILE, NewFile
from deconvnet_cli.commands.shared.options import refuse_silence
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    from deconvnet_cli.diagnostics.kept_figures import Figures, Key

KEEP_OPTIONS = (
    option(
        "--save",
        type=NewFile("json", "the figures are"),
        help="Keep the figures in FILE, JSON, with the machine, versions and settings.",
    ),
    option(
        "--against",
        type=EXISTING_FILE,
        metavar="FILE",
        help="Show the figures that --save kept in FILE, and the ratio of the new ones to them.",
    ),
)


def check_kept(save: Path | None, against: Path | None, quiet: bool, as_json: bool) -> None:
    """Raise UsageError, before minutes of work, if the options do not fit together."""
    if against is not None and quiet:
        raise UsageError("--against adds to the table, which --quiet leaves out; give one of them")
    refuse_silence(quiet, [as_json, save], "--json or --save")


def earlier(against: Path | None, now: Figures, wanted: Iterable[Key]) -> Mapping[Key, float]:
    """Return the figures in a file, and say in one line what was otherwise when it was written.

    Raises:
        UsageError: The file cannot be read, is of another part of ``bench``, or has none of the
            ``wanted`` figures.
    """
    from deconvnet_cli.diagnostics.kept_figures import by_key, differences, read_figures
    from deconvnet_cli.reporting import console

    if against is None:
        return {}
    before = read_figures(against, now.part)
    found, keys = by_key(before), list(wanted)
    if not found.keys() & keys:
        rows = "; ".join(" ".join(key) for key in found)
        raise UsageError(f"{against}: has figures of {rows or 'nothing'} alone; measure these")
    if otherwise := differences(before, now):
        console.say(f"{against}: measured otherwise: {otherwise}")
    return found
