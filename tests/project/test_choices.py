"""The names that can be chosen are those that something stands behind."""

from __future__ import annotations

import pytest
import torch

from deconvnet_cli import choices
from deconvnet_cli.nets.registry import build_net, default_input
from deconvnet_cli.runtime.devices import DTYPES
from deconvnet_cli.segmentation.score_maps import Ensemble, Maps
from deconvnet_cli.weights.shipped import registry


@pytest.mark.parametrize("name", choices.NET_NAMES)
def test_nets(name):
    with torch.device("meta"):
        assert sum(value.numel() for value in build_net(name).parameters()) > 1_000_000
    assert default_input(name).size > 0


def test_shipped_weights():
    assert {choices.DEFAULT, choices.FCN_DEFAULT} <= set(registry())
    assert choices.FCN_DEFAULT in choices.FCN_NAMES
    assert set(choices.FCN_NAMES) < set(choices.NET_NAMES)


def test_each_rule_of_an_ensemble_is_another():
    maps = Maps(torch.tensor([[[2.0]]]), torch.tensor([[[3.0]]]), raw=True)
    found = [maps.merged(Ensemble(rule)).item() for rule in choices.ENSEMBLES]
    assert found == [2.5, 6.0]


def test_precisions_are_those_of_torch():
    assert ("auto", *DTYPES) == choices.PRECISIONS
