"""The figures of ``deconvnet bench`` in a file, and earlier ones beside those of now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from deconvnet_cli.errors import UsageError, why
from deconvnet_cli.runtime.versions import machine, versions
from deconvnet_cli.segmentation.settings import SegmentOptions
from deconvnet_cli.storage.files import read_whole, write_whole
from deconvnet_cli.storage.hashing import bytes_sha256, file_sha256
from deconvnet_cli.weights.shipped import locate, weights_sha256

FORMAT = "deconvnet bench 1"
MAX_BYTES = 1 << 24  # of a file
# Settings that are the SHA-256 of some files, by what they are called in a line.
CONTENTS = {"photos_sha256": "photos", "weights_sha256": "weights", "fcn_sha256": "FCN-8s' weights"}
Key = tuple[str, ...]  # the names of a row and of a column


@dataclass(frozen=True)
class Figures:
    """The results of one run of a part of ``bench``, with all that they depend on.

    Attributes:
        part: The part: "photos", "proposals" or "gpu".
        settings: What was measured, and how.
        lines: The results as ``--json`` prints them.
        machine: See :func:`deconvnet_cli.runtime.versions.machine`.
        versions: The versions of the packages.
        time: When the run began, in UTC.
        format: The format of the file.
    """

    part: str
    settings: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]] = ()
    machine: Mapping[str, str] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)
    time: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(" ", "seconds"))
    format: str = FORMAT


def settings_of(options: SegmentOptions, photos: Iterable[Path], **more: Any) -> dict[str, Any]:
    """Return the settings of a run on some photos; files are known by their content.

    Raises:
        WeightsError: The weights are not found.
    """
    values = asdict(options)
    found = {"weights_sha256": weights_sha256(locate(values.pop("weights")))}
    fcn = values.pop("fcn_weights")
    if options.system_name in ("edeconvnet", "fcn8s"):
        found["fcn_sha256"] = weights_sha256(locate(fcn))
    hashes = "".join(file_sha256(photo) for photo in photos)
    return {**values, **found, "photos_sha256": bytes_sha256(hashes.encode()), **more}


def keep(path: Path | None, now: Figures, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the lines of a run to a file, if one is given, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    if path is not None:
        figures = replace(now, lines=lines)
        write_whole(path, json.dumps(asdict(figures), indent=1).encode() + b"\n")


def read_figures(path: Path, part: str) -> Figures:
    """Return the figures that :func:`keep` wrote.

    Raises:
        UsageError: The file cannot be read, or holds no figures, or those of another part.
    """
    try:
        values = json.loads(read_whole(path, MAX_BYTES))
        found = Figures(**{one.name: values[one.name] for one in fields(Figures)})
        described = (found.machine, found.versions, found.settings)
        if found.format != FORMAT or not all(isinstance(part, dict) for part in described):
            raise ValueError("another format")
        if found.part == part:
            by_key(found)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({why(error)})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: no figures of `bench`; give a file that --save wrote") from error
    if found.part != part:
        raise UsageError(f"{path}: has figures of `bench {found.part}`; give those of {part}")
    return found


def by_key(figures: Figures) -> dict[Key, float]:
    """Return each figure that is compared, by its row and column."""
    found: dict[Key, float] = {}
    for line in figures.lines:
        if figures.part == "photos":
            found[str(line["side"]), line["trial"]] = float(line["photos_per_s"])
        elif figures.part == "gpu":
            for name in ("net_photos_per_s", "photos_per_s"):
                found[str(line["side"]), name] = float(line[name])
        else:
            for iou, shares in line["recall"].items():
                found.update({(iou, count): float(share) for count, share in shares.items()})
            found["ms", "2000"] = float(line["ms"]["proposals"])
            if "first 50" in line["ms"]:  # version 0.1.0 searched for all boxes at once
                found["ms", "50"] = float(line["ms"]["first 50"])
    return found


def compared(now: float, before: float | None, digits: int = 2) -> tuple[str, str]:
    """Return the cells of an earlier figure and of its ratio to that of now; blank without one.

    Args:
        digits: How many decimals it is shown with, as many as that of now.
    """
    if before is None:
        return "", ""
    return f"{before:.{digits}f}", f"{now / before:.2f}" if before else ""


def differences(before: Figures, now: Figures) -> str:
    """Return what was otherwise when earlier figures were measured, on one line; "" if nothing."""
    found = [
        f"{name} {was} (now {here})"
        for kind in ("machine", "versions")
        for name, was, here in _unequal(getattr(before, kind), getattr(now, kind))
    ]
    for name, was, here in _unequal(before.settings, now.settings):
        text = f"{name} {'unset' if was is None else was} (now {'unset' if here is None else here})"
        found.append(f"other {CONTENTS[name]}" if name in CONTENTS else text)
    return ", ".join(found)


def _unequal(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """Yield the name and both values of each entry that differs."""
    for name in (*before, *(name for name in now if name not in before)):
        if before.get(name) != now.get(name):
            yield name, before.get(name), now.get(name)
