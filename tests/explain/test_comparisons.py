"""Labels with another merge rule and without the decoder, against runs with these settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deconvnet_cli.explain import decoder_figures
from deconvnet_cli.explain.comparisons import BothLogits
from deconvnet_cli.explain.explanation import Explanation, explain
from deconvnet_cli.explain.figures import growth
from deconvnet_cli.explain.page import rendered
from deconvnet_cli.explain.parts import parts_of
from deconvnet_cli.segmentation.inference import crop_logits
from deconvnet_cli.segmentation.merge import CONTEXT_MAX
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, describe
from deconvnet_cli.weights.files import load

SETTINGS = SegmentSettings(4, boxes=ProposalSettings(min_side=60.0), batch_size=1)


@pytest.fixture(scope="module")
def mobile(lively_mobile: Path) -> System:
    return System(load(str(lively_mobile))).ready(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def found(photo: Image.Image, mobile: System) -> Explanation:
    return explain(photo, mobile, SETTINGS)


def test_the_other_merge_rule_is_that_of_the_option(photo, mobile, found):
    assert (found.merge_rule, found.comparison.other_rule) == ("context", CONTEXT_MAX)
    other = segment(photo, mobile, replace(SETTINGS, merge="max"))
    assert np.array_equal(found.comparison.other_labels, other.labels)
    assert np.array_equal(found.comparison.labels, found.before)
    assert (found.comparison.labels != other.labels).any()


def test_labels_without_the_decoder_are_those_of_a_decoder_that_says_nothing(
    photo, found, lively_mobile
):
    weights = load(str(lively_mobile))
    for parameter in weights.net.score.parameters():
        parameter.data.zero_()
    silent = System(weights).ready(torch.device("cpu"), "fp32")
    expected = segment(photo, silent, SETTINGS).labels
    assert np.array_equal(found.comparison.coarse_labels, expected)
    assert (found.comparison.labels != expected).any()


def test_a_coarse_view_counts_with_and_without_the_decoder(photo, lively_mobile):
    weights = load(str(lively_mobile))
    shown = replace(weights.card.input, coarse=(96,))
    card = replace(weights, card=replace(weights.card, input=shown))
    boxes = np.array([[0, 0, *photo.size]], np.int32)
    both = replace(card, net=BothLogits(card.net))
    with torch.inference_mode():
        *_, (_, alone) = crop_logits(photo, boxes, card, 1)
        *_, (_, doubled) = crop_logits(photo, boxes, both, 1)
    assert alone.shape == (21, 72, 90)
    assert torch.equal(doubled, torch.cat((alone, alone)))
    system = System(card).ready(torch.device("cpu"), "fp32")
    found = explain(photo, system, SETTINGS)
    assert np.array_equal(found.comparison.labels, segment(photo, system, SETTINGS).labels)


def test_the_net_of_the_paper_has_nothing_but_its_decoder(photo, lively_weights):
    system = System(load(str(lively_weights))).ready(torch.device("cpu"), "fp32")
    found = explain(photo, system, SETTINGS)
    assert (found.merge_rule, found.comparison.other_rule) == ("max", "context")
    assert found.comparison.coarse_labels is None
    other = segment(photo, system, replace(SETTINGS, merge="context"))
    assert np.array_equal(found.comparison.other_labels, other.labels)
    files = rendered(found, "photo.jpg", describe(system, SETTINGS))
    assert not {"decoder.png", "logits.png"} & set(files)
    text = files["index.html"].decode()
    assert "coarse logits" not in text and "goes on with it alone" in text


def test_the_page_gives_the_figures_and_the_pictures(found, mobile):
    files = rendered(found, "photo.jpg", describe(mobile, SETTINGS))
    text = files["index.html"].decode()
    comparison = found.comparison
    rules = 100 * (comparison.labels != comparison.other_labels).mean()
    decoder = 100 * (comparison.labels != comparison.coarse_labels).mean()
    assert f"<code>context-max</code>: {rules:.1f} % of the pixels differ" in text
    assert f"Without the decoder, {decoder:.1f} % of all pixels" in text
    assert "as the strides of MobileNetV2 do" in text
    assert "null" not in text and ">None<" not in text
    assert {"decoder.png", "logits.png", "rules.png", "stages.png"} < set(files)
    pictures = {part.name: part.pictures for part in parts_of(found, growth(found), b"")}
    for name, other in (("rules", comparison.other_labels), ("decoder", comparison.coarse_labels)):
        first, second, changed = (np.asarray(each.image) for each in pictures[name])
        assert np.array_equal(first, comparison.labels) and np.array_equal(second, other)
        assert np.array_equal((changed == (205, 20, 35)).all(-1), first != second)


def test_the_parts_of_the_logits_add_up(found):
    coarse, decoder, both = decoder_figures.parts_of_logits(found)
    assert coarse.scale == both.scale
    span = both.scale.high - both.scale.low
    values = [
        np.asarray(each.image) / 255 * (each.scale.high - each.scale.low) + each.scale.low
        for each in (coarse, decoder, both)
    ]
    assert np.abs(values[0] + values[1] - values[2]).max() < 0.01 * span


def test_few_stages_each_with_one_sentence(found):
    pictures = decoder_figures.stages(found)
    assert len(pictures) == 6
    for picture in pictures:
        assert picture.caption.endswith(".") and picture.caption.count(". ") == 0
        assert "channel" not in picture.caption and "correlation" not in picture.caption
