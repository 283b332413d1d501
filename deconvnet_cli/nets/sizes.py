"""The side by which the size of a photo is measured, and photos scaled down by it."""

from __future__ import annotations

from math import sqrt

# Photos up to 5:2, as nearly all are, are measured by their longer side.
LONGEST_SHAPE = 2.5
# A photo that is longer than 40:1 gets no longer than four times the side that is asked for.
LEAST_SHARE = 0.25


def nominal_side(width: int, height: int) -> float:
    """Return the side, pixels, that counts as a photo's longer side when it is scaled.

    A longer photo than 5:2 counts as a photo of 5:2 with its area. If its longer side counted, a
    panorama would be scaled to a narrow strip in which little is found.
    """
    longer = max(width, height)
    return max(min(longer, sqrt(LONGEST_SHAPE * width * height)), LEAST_SHARE * longer)


def scaled_down(width: int, height: int, side: float) -> tuple[int, int]:
    """Return the size of a photo, scaled down if its nominal side exceeds ``side`` pixels."""
    scale = side / nominal_side(width, height)
    if scale >= 1:
        return width, height
    return max(1, round(width * scale)), max(1, round(height * scale))
