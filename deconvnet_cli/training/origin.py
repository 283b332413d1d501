"""What a run was begun from: ``begun_from.toml`` in its folder, a line each, for people to read.

A run goes on only from the same. Folders of earlier versions have no such file and go on.
"""

from __future__ import annotations

from pathlib import Path

from deconvnet_cli.data.voc import VocTree
from deconvnet_cli.errors import UsageError, printable
from deconvnet_cli.storage.files import write_whole
from deconvnet_cli.storage.hashing import bytes_sha256, file_sha256_or_none
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.settings_toml import as_toml, read_settings
from deconvnet_cli.weights.shipped import locate, registry

FILE = "begun_from.toml"
TREE = "voc-root"
Origin = dict[str, str]


def origin_of(
    tree: VocTree, settings: TrainSettings, init: str | None, weights: str | None
) -> Origin:
    """Return what a run of this command begins from, by the name of the option.

    The contents of lists and weights count, not the names of their files.

    Args:
        init: The published encoder that ``--init`` names.
        weights: The weights that ``--from`` names.

    Raises:
        DatasetError: A list cannot be read.
    """
    lists = dict.fromkeys([*settings.lists, *([settings.val_list] if settings.val_list else [])])
    return {
        TREE: printable(str(tree.root.resolve())),
        "from": _file(weights),
        "init": _file(init),
        **{f"list {name}": _names(tree.names(name)) for name in map(str, lists)},
    }


def _file(name: str | None) -> str:
    if name is None:
        return ""
    path = locate(name) if name in registry() else Path(name)
    digest = file_sha256_or_none(path) if path.is_file() else None
    return printable(name) + (f", SHA-256 {digest}" if digest else "")


def _names(names: list[str]) -> str:
    digest = bytes_sha256("\n".join(names).encode("utf-8", "surrogateescape"))
    return f"{len(names)} photos, SHA-256 {digest}"


def check_origin(run: Path, origin: Origin) -> None:
    """Raise UsageError if the run in the folder was begun from something else."""
    path = run / FILE
    if not path.is_file():
        return
    before = read_settings(path)
    for name, value in origin.items():
        known = str(before.get(name, ""))
        # Of a file the content counts, after its name.
        if known.rpartition("SHA-256 ")[2] == value.rpartition("SHA-256 ")[2]:
            continue
        remedy = "; if it was moved there, correct this file" if name == TREE else ""
        option = name if name.startswith("list ") else f"--{name}"
        raise UsageError(
            f"{path}: this run was begun with {option} = {known or 'nothing'}, now it is "
            f"{value or 'nothing'}; give the same again, or another --out{remedy}"
        )


def write_origin(run: Path, origin: Origin) -> None:
    """Write what a run begins from into its folder.

    Raises:
        OutputError: The file cannot be written.
    """
    write_whole(run / FILE, as_toml(origin).encode())
