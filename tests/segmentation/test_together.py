"""Several photos at once get the maps and boxes that each gets alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from deconvnet_cli.choices import DEFAULT, FCN_DEFAULT
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.segment import infer
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import System, alone, box_settings
from deconvnet_cli.segmentation.together import infer_together
from deconvnet_cli.weights.files import load

FLOAT = {"atol": 2e-4, "rtol": 0}


@pytest.fixture(scope="module")
def system() -> System:
    """The shipped nets, shown photos of less pixels than they are made for."""
    weights, fcn = load(DEFAULT), load(FCN_DEFAULT)
    shown = replace(weights.card.input, size=64, whole=128, further=(96,), coarse=(160,))
    small = replace(fcn.card.input, whole=128)
    return System(
        replace(weights, card=replace(weights.card, input=shown)),
        replace(fcn, card=replace(fcn.card, input=small)),
    )


@pytest.fixture(scope="module")
def photos(data):
    """Three photos of different shapes."""
    names = {"chelsea.jpg": (150, 100), "astronaut.jpg": (120, 140), "coffee.jpg": (130, 90)}
    found = [
        read_photo(data / name).resize(size)
        for name, size in names.items()
        if (data / name).exists()
    ]
    assert len(found) > 1
    return found


def boxes_of(photos, system, settings):
    wanted = box_settings(system.deconvnet, settings)
    return [propose(np.asarray(photo), wanted).boxes for photo in photos]


@pytest.mark.parametrize(
    "settings",
    [
        SegmentSettings(6, batch_size=4),
        SegmentSettings(until_settled=True),
        SegmentSettings(6, merge="max", batch_size=3),
        SegmentSettings(9, merge="mean-probability", until_settled=True),
        SegmentSettings(1),
    ],
    ids=["boxes", "settled", "max", "stops", "one"],
)
def test_each_photo_gets_what_it_gets_alone(photos, system, settings) -> None:
    boxes = boxes_of(photos, system, settings)
    together = infer_together(photos, boxes, system, settings)
    for photo, found, shown in zip(photos, together, boxes, strict=True):
        expected = infer(photo, system, settings, boxes=shown)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        assert found.proposals == expected.proposals and found.photo is photo
        torch.testing.assert_close(found.maps.deconvnet, expected.maps.deconvnet, **FLOAT)
        torch.testing.assert_close(found.maps.fcn, expected.maps.fcn, **FLOAT)
        assert found.maps.raw == expected.maps.raw


@pytest.mark.parametrize("rule", ["context", "context-max"])
def test_boxes_are_skipped_where_the_whole_photo_is_a_crop_too(photos, system, rule) -> None:
    card = system.deconvnet.card
    square = replace(card, input=replace(card.input, size=96, whole=0, further=(), coarse=()))
    plain = alone(replace(system.deconvnet, card=square))
    settings = SegmentSettings(9, merge=rule, until_settled=True)
    boxes = boxes_of(photos, plain, settings)
    together = infer_together(photos, boxes, plain, settings)
    for photo, found, shown in zip(photos, together, boxes, strict=True):
        expected = infer(photo, plain, settings, boxes=shown)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        torch.testing.assert_close(found.maps.deconvnet, expected.maps.deconvnet, **FLOAT)
    assert sum(found.proposals for found in together) < sum(map(len, boxes))  # some were skipped


def test_labels_do_not_depend_on_the_photos_beside_it(photos, system) -> None:
    settings = SegmentSettings(6, batch_size=4)
    boxes = boxes_of(photos, system, settings)
    together = infer_together(photos, boxes, system, settings)
    for number, photo in enumerate(photos):
        (found,) = infer_together([photo], [boxes[number]], system, settings)
        assert torch.equal(found.maps.deconvnet, together[number].maps.deconvnet)


def test_nets_without_boxes(photos, system) -> None:
    fcn = alone(system.fcn)
    together = infer_together(photos, [None] * len(photos), fcn, SegmentSettings())
    for photo, found in zip(photos, together, strict=True):
        expected = infer(photo, fcn, SegmentSettings())
        assert found.maps.deconvnet is None and not len(found.boxes)
        torch.testing.assert_close(found.maps.fcn, expected.maps.fcn, **FLOAT)
