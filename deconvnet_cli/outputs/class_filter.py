"""Choose classes by name, and find their pixels."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deconvnet_cli.data.classes import listed
from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKGROUND = 0


def chosen_labels(
    names: Iterable[str] | None, classes: Sequence[str], option: str = "--only"
) -> tuple[int, ...]:
    """Return the labels of the named classes, sorted.

    Args:
        names: The names of the classes, in any case; a string is one name. A name with commas may
            be in parts, one after another. None chooses all classes but the background.
        classes: The names of the labels, in order.
        option: The option that errors name.

    Raises:
        UsageError: A name is unknown, or no name is given.
    """
    if names is None:
        return tuple(label for label in range(len(classes)) if label != BACKGROUND)
    chosen = set()
    label_of = {parts_of(name): label for label, name in reversed(list(enumerate(classes)))}
    most = max(map(len, label_of), default=1)  # parts of the longest name
    if isinstance(names, str) or not isinstance(names, Iterable):
        names = (names,)
    rest = list(names)
    for name in rest:
        if not isinstance(name, str):
            raise UsageError(f"{option}: {name!r} is no name of a class; {near_match('', classes)}")
    while rest:
        if rest[0] in classes:
            chosen.add(classes.index(rest.pop(0)))
            continue
        for count in range(1, min(most, len(rest)) + 1):
            label = label_of.get(parts_of(",".join(rest[:count])))
            if label is not None:
                chosen.add(label)
                del rest[:count]
                break
        else:
            hint = near_match(rest[0], classes)
            raise UsageError(f"{option}: no class is called {rest[0]!r}; {hint}")
    if not chosen:
        raise UsageError(f"{option}: no class is given; known: {listed(classes)}")
    return tuple(sorted(chosen))


def near_match(name: str, classes: Sequence[str]) -> str:
    """Return a hint for an unknown name: the nearest class, and all classes."""
    near = difflib.get_close_matches(name.lower(), classes, n=1)
    return "".join(f"did you mean {guess}? " for guess in near) + f"known: {listed(classes)}"


def names_in(text: str) -> tuple[str, ...]:
    """Return the names that an option lists, separated by commas.

    A name in double quotes may have commas itself. Without the quotes its parts are returned, which
    :func:`chosen_labels` puts together unless the first of them is a class too.
    """
    try:
        rows = list(csv.reader([text], skipinitialspace=True, strict=True))
    except csv.Error:  # a quote alone, or a line break
        rows = [text.split(",")]
    return tuple(name.strip() for row in rows for name in row) or ("",)


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name between its commas, in lower case."""
    return tuple(part.strip().lower() for part in name.split(","))


def mask_of(labels: NDArray[np.uint8], chosen: Iterable[int]) -> NDArray[np.bool_]:
    """Return where the map has one of the chosen labels, bool H x W."""
    import numpy as np

    table = np.zeros(256, bool)
    table[list(chosen)] = True
    return table[labels]
