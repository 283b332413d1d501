"""The colours of classes of one's own: all different, and apart for colour-blind people."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.colour_sight import SIGHT, least_distance

from deconvnet_cli.data.colours import OKABE_ITO, palette_for
from deconvnet_cli.data.voc import CLASSES, IGNORE, palette


def names(count: int) -> tuple[str, ...]:
    return ("background", *(f"class {number}" for number in range(1, count)))


def test_vocs_names_have_vocs_colours():
    assert np.array_equal(palette_for(CLASSES), palette())
    assert not np.array_equal(palette_for(CLASSES[::-1]), palette())


@pytest.mark.parametrize("count", [2, 4, 9, 21, 255])
def test_colours_are_distinct_and_do_not_change_with_more_classes(count: int):
    colours = palette_for(names(count))
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert not colours[0].any() and np.array_equal(colours[IGNORE], palette()[IGNORE])
    used = [tuple(colour) for colour in colours[[*range(count), IGNORE]].tolist()]
    assert len(set(used)) == count + 1
    assert np.array_equal(colours[:count], palette_for(names(255))[:count])
    colours[1] = 0  # a copy: no caller changes the colours of another
    assert palette_for(names(count))[1].any()


def test_the_first_are_okabe_and_itos():
    expected = [[value >> 16, value >> 8 & 255, value & 255] for value in OKABE_ITO.values()]
    assert palette_for(names(8))[:8].tolist() == expected


@pytest.mark.parametrize("sight", SIGHT)
def test_colour_blind_people_tell_them_apart(sight: str):
    """VOC's own colours are far closer for them: 1 or less."""
    for count, least in ((9, 15), (21, 12), (64, 6), (255, 1.5)):
        assert least_distance(palette_for(names(count))[:count], sight) > least, count
