"""The colours of classes of one's own: all different, and apart for colour-blind people."""

from __future__ import annotations

import numpy as np
import pytest

from deconvnet_cli.data.colours import OKABE_ITO, palette_for
from deconvnet_cli.data.voc import CLASSES, IGNORE, palette

# F. Vienot, H. Brettel, J. D. Mollon, "Digital video colourmaps for checking the legibility of
# displays by dichromats", Color Research and Application 24(4), 1999: from linear RGB to the
# responses of the cones, and these of a dichromat from the two that are left.
CONES = np.array(
    [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
)
DICHROMATS = {
    "normal": np.eye(3),
    "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
    "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def names(count: int) -> tuple[str, ...]:
    return ("background", *(f"class {number}" for number in range(1, count)))


def least_distance(colours: np.ndarray, sight: str) -> float:
    """The least distance of two colours in CIE Lab, as a dichromat sees them."""
    linear = (colours / 255) ** 2.2
    seen = linear @ (np.linalg.inv(CONES) @ DICHROMATS[sight] @ CONES).T
    x, y, z = np.moveaxis(np.cbrt(np.clip(seen, 0, 1) @ XYZ.T / XYZ.sum(1)), -1, 0)
    lab = np.stack((116 * y, 500 * (x - y), 200 * (y - z)), -1)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return float(apart[~np.eye(len(lab), dtype=bool)].min())


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


@pytest.mark.parametrize("sight", list(DICHROMATS))
def test_colour_blind_people_tell_them_apart(sight: str):
    """VOC's own colours are far closer for them: 1 or less."""
    for count, least in ((9, 15), (21, 12), (64, 6), (255, 1.5)):
        assert least_distance(palette_for(names(count))[:count], sight) > least, count
