"""The files of a folder that belong to the names of a list: label PNGs, stored scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deconvnet_cli.errors import DatasetError


def files_of_names(folder: Path, names: Sequence[str], suffix: str) -> dict[str, Path]:
    """Return the path of each name: ``NAME`` with the suffix in the folder, whether or not there.

    If the folder has none of them, those in its subfolders are taken, where `batch` puts them for
    a list of photos in folders.

    Raises:
        DatasetError: Two files in subfolders are of one name.
    """
    files = {name: folder / f"{name}{suffix}" for name in names}
    if any(path.is_file() for path in files.values()):
        return files
    ends = {path.relative_to(folder).as_posix(): name for name, path in files.items()}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"*{suffix}")):
        parts = path.relative_to(folder).parts
        for start in range(1, len(parts)):
            name = ends.get("/".join(parts[start:]))
            if name is None:
                continue
            other = found.setdefault(name, path)
            if other != path:
                raise DatasetError(
                    f"{folder}: {other.relative_to(folder)} and {path.relative_to(folder)} are "
                    f"both of {name}; give the folder of one of them"
                )
    return files | found
