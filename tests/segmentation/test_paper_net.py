"""The paper's net with the weights that ship: it finds what the photos of the repository show."""

from __future__ import annotations

import numpy as np
import pytest

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.runtime.devices import CPU
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System
from deconvnet_cli.weights.files import load

NAME = "deconvnet-vgg16"
FEW = SegmentSettings(proposals=4)  # of 50, to be quick


@pytest.fixture(scope="module")
def paper_net() -> System:
    return System(load(NAME)).ready(CPU, "fp32")


@pytest.mark.slow
@pytest.mark.parametrize(("photo", "shown", "where"), [
    # Rows and columns that lie on the cat's face, and on the astronaut's face and suit.
    ("chelsea.jpg", "cat", (slice(100, 200), slice(120, 330))),
    ("astronaut.jpg", "person", (slice(80, 190), slice(195, 255))),
])  # fmt: skip
def test_it_finds_what_the_photo_shows(data, paper_net, photo, shown, where):
    labels = segment(read_photo(data / photo), paper_net, FEW).labels
    assert (labels[where] == CLASSES.index(shown)).mean() > 0.9
    counts = np.bincount(labels[labels > 0], minlength=len(CLASSES))
    assert counts.argmax() == CLASSES.index(shown)
