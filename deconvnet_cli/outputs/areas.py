"""Least areas of what is shown: a share of the photo, or a number of pixels."""

from __future__ import annotations

from numbers import Real

MIN_AREA = 0.001  # the default of the command line, the server and Python, a share of the photo
AREA = "a share of the photo below 1 or a whole number of pixels"


def is_area(value: object) -> bool:
    """Return whether a value is a share from 0 to below 1, or a whole number of pixels."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    number = float(value)
    return 0 <= number < 1 or (number >= 1 and number.is_integer())
