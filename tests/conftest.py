"""Tiny weights and photos that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from deconvnet_cli.cli import cli
from deconvnet_cli.nets import build_net, net_settings
from deconvnet_cli.weights import card_for, store

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow deconvnet-vgg16 with fixed random weights: quick, and says something anywhere."""
    torch.manual_seed(3)
    net = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 16})
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    store(path, net, card_for("deconvnet-vgg16", net_settings(net)))
    return path


@pytest.fixture
def deconvnet():
    """Calls the command line in this process."""

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)

    return call
