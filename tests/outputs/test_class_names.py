"""Classes are chosen by name, names with commas too."""

import numpy as np
import pytest
import torch
from helpers.command_line import run_cli
from helpers.photos import pieces
from PIL import Image

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.outputs import class_filter
from deconvnet_cli.outputs.class_filter import chosen_labels, names_in
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import store

CLASSES = ("background", "plate", "knife, fork", "salt,pepper, sugar", "fork", 'a "good" cup')


@pytest.mark.parametrize("text, labels", [
    ("plate", (1,)),
    ("knife, fork", (2,)),
    ("knife,fork", (2,)),
    ("KNIFE ,  Fork", (2,)),
    ('"knife, fork"', (2,)),
    ('"knife, fork",plate', (1, 2)),
    ('plate, "knife, fork", fork', (1, 2, 4)),
    ("plate,knife, fork,salt, pepper,sugar", (1, 2, 3)),
    ("fork,plate", (1, 4)),  # a class by itself
    ("fork,knife,fork", (2, 4)),
    ('a "good" cup,plate', (1, 5)),
])  # fmt: skip
def test_names_with_commas(text, labels):
    assert chosen_labels(names_in(text), CLASSES) == labels


@pytest.mark.parametrize("text", ["knife", "knife,plate", "salt,pepper", "", ",", '"plate', "a\nb"])
def test_parts_of_names_are_no_classes(text):
    with pytest.raises(
        UsageError, match=r'no class is called .*"knife, fork", "salt,pepper, sugar"'
    ):
        chosen_labels(names_in(text), CLASSES)


def test_no_more_names_are_joined_than_a_class_has_parts(monkeypatch):
    """Joining all of a long list again and again took a minute for 20,000 names."""
    looked_at = []
    plain = class_filter.parts_of
    monkeypatch.setattr(
        class_filter, "parts_of", lambda name: looked_at.append(len(name)) or plain(name)
    )
    with pytest.raises(UsageError, match="no class is called 'a'"):
        chosen_labels(["plate", *["a"] * 20_000], CLASSES)
    assert sum(looked_at) < 1000


def test_a_list_of_names_from_python():
    assert chosen_labels(["knife, fork", "plate"], CLASSES) == (1, 2)
    assert chosen_labels("knife, fork", CLASSES) == (2,)
    twins = ("background", "knife", "fork", "knife, fork")
    assert chosen_labels(["knife", "fork"], twins) == (1, 2)
    assert chosen_labels(names_in("knife, fork"), twins) == (1, 2)
    assert chosen_labels(names_in('"knife, fork"'), twins) == (3,)


def test_the_commands_take_them(tmp_path):
    """Every pixel has the class with a comma; an option may be given twice."""
    torch.manual_seed(0)
    settings = {"width": 1 / 32, "fc": 16, "classes": len(CLASSES)}
    net = build_net("deconvnet-vgg16", settings)
    with torch.no_grad():
        net.get_parameter("seg_score_voc.bias")[2] = 100
    card = card_for("deconvnet-vgg16", net_settings(net), classes=CLASSES)
    store(tmp_path / "w.safetensors", net, card)
    pieces((48, 32))[0].save(tmp_path / "a.jpg")
    for texts, shown in ((["knife, fork", "plate"], True), (["plate"], False)):
        only = [part for text in texts for part in ("--only", text, "--mask", text)]
        result = run_cli(
            "segment", tmp_path / "a.jpg", "-o", f"{tmp_path}/out/", "--cutout", *only,
            "--weights", tmp_path / "w.safetensors", "--proposals", 1,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        with Image.open(tmp_path / "out" / "a.mask.png") as mask:
            assert np.array_equal(np.unique(mask), [255 if shown else 0])
        with Image.open(tmp_path / "out" / "a.cutout.png") as image:
            assert (np.asarray(image)[..., 3] > 0).all() == shown
