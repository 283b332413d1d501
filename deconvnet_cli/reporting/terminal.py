"""What the terminal can show, by its environment.

Nothing is asked of the terminal itself: its answer would be read from standard input, where a
photo may be coming in, and what a person types ahead would be lost. So sixel, which no variable
announces, is drawn only when it is asked for.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

USUAL_CELL = (8, 16)  # pixels, width and height, where the terminal does not say
HALF_BLOCK = "\N{UPPER HALF BLOCK}"


@dataclass(frozen=True)
class Screen:
    """What a terminal can show.

    Attributes:
        kind: of the picture: "kitty", "iterm", "sixel", "blocks" or "none".
        colours: of text: "true", "256" or "none".
        columns: its width in cells.
        cell: width and height of a cell in pixels.
    """

    kind: str
    colours: str
    columns: int
    cell: tuple[int, int] = USUAL_CELL


def screen(
    stream: IO[str], encoding: str, columns: int, wanted: str, environment: Mapping[str, str]
) -> Screen:
    """What the terminal behind ``stream`` shows of a picture that is ``wanted`` in some way."""
    colours = text_colours(environment)
    kind = choose(wanted, colours, environment)
    if kind == "blocks" and not encodable(HALF_BLOCK, encoding):
        kind = "none"
    return Screen(kind, colours, columns, cell_pixels(stream.fileno()))


def text_colours(environment: Mapping[str, str]) -> str:
    """How many colours text may have: "true", "256" or "none".

    With NO_COLOR (no-color.org) it has none; 16 colours are too few for VOC's 21.
    """
    term = environment.get("TERM", "")
    if environment.get("NO_COLOR") or term == "dumb":
        return "none"
    if environment.get("COLORTERM") in ("truecolor", "24bit"):
        return "true"
    return "256" if "256color" in term or environment.get("COLORTERM") else "none"


def choose(wanted: str, colours: str, environment: Mapping[str, str]) -> str:
    """The kind of picture: what is ``wanted``, or by the environment if that is "auto".

    Half blocks need coloured text, so with NO_COLOR there are none even if they are wanted. The
    other kinds send an image file and no coloured text; NO_COLOR does not speak of them.
    """
    kind = wanted
    if wanted == "auto":
        term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
        kind = "blocks"
        # In tmux and screen the variables of the terminal around them are still there, but
        # pictures do not get through.
        if not environment.get("TMUX") and not term.startswith(("tmux", "screen")):
            if environment.get("KITTY_WINDOW_ID") or term in ("xterm-kitty", "xterm-ghostty"):
                kind = "kitty"
            elif program in ("iTerm.app", "WezTerm", "mintty"):
                kind = "iterm"
        if term == "dumb":
            kind = "none"
    return "none" if kind == "blocks" and colours == "none" else kind


def encodable(text: str, encoding: str) -> bool:
    """Whether ``text`` can be written in ``encoding``."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def cell_pixels(descriptor: int) -> tuple[int, int]:
    """Width and height of a cell in pixels, or ``USUAL_CELL`` where the terminal does not say."""
    if sys.platform == "win32":
        return USUAL_CELL
    import fcntl
    import termios

    try:
        size = fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8))
    except OSError:  # no terminal at all
        return USUAL_CELL
    rows, columns, width, height = struct.unpack("HHHH", size)
    if 0 in (rows, columns, width, height):
        return USUAL_CELL
    return max(1, width // columns), max(1, height // rows)
