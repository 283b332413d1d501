"""Choose classes by name, and find their pixels."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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
        names: The names of the classes, in any case; a string is one name. None chooses all classes
            but the background.
        classes: The names of the labels, in order.
        option: The option that errors name.

    Raises:
        UsageError: A name is unknown, or no name is given.
    """
    if names is None:
        return tuple(label for label in range(len(classes)) if label != BACKGROUND)
    chosen = set()
    by_lower_case = {name.lower(): name for name in reversed(classes)}
    for name in (names,) if isinstance(names, str) else names:
        if name not in classes:
            name = by_lower_case.get(name.lower(), name)
        if name not in classes:
            raise UsageError(f"{option}: no class is called {name!r}; {near_match(name, classes)}")
        chosen.add(classes.index(name))
    if not chosen:
        raise UsageError(f"{option}: no class is given; known: {', '.join(classes)}")
    return tuple(sorted(chosen))


def near_match(name: str, classes: Sequence[str]) -> str:
    """Return a hint for an unknown name: the nearest class, and all classes."""
    near = difflib.get_close_matches(name.lower(), classes, n=1)
    return "".join(f"did you mean {guess}? " for guess in near) + f"known: {', '.join(classes)}"


def mask_of(labels: NDArray[np.uint8], chosen: Iterable[int]) -> NDArray[np.bool_]:
    """Return where the map has one of the chosen labels, bool H x W."""
    import numpy as np

    table = np.zeros(256, bool)
    table[list(chosen)] = True
    return table[labels]
