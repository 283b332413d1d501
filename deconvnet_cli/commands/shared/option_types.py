"""The types of options that check what click's own types let pass."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import click

from deconvnet_cli.errors import UsageError
from deconvnet_cli.outputs.targets import require_suffix
from deconvnet_cli.segmentation.loading import check_edges
from deconvnet_cli.storage.files import require_folder
from deconvnet_cli.storage.remote import RemotePath, place

# Whether a path can be read is told by reading it: an output may be closed to readers.
PATH = click.Path(path_type=Path, readable=False)
FILE = click.Path(path_type=Path, readable=False, dir_okay=False)
FOLDER = click.Path(path_type=Path, readable=False, file_okay=False)
EXISTING_FILE = click.Path(path_type=Path, readable=False, dir_okay=False, exists=True)
EXISTING_FOLDER = click.Path(path_type=Path, readable=False, file_okay=False, exists=True)


class Edges(click.ParamType[str]):
    """The type of an option that takes ``gradient`` or ``structured:FILE``."""

    name = "gradient|structured:FILE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            check_edges(value)
        except UsageError:
            self.fail(f"{value!r} is neither 'gradient' nor 'structured:FILE'")
        return value


class NewFile(click.Path):
    """The type of an option that takes a file to write, whose folder is there.

    Attributes:
        kind: The suffix of its format; a name with the suffix of another one is refused.
        what: What is written, with a verb, for the error: "the net is".
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(dir_okay=False, path_type=Path, readable=False)
        self.kind, self.what = kind, what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        require_suffix(path, self.kind, self.what)
        require_folder(path, f"another {param.opts[-1]}" if param else "another file")
        return path


class FolderOrUrl(click.Path):
    """The type of an option that takes a folder, or a URL such as ``s3://bucket/labels``."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = place(value) if isinstance(value, str) else value
        return path if isinstance(path, RemotePath) else super().convert(str(path), param, ctx)


class Proposals(click.ParamType[int | Literal["auto"]]):
    """The type of an option that takes a number of boxes, or ``auto``."""

    name = "N|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        if value == "auto":
            return "auto"
        try:
            return click.IntRange(1).convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a whole number above 0 nor auto.", param, ctx)


class FiniteRange(click.FloatRange):
    """A range of numbers without NaN, which is below and above no end, and without infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
