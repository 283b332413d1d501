"""Check or merge the manifests of earlier runs: ``deconvnet batch --verify`` and ``--merge``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from deconvnet_cli.batch.collection import copy_class_files, write_collection
from deconvnet_cli.batch.manifest import FAILED, NAME, manifests_in, read_entries, write_entries
from deconvnet_cli.batch.merge_shards import check_shards, fetch, otherwise, require_one_photo_each
from deconvnet_cli.batch.resume import damaged
from deconvnet_cli.errors import DatasetError, UsageError
from deconvnet_cli.reporting import console
from deconvnet_cli.reporting.numerals import counted
from deconvnet_cli.storage.files import locked, make_folder


def verify_outputs(folder: Path, quiet: bool, as_json: bool) -> None:
    """Check that every file of an output folder is as it was written.

    Raises:
        SystemExit: Files are missing or changed; each of them is printed first.
    """
    require_manifest(folder)
    entries = read_entries(folder)
    errors = []
    for entry, error in damaged(entries.values(), folder):
        errors.append(error)
        if as_json:
            output = str(folder / entry.output)
            console.json_line({"image": entry.image, "output": output, "error": error})
    if not quiet:
        failed = sum(entry.status == FAILED for entry in entries.values())
        console.say(
            f"{folder}: {counted(len(entries) - failed, 'photo')} done, {failed} failed, "
            f"{counted(len(errors), 'file')} missing or changed"
        )
    for error in errors:
        console.failure(f"{error}; start the batch again")
    if errors:
        raise SystemExit(1)


def merge_shards(sources: tuple[str, ...], output: Path | None, quiet: bool) -> None:
    """Merge the manifests of all shards, and copy the files of other folders to the output."""
    if output is None:
        if len(sources) != 1:
            raise UsageError(
                "--merge puts the shards of several folders into one; name it with -o DIR"
            )
        output = Path(sources[0])
    home = output.resolve()
    others = [folder for folder in map(Path, sources) if folder.resolve() != home]
    folders = [output, *others]
    for folder in others or [output]:  # before a folder is made or locked
        require_manifest(folder)
    make_folder(output)
    with ExitStack() as stack:
        for folder in folders:
            if os.access(folder, os.W_OK):  # no shard runs in a folder that nobody can write to
                stack.enter_context(locked(folder))
        shards = check_shards(folders)
        manifests = {folder: read_entries(folder) for folder in folders}
        require_one_photo_each(manifests)
        entries = dict(manifests[output])
        for folder in others:
            fetch(folder, manifests[folder], output, entries)
        write_entries(output / NAME, entries.values())
        for path in output.glob("manifest.*-of-*.jsonl"):
            path.unlink()
        shared = copy_class_files(others, output) + write_collection(output, entries.values())
    if odd := otherwise(entries.values()):
        console.say(
            f"{output}: other weights or settings than most have {counted(len(odd), 'photo')}, "
            f"{odd[0].output} first"
        )
    failed = [entry.error or "" for entry in entries.values() if entry.status == FAILED]
    if not quiet:
        done = len(entries) - len(failed)
        console.say(
            f"{output / NAME}: {counted(done, 'photo')} done, "
            f"{len(failed)} failed" + (f", of {counted(shards, 'shard')}" if shards else "")
        )
        for path in shared:
            console.say(f"also: {path}")
    if failed:
        console.batch_failures(failed)
        raise SystemExit(1)


def require_manifest(folder: Path) -> None:
    """Raise DatasetError unless a batch has written to this folder."""
    if not manifests_in(folder):
        raise DatasetError(f"{folder}: no manifest there; `deconvnet batch` writes one")
