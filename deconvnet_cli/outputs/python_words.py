"""Errors in the words of Python: arguments in place of the options of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from deconvnet_cli.choices import ENSEMBLES, MERGES, PRECISIONS, SYSTEMS
from deconvnet_cli.errors import DeconvnetError
from deconvnet_cli.outputs.files import ALL_FORMATS, POLYGONS, Outputs
from deconvnet_cli.segmentation.settings import SegmentOptions

OPTIONS = (*fields(SegmentOptions), *fields(Outputs))
ARGUMENTS = frozenset(option.name for option in OPTIONS) | {"net", "rule", "page"}
SWITCHES = frozenset(option.name for option in OPTIONS if isinstance(option.default, bool))
KNOWN = (*SYSTEMS, *ENSEMBLES, *MERGES, *PRECISIONS, *ALL_FORMATS, *POLYGONS)
# The longest first, as one may begin with another: coco-polygons.
VALUES = "|".join(sorted((*KNOWN, "cpu", "cuda", "mps", "auto"), key=len, reverse=True))
# An option, and the value after it: a known one, or any that a colon ends.
OPTION = re.compile(rf"(\badd )?(?<!\S)--([a-z][a-z-]*)(?: ((?:{VALUES})\b(?!:)|\S+(?=: )))?")
# At the start of a message, the value before the colon may have spaces.
FIRST = re.compile(r"()^--([a-z][a-z-]*) ([^;:]+)(?=: )")
# What the command line says of -o, where Python has a path.
OUTPUT = re.compile(r" with -o\b|(?<= )-o (?=DIR/)")
COMMAND = re.compile(r"(`[^`]*`)")  # of the shell, to be typed as it stands
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@contextmanager
def in_python_words() -> Iterator[None]:
    """Let errors within name arguments: ``net='fcn8s'`` in place of ``--net fcn8s``."""
    try:
        yield
    except DeconvnetError as error:
        error.args = (translated(str(error)),)
        raise


def translated(message: str) -> str:
    """Return a message with arguments in place of options, other than in its commands."""

    def argument(found: re.Match[str]) -> str:
        add, option, value = found.groups(default="")
        name = option.replace("-", "_")
        if name not in ARGUMENTS:
            return found[0]
        if value:
            return f"{add}{name}={value if NUMBER.fullmatch(value) else repr(value)}"
        return f"{add}{name}=True" if add and name in SWITCHES else f"{add}{name}"

    def words(text: str) -> str:
        return OPTION.sub(argument, OUTPUT.sub("", text))

    pieces = COMMAND.split(FIRST.sub(argument, message))
    pieces[::2] = map(words, pieces[::2])
    return "".join(pieces)
