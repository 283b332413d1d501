"""Which classes are shown: names made labels, and the pixels that have them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from deconvnet_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BACKGROUND = 0


def chosen_labels(names: Iterable[str] | None, classes: Sequence[str]) -> tuple[int, ...]:
    """The labels of classes, in order; of all but the background if ``names`` is None.

    Args:
        names: of classes; a string is one name.
        classes: names of the labels, in order.

    Raises:
        UsageError: no name at all, or one that is not among them.
    """
    if names is None:
        return tuple(label for label in range(len(classes)) if label != BACKGROUND)
    chosen = set()
    for name in (names,) if isinstance(names, str) else names:
        if name not in classes:
            raise UsageError(f"--only: no class is called {name!r}; {near_match(name, classes)}")
        chosen.add(classes.index(name))
    if not chosen:
        raise UsageError(f"--only: no class is named; known: {', '.join(classes)}")
    return tuple(sorted(chosen))


def near_match(name: str, classes: Sequence[str]) -> str:
    """What may have been meant, and what there is."""
    near = difflib.get_close_matches(name.lower(), classes, n=1)
    return "".join(f"did you mean {guess}? " for guess in near) + f"known: {', '.join(classes)}"


def mask_of(labels: NDArray[np.uint8], chosen: Iterable[int]) -> NDArray[np.bool_]:
    """Where one of the chosen labels is, bool H x W."""
    import numpy as np

    table = np.zeros(256, bool)
    table[list(chosen)] = True
    return table[labels]
