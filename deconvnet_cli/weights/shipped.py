"""The shipped weights: their registry, their folder, and the search by name."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from deconvnet_cli.errors import ChecksumError, WeightsError, why
from deconvnet_cli.storage.hashing import file_sha256


def registry() -> dict[str, dict[str, str]]:
    """Return the registry of shipped weights: name -> {"file", "sha256"}.

    Raises:
        WeightsError: The shipped weights are not installed, or their registry is damaged.
    """
    path = shipped_folder() / "registry.json"
    try:
        entries = json.loads(path.read_text())
        return {
            name: {"file": str(entry["file"]), "sha256": str(entry["sha256"])}
            for name, entry in entries.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: damaged ({why(error)}); install deconvnet again") from error


def shipped_folder() -> Path:
    """Return the folder of the shipped weights.

    Raises:
        WeightsError: The package ``deconvnet_weights`` is not installed.
    """
    try:
        return Path(str(resources.files("deconvnet_weights")))
    except ModuleNotFoundError:
        raise WeightsError(
            "the shipped weights are not installed; install deconvnet with `pip install .`"
        ) from None


def locate(name_or_path: str) -> Path:
    """Return the path of shipped weights, whose SHA-256 is checked, or of a weights file.

    Raises:
        WeightsError: There are no such shipped weights and no such file.
        ChecksumError: A shipped file differs from the published one.
    """
    entries = registry()
    if name_or_path in entries:
        entry = entries[name_or_path]
        path = shipped_folder() / entry["file"]
        check_sha256(path, entry["sha256"])
        return path
    path = Path(name_or_path)
    if not path.is_file():
        given = name_or_path or "an empty name"
        raise WeightsError(f"{given}: neither a file nor shipped weights ({', '.join(entries)})")
    return path


def weights_sha256(path: Path) -> str:
    """Return the SHA-256 of a weights file as a hex digest.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({why(error)})") from error


def check_sha256(path: Path, expected: str) -> None:
    """Raise ChecksumError unless the file has this SHA-256."""
    actual = weights_sha256(path)
    if actual != expected:
        raise ChecksumError(
            f"{path}: SHA-256 is {actual[:12]}..., expected {expected[:12]}...; "
            "the file is damaged or was changed, install it again"
        )
