"""Which nets a command runs, and how two are put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import one_error_line

from deconvnet_cli.choices import DEFAULT, FCN_DEFAULT
from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.segmentation.score_maps import Ensemble
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import alone, choose_system, describe, ensemble_of
from deconvnet_cli.weights.files import load, read_card, store
from deconvnet_cli.weights.shipped import weights_sha256


def with_card(source: Path, target: Path, **changes: Any) -> Path:
    """The same weights with another card."""
    weights = load(str(source))
    store(target, weights.net, replace(weights.card, **changes))
    return target


def test_each_system_has_its_nets(tiny_weights: Path, tiny_fcn: Path) -> None:
    first, second = str(tiny_weights), str(tiny_fcn)
    for name, deconvnet, fcn in (
        ("deconvnet", first, None),
        ("fcn8s", None, second),
        ("edeconvnet", first, second),
    ):
        system = choose_system(SegmentOptions(name, first, second))
        assert system.name == name
        assert (system.deconvnet and str(system.deconvnet.path)) == deconvnet
        assert (system.fcn and str(system.fcn.path)) == fcn


def test_without_a_system_the_weights_say_what_they_are(tiny_weights: Path, tiny_fcn: Path) -> None:
    assert choose_system(SegmentOptions(None, str(tiny_weights), FCN_DEFAULT)).name == "deconvnet"
    assert choose_system(SegmentOptions(None, str(tiny_fcn), FCN_DEFAULT)).name == "fcn8s"
    assert alone(load(str(tiny_fcn))).deconvnet is None


def test_fcn8s_alone_takes_either_option(tiny_fcn: Path) -> None:
    for weights, fcn_weights in ((str(tiny_fcn), FCN_DEFAULT), (DEFAULT, str(tiny_fcn))):
        system = choose_system(SegmentOptions("fcn8s", weights, fcn_weights))
        assert system.fcn is not None and system.fcn.path == tiny_fcn


def test_weights_of_the_wrong_kind(deconvnet, tiny_weights, tiny_fcn, data) -> None:
    for options in (
        ("--net", "fcn8s", "--fcn-weights", tiny_weights),
        ("--net", "fcn8s", "--weights", tiny_weights),
        ("--net", "edeconvnet", "--weights", tiny_weights, "--fcn-weights", tiny_weights),
    ):
        result = deconvnet("segment", data / "chelsea.jpg", "-o", "-", *options)
        one_error_line(result, 2, str(tiny_weights), "--fcn-weights takes an FCN-8s")
    for system in ("deconvnet", "edeconvnet"):
        options = ("--net", system, "--weights", tiny_fcn, "--fcn-weights", tiny_fcn)
        result = deconvnet("segment", data / "chelsea.jpg", "-o", "-", *options)
        one_error_line(result, 2, str(tiny_fcn), "takes a DeconvNet")


@pytest.mark.parametrize("option", [("--ensemble", "product"), ("--share", 0.2)])
@pytest.mark.parametrize("system", [(), ("--net", "deconvnet")])
def test_an_ensemble_of_one_net(deconvnet, tiny_weights, data, option, system) -> None:
    photo = data / "chelsea.jpg"
    result = deconvnet("segment", photo, "-o", "-", "--weights", tiny_weights, *system, *option)
    one_error_line(result, 2, "--net edeconvnet")


def test_fcn_weights_that_would_not_be_used(deconvnet, tiny_fcn, data) -> None:
    result = deconvnet("segment", data / "chelsea.jpg", "-o", "-", "--fcn-weights", tiny_fcn)
    one_error_line(result, 2, "--fcn-weights", "--net")


@pytest.mark.parametrize("command", ["segment", "batch", "evaluate"])
def test_a_backend_without_the_crf(deconvnet, data, command) -> None:
    sources = ("--voc-root", data) if command == "evaluate" else (data / "chelsea.jpg", "-o", "-")
    result = deconvnet(command, *sources, "--crf-backend", "torch")
    one_error_line(result, 2, "without --crf there is no CRF")


def test_the_card_of_fcn8s_says_how_for_its_deconvnet_alone(tiny_weights, tiny_fcn, tmp_path):
    said = {"with": str(tiny_weights), "rule": "product", "share": 0.3}
    fcn = str(with_card(tiny_fcn, tmp_path / "fcn.safetensors", ensemble=said))
    other = tmp_path / "other.safetensors"
    other.write_bytes(tiny_weights.read_bytes())

    def ensemble(weights: Path, **options: Any) -> Ensemble:
        return choose_system(SegmentOptions("edeconvnet", str(weights), fcn, **options)).ensemble

    assert ensemble(tiny_weights) == Ensemble("product", 0.3)
    assert ensemble(other) == Ensemble("mean", 0.5)
    # Options come first, each for itself.
    assert ensemble(tiny_weights, ensemble="mean") == Ensemble("mean", 0.3)
    assert ensemble(tiny_weights, share=0.0) == Ensemble("product", 0.0)
    with pytest.raises(UsageError, match="--share weighs a mean"):
        ensemble(tiny_weights, ensemble="product", share=0.5)
    assert ensemble(tiny_weights, ensemble="mean", share=1.0) == Ensemble("mean", 1.0)
    # No more than what it says.
    partly = {"with": str(tiny_weights), "share": 0.1}
    fcn = str(with_card(tiny_fcn, tmp_path / "partly.safetensors", ensemble=partly))
    assert ensemble(tiny_weights) == Ensemble("mean", 0.1)


@pytest.mark.parametrize("wrong", [{"rule": "sum"}, {"share": 1.5}, {"share": "half"}])
def test_a_card_with_a_wrong_ensemble(tiny_weights, tiny_fcn, tmp_path, wrong):
    said = {"with": str(tiny_weights), **wrong}
    fcn = with_card(tiny_fcn, tmp_path / "fcn.safetensors", ensemble=said)
    with pytest.raises(WeightsError, match=r"fcn\.safetensors: .*ensemble"):
        choose_system(SegmentOptions("edeconvnet", str(tiny_weights), str(fcn)))


def test_nets_of_other_classes_do_not_go_together(tiny_weights, tiny_fcn, tmp_path):
    names = tuple(reversed(read_card(tiny_fcn).classes))
    fcn = with_card(tiny_fcn, tmp_path / "fcn.safetensors", classes=names)
    with pytest.raises(UsageError, match=r"fcn\.safetensors has 21 classes .*two nets of the same"):
        choose_system(SegmentOptions("edeconvnet", str(tiny_weights), str(fcn)))


def test_an_ensemble_from_a_file() -> None:
    assert ensemble_of({}) == Ensemble()
    assert ensemble_of({"rule": "product", "share": 1, "with": "x"}) == Ensemble("product", 1.0)
    for wrong in (None, [], "mean", {"rule": None}, {"share": float("nan")}, {"share": None}):
        with pytest.raises(ValueError):
            ensemble_of(wrong)


def test_nets_are_described_by_their_files(tiny_weights: Path, tiny_fcn: Path) -> None:
    system = choose_system(
        SegmentOptions("edeconvnet", str(tiny_weights), str(tiny_fcn), "mean", 0.25)
    )
    about = describe(system, SegmentSettings(proposals=4))
    assert list(about) == ["DeconvNet", "FCN-8s", "ensemble", "settings"]
    assert about["FCN-8s"]["sha256"] == weights_sha256(tiny_fcn)
    assert about["DeconvNet"]["net"] == "deconvnet-vgg16"
    assert about["ensemble"] == {"rule": "mean", "share": 0.25}
    assert about["settings"]["proposals"] == 4
    assert "ensemble" not in describe(alone(load(str(tiny_fcn))), SegmentSettings())
