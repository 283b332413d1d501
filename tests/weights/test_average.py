"""Averages of weights: of one net, and of two nets on one encoder."""

import pytest
import torch
from helpers.lively_nets import lively

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.weights.average import average
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store


def test_of_one_net_every_number_is_averaged():
    first, second = (lively("fcn8s-mobilenet", seed) for seed in (0, 1))
    expected = {
        name: 0.75 * value + 0.25 * second.state_dict()[name]
        for name, value in first.state_dict().items()
        if value.is_floating_point()
    }
    average(first, second, 0.25)
    for name, value in expected.items():
        torch.testing.assert_close(first.state_dict()[name], value)


def test_of_two_nets_the_encoder_computes_what_the_others_does():
    """All of the second: the encoder then gives its features, with the first's statistics."""
    first, second = lively("deconvnet-mobilenet", 0), lively("fcn8s-mobilenet", 1)
    decoder = {
        name: value.clone()
        for name, value in first.state_dict().items()
        if not name.startswith(("stem.", "blocks.", "head."))
    }
    before = first.stem[1].running_mean.clone()
    average(first, second, 1.0)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        ours, theirs = first.encode(x)[0], second.encode(x)[0]
        torch.testing.assert_close(ours[:, :, ::2, ::2], theirs, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            first.head(theirs)[1], second.head(theirs)[1], atol=1e-4, rtol=1e-3
        )
    assert torch.equal(first.stem[1].running_mean, before)
    assert all(torch.equal(first.state_dict()[name], value) for name, value in decoder.items())


def test_none_of_the_second_changes_nothing():
    first, second = lively("deconvnet-mobilenet", 0), lively("fcn8s-mobilenet", 1)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = first(x)
        average(first, second, 0.0)
        torch.testing.assert_close(first(x), before, atol=1e-4, rtol=1e-4)


def test_nets_without_a_common_encoder_are_refused():
    vgg = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 8})
    with pytest.raises(UsageError, match="share no encoder"):
        average(lively("fcn8s-mobilenet", 0), vgg, 0.5)
    wide = build_net("deconvnet-mobilenet", {"head": 24, "bridge": (16, 64)})
    with pytest.raises(UsageError, match="share no encoder"):
        average(lively("fcn8s-mobilenet", 0), wide, 0.5)


def test_the_command(deconvnet, tmp_path):
    for seed in (0, 1):
        net = lively("fcn8s-mobilenet", seed)
        card = card_for(
            "fcn8s-mobilenet", net_settings(net), provenance=f"seed {seed}", licence=f"L{seed}"
        )
        store(tmp_path / f"{seed}.st", net, card, half=False)
    out = tmp_path / "mean.st"
    files = (tmp_path / "0.st", tmp_path / "1.st")
    result = deconvnet("weights", "average", *files, "-o", out)
    assert result.exit_code == 0, result.output
    made = load(str(out))
    one, other = (load(str(path)).net.state_dict()["stem.0.weight"] for path in files)
    mean = ((one + other) / 2).half().float()
    torch.testing.assert_close(made.net.state_dict()["stem.0.weight"], mean, atol=1e-3, rtol=1e-3)
    assert "0.5 of 0.st (seed 0)" in made.card.provenance
    assert made.card.licence == "L0; L1"
    refused = deconvnet("weights", "average", *files, "-o", files[0])
    assert refused.exit_code == 2
