"""The whole photo at further sides, and the boxes that are left out by default."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from deconvnet_cli.choices import DEFAULT, FCN_DEFAULT
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import infer
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.weights.card import Card, check_card, plain_values
from deconvnet_cli.weights.files import Weights, load

SIDES = (96, 160, 64)


@pytest.fixture(scope="module")
def weights() -> Weights:
    """The shipped net, shown a small whole photo at several sides."""
    loaded = load(DEFAULT)
    convention = replace(loaded.card.input, size=64, whole=128, further=SIDES, coarse=())
    return replace(loaded, card=replace(loaded.card, input=convention))


def seen(photo: Image.Image, weights: Weights, side: int, mirrored: bool) -> torch.Tensor:
    """The probabilities of the photo at one side, in its own size."""
    cells = [max(1, round(length * side / max(photo.size) / 16)) for length in photo.size]
    small = photo.resize((16 * cells[0], 16 * cells[1]), Image.Resampling.BILINEAR)
    pixels = torch.tensor(np.asarray(small)).permute(2, 0, 1).float()
    with torch.no_grad():
        values = weights.net(((pixels.flip(2) if mirrored else pixels) / 128 - 1)[None])[0]
    values = (values.flip(2) if mirrored else values).softmax(0)
    size = (photo.height, photo.width)
    return F.interpolate(values[None], size, mode="bilinear", antialias=True)[0]


def test_the_whole_photo_counts_once_for_each_view(data, weights: Weights) -> None:
    photo = read_photo(data / "chelsea.jpg").resize((150, 100))
    found = infer(photo, alone(weights), SegmentSettings(1))
    views = [(128, True), (96, False), (160, False), (64, False)]
    expected = sum(seen(photo, weights, side, mirrored) for side, mirrored in views) / len(views)
    given = found.maps.merged()
    assert found.proposals == 1
    # A class whose share is nowhere 1 % of the greatest is left out of a view.
    torch.testing.assert_close(given, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("further", [(96,), ()], ids=["further", "coarse alone"])
def test_at_coarse_sides_the_decoder_is_left_out(data, weights, further):
    photo = read_photo(data / "chelsea.jpg").resize((160, 96))  # cells of whole pixels
    sides = {"further": further, "coarse": (160,)}
    card = replace(weights.card, input=replace(weights.card.input, **sides))
    found = infer(photo, alone(replace(weights, card=card)), SegmentSettings(1))
    pixels = torch.tensor(np.asarray(photo)).permute(2, 0, 1).float()
    with torch.no_grad():
        coarse = weights.net.forward_with_coarse((pixels / 128 - 1)[None])[1][0].softmax(0)
    views = [seen(photo, weights, 128, True), coarse]
    views += [seen(photo, weights, side, False) for side in further]
    # A class whose share is nowhere 1 % of the greatest is left out of a view.
    torch.testing.assert_close(found.maps.merged(), sum(views) / len(views), atol=0.01, rtol=0)


def test_cards_without_further_sides_are_those_of_before(weights: Weights) -> None:
    card = weights.card
    check_card(values_of(card))
    assert plain_values(card)["input"]["further"] == SIDES
    assert "coarse" not in plain_values(load(FCN_DEFAULT).card)["input"]


def values_of(card: Card, **changed: object) -> dict[str, object]:
    """The card as its file has it, with other values of its input."""
    values = json.loads(json.dumps(asdict(card)))
    return values | {"input": values["input"] | changed}


@pytest.mark.parametrize("name", ["further", "coarse"])
@pytest.mark.parametrize("sides", [[0], [5000], [True], ["640"], [640.0], [640] * 9])
def test_wrong_sides_are_refused(weights: Weights, name: str, sides: list[object]) -> None:
    with pytest.raises(ValueError, match=name):
        check_card(values_of(weights.card, **{name: sides}))


def test_the_usual_side_is_no_further_one(weights: Weights) -> None:
    with pytest.raises(ValueError, match="further holds 128"):
        check_card(values_of(weights.card, further=[128]))


def test_only_a_net_that_is_shown_whole_photos_has_further_sides(weights: Weights) -> None:
    with pytest.raises(ValueError, match="the whole photo"):
        check_card(values_of(weights.card, whole=0))
    with pytest.raises(ValueError, match="has none"):
        check_card(values_of(load(FCN_DEFAULT).card, coarse=[544]))


def test_an_fcn_has_further_sides_too(data) -> None:
    loaded = load(FCN_DEFAULT)
    shown = replace(loaded.card.input, whole=128, further=(192,))
    fcn = replace(loaded, card=replace(loaded.card, input=shown))
    photo = read_photo(data / "chelsea.jpg").resize((160, 80))  # twice as wide, in cells of 32
    found = infer(photo, System(None, fcn), SegmentSettings())
    views = [seen(photo, fcn, 128, True), seen(photo, fcn, 192, False)]
    torch.testing.assert_close(found.maps.merged(), sum(views) / 2, atol=0.01, rtol=0)


def test_a_net_without_coarse_logits_has_no_coarse_sides(weights: Weights, monkeypatch) -> None:
    monkeypatch.delattr(DeconvNetMobile, "coarse_logits")
    with pytest.raises(ValueError, match="has none"):
        check_card(values_of(weights.card, coarse=[96]))


@pytest.mark.parametrize("proposals, rule, fewer", [
    (None, None, True),
    (None, "mean-probability", False),
    (21, None, False),
    ("auto", None, True),
    ("auto", "max", True),
])  # fmt: skip
def test_boxes_are_left_out_where_that_costs_nothing(proposals, rule, fewer, monkeypatch) -> None:
    monkeypatch.setattr(
        "deconvnet_cli.segmentation.system.choose_system",
        lambda *_: ReadySystem(load(DEFAULT)),
    )
    options = SegmentOptions(proposals=proposals, merge_rule=rule, device="cpu")
    settings = load_system(options)[1]
    assert settings.until_settled is fewer
    assert settings.proposals == (proposals if proposals != "auto" else None)


class ReadySystem(System):
    """A system that need not be prepared."""

    def ready(self, device: torch.device, precision: str) -> System:
        return self
