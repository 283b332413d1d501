"""The checks of the options of ``evaluate``, before hours of work."""

from __future__ import annotations

from dataclasses import fields
from os.path import realpath
from pathlib import Path

from deconvnet_cli.commands.shared.options import refuse_given, refuse_others
from deconvnet_cli.errors import UsageError
from deconvnet_cli.segmentation.settings import SegmentOptions
from deconvnet_cli.storage.files import refuse_overwriting

# Names of parameters: those that --merge and --compare use, those that turn the maps of nets into
# labels, and those with which nets are run.
MERGE_AND_COMPARE_OPTIONS = frozenset(
    ["files", "merge", "compare", "output", "as_csv", "quiet", "as_json"]
)
LABELLING_OPTIONS = frozenset(["system_name", "ensemble", "share", "crf", "crf_backend"])
NET_OPTIONS = {field.name for field in fields(SegmentOptions)} - LABELLING_OPTIONS


def check_reading(merge: bool, compare: bool, output: Path | None, as_csv: bool) -> None:
    """Raise UsageError unless the options fit --merge or --compare."""
    if merge and compare:
        raise UsageError("--merge and --compare exclude each other; give one of them")
    refuse_others(MERGE_AND_COMPARE_OPTIONS, "--merge and --compare read files of counts")
    if compare and (output is not None or as_csv):
        raise UsageError("--compare writes no counts; leave out -o and --csv")


def check_running(
    files: tuple[Path, ...],
    predictions: Path | None,
    allow_missing: bool,
    scores: Path | None,
    table: bool,
    system_name: str | None,
) -> None:
    """Raise UsageError unless the options fit an evaluation."""
    if files:
        raise UsageError(f"{files[0]}: files are for --merge and --compare")
    if predictions is not None and scores is not None:
        raise UsageError("--predictions and --scores exclude each other; give one of them")
    if allow_missing and predictions is None:
        raise UsageError("--allow-missing goes with --predictions")
    if table and predictions is not None:
        raise UsageError("--table needs scores, not label PNGs; see --scores")
    if scores is not None:
        refuse_given(NET_OPTIONS, "--scores come from nets that were run before")
    if predictions is not None:
        refuse_given(NET_OPTIONS | LABELLING_OPTIONS, "--predictions are evaluated as they are")
    if table and system_name not in (None, "edeconvnet"):
        raise UsageError(f"--table has rows of all nets; leave out --net {system_name}")


def check_outputs(files: tuple[Path, ...], output: Path | None, page: Path | None) -> None:
    """Raise UsageError, before hours of work, if an output would replace another file."""
    if output is not None:
        if page is not None and realpath(output) == realpath(page):
            raise UsageError(f"{output}: -o and --report are two files; give them two names")
        for file in files:
            refuse_overwriting(file, output, "one of the files to add up")
