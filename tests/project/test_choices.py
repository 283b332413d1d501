"""The names that can be chosen are those that something stands behind."""

from deconvnet_cli import choices
from deconvnet_cli.nets.registry import NETS, net_spec
from deconvnet_cli.runtime.devices import DTYPES
from deconvnet_cli.weights.shipped import registry


def test_shipped_weights():
    assert {choices.DEFAULT, choices.FCN_DEFAULT} <= set(registry())
    assert net_spec(choices.DEFAULT).takes_boxes
    assert not net_spec(choices.FCN_DEFAULT).takes_boxes


def test_the_registry_has_the_nets_that_can_be_chosen():
    assert tuple(NETS) == choices.NET_NAMES


def test_precisions_are_those_of_torch():
    assert ("auto", *DTYPES) == choices.PRECISIONS
