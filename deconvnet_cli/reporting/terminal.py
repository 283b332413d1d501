"""Find out from the environment what the terminal can show.

The terminal itself is not queried. Its answer would arrive on standard input, which may carry a
photo, and keys typed ahead would be lost. No variable announces sixel, so it is drawn only on
request.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

USUAL_CELL = (8, 16)  # width and height in pixels, if the terminal does not report them
HALF_BLOCK = "\N{UPPER HALF BLOCK}"


@dataclass(frozen=True)
class Screen:
    """The abilities of a terminal.

    Attributes:
        kind: The kind of picture: "kitty", "iterm", "sixel", "blocks" or "none".
        colours: The colours of text: "true", "256" or "none".
        columns: The width of the terminal in cells.
        cell: The width and height of a cell in pixels.
    """

    kind: str
    colours: str
    columns: int
    cell: tuple[int, int] = USUAL_CELL


def screen(
    stream: IO[str], encoding: str, columns: int, wanted: str, environment: Mapping[str, str]
) -> Screen:
    """Return what the terminal behind ``stream`` can show, given the ``wanted`` kind of picture."""
    colours = text_colours(environment)
    kind = choose(wanted, colours, environment)
    if kind == "blocks" and not HALF_BLOCK.encode(encoding, "ignore"):
        kind = "none"
    return Screen(kind, colours, columns, cell_pixels(stream.fileno()))


def text_colours(environment: Mapping[str, str]) -> str:
    """Return the colours that text may have: "true", "256" or "none".

    NO_COLOR (no-color.org) means none. So do 16 colours, too few for VOC's 21 classes.
    """
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR") or term == "dumb":
        return "none"
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return "true"
    return "256" if "256color" in term or environment.get("COLORTERM") else "none"


def choose(wanted: str, colours: str, environment: Mapping[str, str]) -> str:
    """Return the kind of picture: the ``wanted`` one, or the environment's best for "auto".

    Half blocks need coloured text, so NO_COLOR turns them off even if they are wanted. The other
    kinds send an image file and no coloured text, so NO_COLOR does not concern them.
    """
    kind = wanted
    if wanted == "auto":
        term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
        kind = "blocks"
        # tmux and screen keep the variables of the terminal around them, but pass on no pictures.
        if not environment.get("TMUX") and not term.startswith(("tmux", "screen")):
            if environment.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty"):
                kind = "kitty"
            elif program in ("iTerm.app", "WezTerm", "mintty"):
                kind = "iterm"
        if term == "dumb":
            kind = "none"
    return "none" if kind == "blocks" and colours == "none" else kind


def cell_pixels(descriptor: int) -> tuple[int, int]:
    """Return the width and height of a cell in pixels, or ``USUAL_CELL`` if they are unknown."""
    if sys.platform == "win32":
        return USUAL_CELL
    import fcntl
    import termios

    try:
        size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:  # not a terminal
        return USUAL_CELL
    rows, columns, width, height = struct.unpack("HHHH", size)
    if 0 in (rows, columns, width, height):
        return USUAL_CELL
    return max(1, width // columns), max(1, height // rows)
