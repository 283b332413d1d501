"""The colours of overlays in the settings of a batch: which files of earlier runs count as done."""

from __future__ import annotations

import pytest

from deconvnet_cli.batch.spec import fingerprint_of
from deconvnet_cli.outputs.files import Outputs
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.files import load


@pytest.fixture
def settings_of(tiny_weights):
    system = alone(load(str(tiny_weights)))

    def settings(**outputs) -> str:
        found = Outputs(**{"min_area": 0.001, **outputs})
        return fingerprint_of(system, SegmentSettings(), found).settings

    return settings


def test_label_pngs_do_not_depend_on_the_colours_of_overlays(settings_of, tiny_weights):
    """Nor did they before overlays were in other colours by default."""
    plain = fingerprint_of(alone(load(str(tiny_weights))), SegmentSettings())
    assert settings_of() == plain.settings
    assert settings_of(cutout=True) == plain.settings


def test_overlays_in_other_colours_are_made_anew(settings_of):
    bright, voc = settings_of(overlay=True), settings_of(overlay=True, palette="voc")
    assert bright == settings_of(overlay=True, palette="safe") != voc
    assert voc == settings_of()  # as earlier versions wrote them
