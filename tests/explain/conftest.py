"""A photo and weights that several tests of explanations share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.lively_nets import lively
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.nets.inputs import MOBILENET_INPUT
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import store


@pytest.fixture(scope="session")
def lively_mobile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A deconvnet-mobilenet with random weights that looks at small crops."""
    net = lively("deconvnet-mobilenet")
    path = tmp_path_factory.mktemp("weights") / "mobile.safetensors"
    small = replace(MOBILENET_INPUT, size=96, whole=160)
    store(path, net, card_for("deconvnet-mobilenet", net_settings(net), input=small))
    return path


@pytest.fixture(scope="session")
def photo(data: Path) -> Image.Image:
    return read_photo(data / "astronaut.jpg").resize((90, 72))
