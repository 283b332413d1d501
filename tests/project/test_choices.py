"""The names that can be chosen are those that something stands behind."""

from __future__ import annotations

import pytest
import torch

from deconvnet_cli import choices
from deconvnet_cli.nets.registry import NETS, build_net, net_spec
from deconvnet_cli.runtime.devices import DTYPES
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.weights.shipped import registry


@pytest.mark.parametrize("name", choices.NET_NAMES)
def test_nets(name):
    with torch.device("meta"):
        assert sum(value.numel() for value in build_net(name).parameters()) > 1_000_000
    assert net_spec(name).input.size > 0


def test_shipped_weights():
    assert {choices.DEFAULT, choices.FCN_DEFAULT} <= set(registry())
    assert net_spec(choices.DEFAULT).takes_boxes
    assert not net_spec(choices.FCN_DEFAULT).takes_boxes


def test_the_registry_has_the_nets_that_can_be_chosen():
    assert tuple(NETS) == choices.NET_NAMES


def test_each_rule_of_an_ensemble_is_another():
    maps = ScoreMaps(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), raw=False)
    found = [maps.merged(Ensemble(rule)).item() for rule in choices.ENSEMBLES]
    assert found == [2.5, 6.0]


def test_precisions_are_those_of_torch():
    assert ("auto", *DTYPES) == choices.PRECISIONS
