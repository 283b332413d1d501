"""Several faults of a dataset at once, so that a person mends them in one go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deconvnet_cli.data.notes import note
from deconvnet_cli.errors import DatasetError, DeconvnetError

SHOWN = 10  # faults that are printed one by one


def require_no_faults(errors: Sequence[DeconvnetError], where: Path) -> None:
    """Print the first faults, a line each, and raise an error; a single one is raised itself.

    Args:
        where: The tree or list that they belong to.

    Raises:
        DatasetError: There are several faults.
        DeconvnetError: There is one.
    """
    if len(errors) == 1:
        raise errors[0]
    if errors:
        for error in errors[:SHOWN]:
            note(str(error))
        more = len(errors) - SHOWN
        rest = f"; {more} more than these {SHOWN}" if more > 0 else ""
        raise DatasetError(
            f"{where}: {len(errors)} photos or masks cannot be used{rest}; "
            "`deconvnet dataset check` lists all that is wrong with a tree"
        )


def first_names(names: Sequence[str]) -> str:
    """Return the first of these names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
