"""The defaults that stand for the paper, written out by hand: tests that use them cannot tell."""

from __future__ import annotations

import re

import pytest
from helpers.paths import ROOT

from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.segmentation.merge import MAX_SHARE, MEAN_SHARE
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.settings import LEAST_PROBABILITY, CrfSettings, ProposalSettings


def test_the_crf_is_that_of_the_released_script() -> None:
    crf = CrfSettings()
    assert (crf.gaussian_sd, crf.gaussian_weight) == (3, 3)
    assert (crf.bilateral_sd, crf.bilateral_colour_sd, crf.bilateral_weight) == (20, 3, 5)
    assert (crf.iterations, LEAST_PROBABILITY) == (10, 1e-5)


def test_boxes_and_merging_are_the_papers() -> None:
    boxes, net = ProposalSettings(), net_spec("deconvnet-vgg16")
    assert (boxes.candidates, boxes.count, boxes.enlarge) == (2000, 50, 1.2)
    assert (boxes.min_side, boxes.reference_side) == (112, 500)
    assert (net.merge, net.proposals, net.input.size) == ("max", 50, 224)
    assert Ensemble() == Ensemble("mean", 0.5)


@pytest.mark.parametrize(("page", "words"), [
    ("how-it-works.md", r"(\S+) of the probability in the whole photo plus (\S+) of the mean"),
    ("nets.md", r"`context`: (\S+) of the whole photo's probability, (\S+) of the mean"),
])  # fmt: skip
def test_the_pages_give_the_shares_of_the_boxes(page: str, words: str) -> None:
    found = re.search(words, (ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert found and [float(share) for share in found.groups()] == [1 - MEAN_SHARE, MEAN_SHARE]
    assert MAX_SHARE == 0.5  # "half" in words
