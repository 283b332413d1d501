"""Exported nets compute in onnxruntime what they compute in torch, and say what they are."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.command_line import one_error_line, run_cli
from helpers.lively_nets import SETTINGS, lively
from helpers.paths import DATA, DOCS
from PIL import Image

from deconvnet_cli.exporting import onnx_model
from deconvnet_cli.exporting.plain_ops import pool, unpool
from deconvnet_cli.exporting.shape import input_shape
from deconvnet_cli.nets import deconvnet_mobilenet, fcn8s_mobilenet, mobilenet_v2
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.storage.hashing import file_sha256
from deconvnet_cli.weights.card import Card, card_for
from deconvnet_cli.weights.files import load, store

if any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")):
    pytest.skip("no exporter here: pip install '.[onnx]'", allow_module_level=True)

PAGE = DOCS / "onnx.md"
# The size of crops on the card, whether sides are free, and batch, height and width of inputs.
CASES = {
    "deconvnet-vgg16": (224, False, [(1, 224, 224), (3, 224, 224)]),
    "deconvnet-mobilenet": (64, True, [(1, 64, 64), (3, 96, 48)]),
    "fcn8s-mobilenet": (64, False, [(1, 64, 64), (3, 64, 64)]),
    "fcn8s": (64, True, [(1, 64, 64), (2, 75, 101)]),
}


# A MobileNetV2 with every kind of block, but few that repeat one, so that torch exports it in a
# third less time.
SHORT = {
    "BLOCKS": (
        (32, 16, 1), (16, 24, 6), (24, 24, 6), (24, 32, 6),
        (32, 64, 6), (64, 160, 6), (160, 160, 6), (160, 320, 6),
    ),
    "HALVING_BLOCKS": (1, 3, 4),
    "LAST_HALVING_BLOCK": 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture
def exported(folder, monkeypatch):
    """A function that exports a small net of a name, once, to a file beside its weights."""
    for module in (mobilenet_v2, deconvnet_mobilenet, fcn8s_mobilenet):
        for name, value in SHORT.items():
            monkeypatch.setattr(module, name, value)

    def export(name: str) -> Path:
        size, dynamic, _ = CASES[name]
        target = folder / f"{name}.onnx"
        if not target.exists():
            net = lively(name)
            card = card_for(name, net_settings(net), licence="MIT", provenance="a test")
            card = replace(card, input=replace(card.input, size=size))
            store(target.with_suffix(".safetensors"), net, card, half=False)
            result = run_cli(*command_in_docs(target, dynamic=dynamic))
            assert result.exit_code == 0, result.output
            assert result.stderr == ""
            assert result.stdout.startswith(f"{target}: {name}, N x 3 x ")
        return target

    return export


def command_in_docs(target: Path, *, dynamic: bool) -> list[str]:
    """The command of docs/onnx.md, with another net and file."""
    (command,) = re.findall(r"^```sh\ndeconvnet (export .+)\n```$", PAGE.read_text(), re.M)
    names = {"deconvnet-mobilenet": target.with_suffix(".safetensors"), "net.onnx": target}
    words = [str(names.get(word, word)) for word in command.split()]
    return words if dynamic else [word for word in words if word != "--dynamic"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_the_logits_are_those_of_torch(name, exported):
    import onnxruntime

    file = exported(name)
    net = load(str(file.with_suffix(".safetensors"))).net
    session = onnxruntime.InferenceSession(file)
    torch.manual_seed(1)
    for count, height, width in CASES[name][2]:
        x = torch.randn(count, 3, height, width)
        (found,) = session.run(["logits"], {"input": x.numpy()})
        with torch.inference_mode():
            expected = net(x).numpy()
        # Where two values of a window are equal but for rounding, another switch may be found.
        assert found.shape == expected.shape
        assert np.mean(np.abs(found - expected) > 1e-3) < 1e-3
    batch, _, *sides = session.get_inputs()[0].shape
    assert batch == "batch"
    size, dynamic, _ = CASES[name]
    assert sides == (["height", "width"] if dynamic else [size, size])
    assert session.get_outputs()[0].shape == ["batch", 21, *sides]


@pytest.mark.slow
def test_the_file_is_valid_and_says_what_it_is(exported):
    import onnx

    file = exported("deconvnet-mobilenet")
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {part.domain for part in model.opset_import} == {""}, "no operators of one runtime"
    assert [part.version for part in model.opset_import] == [onnx_model.OPSET]
    (entry,) = model.metadata_props
    about = json.loads(entry.value)
    weights = load(str(file.with_suffix(".safetensors")))
    assert entry.key == "deconvnet"
    assert tuple(about["classes"]) == weights.card.classes
    assert about["input"] == {
        "channels": "RGB", "mean": [128.0] * 3, "scale": 1 / 128, "size": 64, "whole": 640,
        "cell": 16,
    }  # fmt: skip
    assert (about["licence"], about["provenance"]) == ("MIT", "a test")
    assert about["weights"] == weights.path.name
    assert about["sha256"] == file_sha256(weights.path)
    assert str(Path(onnx_model.__file__).parent).encode() not in file.read_bytes()


@pytest.mark.slow
def test_the_page_in_docs_runs(exported, tmp_path, monkeypatch, capsys):
    """It labels the whole photo as torch does from the same pixels."""
    file = exported("deconvnet-mobilenet")
    shutil.copy(file, tmp_path / "net.onnx")
    shutil.copy(DATA / "chelsea.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    names: dict[str, np.ndarray] = {}
    exec(compile(code, "onnx.md", "exec"), names)
    with Image.open("photo.jpg") as photo:
        width, height = photo.size
        small = photo.resize((640, 432), Image.Resampling.BILINEAR)
    weights = load(str(file.with_suffix(".safetensors")))
    with torch.inference_mode():
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]
        logits = weights.net(weights.card.input.prepare(pixels))
    assert np.mean(names["logits"].argmax(1) == logits.argmax(1).numpy()) > 0.999
    with Image.open("labels.png") as written:
        assert (written.size, written.mode) == ((width, height), "L")
    said = re.findall(r"^(.+): (\d+) pixels$", capsys.readouterr().out, re.M)
    assert {label for label, _ in said} <= set(weights.card.classes)
    assert sum(int(count) for _, count in said) == width * height


def test_pools_and_unpools_as_torch_does_ties_too():
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(-2, 3, (3, 5, 8, 6), generator=generator).float()
    pooled, indices = F.max_pool2d(x, 2, return_indices=True)
    maxima, switches = pool(x, [2, 2], [2, 2])
    assert torch.equal(maxima, pooled)
    values = torch.randn(pooled.shape, generator=generator)
    assert torch.equal(unpool(values, switches, [8, 6]), F.max_unpool2d(values, indices, 2))
    with pytest.raises(NotImplementedError):
        pool(x, [3, 3], [2, 2])


@pytest.mark.parametrize("net, options, words", [
    ("deconvnet-mobilenet", ["--size", "100"], "a multiple of 16 from 16 to 4096"),
    ("deconvnet-mobilenet", ["--size", "64", "--dynamic"], "leave out --size"),
    ("deconvnet-vgg16", ["--dynamic"], "square crops of one size; leave out --dynamic"),
    ("deconvnet-vgg16", ["--size", "256x224"], "is shown square crops"),
    ("deconvnet-vgg16", ["--size", "192"], "a multiple of 32 from 224 to 4096"),
])  # fmt: skip
def test_sizes_that_a_net_does_not_take(net, options, words, tiny_weights, tmp_path):
    weights = tiny_weights if net == "deconvnet-vgg16" else net
    target = tmp_path / "net.onnx"
    one_error_line(run_cli("export", weights, "-o", target, *options), 2, words)
    assert run_cli("export", weights, "-o", target, "--size", "wide").exit_code == 2
    assert not target.exists()


def test_the_size_of_a_fixed_square_is_on_the_card():
    card: Card = card_for("deconvnet-mobilenet", {})
    assert input_shape(card, (256, 256), False).on_card(card).input.size == 256
    assert input_shape(card, (640, 480), False).on_card(card) == card
    assert input_shape(card, None, True).on_card(card) == card
    five = card_for("deconvnet-mobilenet", {"pools": 5})
    assert input_shape(five, None, True).stride == 32


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    result = run_cli("export", "deconvnet-mobilenet", "-o", tmp_path / "net.onnx")
    one_error_line(result, 1, f'package {package}: pip install ".[onnx]"')


def test_logits_of_another_net_are_not_written(monkeypatch, tiny_weights, tmp_path):
    monkeypatch.setattr(onnx_model, "onnx_model", lambda *_: b"")
    monkeypatch.setattr(onnx_model, "share_of_equal_logits", lambda *_: 0.5)
    result = run_cli("export", tiny_weights, "-o", tmp_path / "net.onnx")
    one_error_line(result, 1, "net.onnx: not written, since only 50.00% of its logits")
    assert not list(tmp_path.iterdir())
