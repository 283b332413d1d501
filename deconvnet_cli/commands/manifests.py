"""What ``deconvnet batch`` does with the manifests of earlier runs: --verify and --merge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deconvnet_cli.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from deconvnet_cli.manifest import Entry


def verify_outputs(folder: Path, quiet: bool, as_json: bool) -> None:
    """Check that every file of an output folder is as it was written."""
    from deconvnet_cli import report
    from deconvnet_cli.manifest import FAILED
    from deconvnet_cli.resume import damaged

    entries = known_entries(folder)
    wrong = []
    for entry, what in damaged(entries.values(), folder):
        wrong.append(what)
        if as_json:
            report.json_line({"image": entry.image, "output": entry.output, "error": what})
    if not quiet:
        failed = sum(entry.status == FAILED for entry in entries.values())
        report.note(
            f"{folder}: {len(entries) - failed} photos done, {failed} failed, "
            f"{len(wrong)} files missing or changed"
        )
    if wrong:
        report.problems([f"{what}; start the batch again" for what in wrong])
        raise SystemExit(1)


def merge_shards(sources: tuple[str, ...], output: Path | None, quiet: bool) -> None:
    """Make one manifest of those of all shards, and bring files of other folders over."""
    from deconvnet_cli import report
    from deconvnet_cli.files import locked, make_folder
    from deconvnet_cli.manifest import FAILED, NAME, write_entries
    from deconvnet_cli.merging import check_shards, fetch

    if output is None:
        if len(sources) != 1:
            raise UsageError("--merge puts the shards of several folders into one: -o DIR")
        output = Path(sources[0])
    folders = [Path(source) for source in sources] or [output]
    make_folder(output)
    with locked(output):
        entries: dict[str, Entry] = known_entries(output) if any(output.glob("manifest*")) else {}
        for folder in folders:
            if folder.resolve() != output.resolve():
                fetch(folder, output, entries)
        if not entries:
            raise DatasetError(f"{output}: no manifest there; `deconvnet batch` writes one")
        shards = check_shards(folders)
        write_entries(output / NAME, entries.values())
        for path in output.glob("manifest.*-of-*.jsonl"):
            path.unlink()
    failed = [entry.error or "" for entry in entries.values() if entry.status == FAILED]
    if not quiet:
        report.note(
            f"{output / NAME}: {len(entries) - len(failed)} photos done, {len(failed)} failed, "
            f"of {shards} shards"
        )
    if failed:
        report.batch_failures(failed)
        raise SystemExit(1)


def known_entries(folder: Path) -> dict[str, Entry]:
    """What the manifests of a folder say.

    Raises:
        DatasetError: there is none.
    """
    from deconvnet_cli.manifest import read_entries

    entries = read_entries(folder)
    if not entries:
        raise DatasetError(f"{folder}: no manifest there; `deconvnet batch` writes one")
    return entries
