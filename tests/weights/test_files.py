"""Weights files: what goes in comes out, and what is damaged is refused."""

import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from helpers.command_line import one_error_line
from safetensors.torch import load_file, save, save_file

from deconvnet_cli.choices import DEFAULT
from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.weights import files, shipped


def test_shipped_weights_are_the_published_ones():
    for name, entry in shipped.registry().items():
        path = shipped.shipped_folder() / entry["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
        card = files.load(name).card
        assert card.net == name and card.provenance and card.licence


def test_store_then_load(tiny_weights):
    loaded = files.load(str(tiny_weights))
    torch.manual_seed(3)
    net = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 16})
    for name, value in loaded.net.state_dict().items():
        expected = net.state_dict()[name]
        torch.testing.assert_close(value, expected.half().to(expected.dtype))
    assert not loaded.net.training


def test_weights_of_another_net_are_refused(tiny_weights, tmp_path):
    card = files.read_card(tiny_weights)
    net = build_net("deconvnet-vgg16", {"width": 1 / 32, "fc": 8})
    path = tmp_path / "other.safetensors"
    files.store(path, net, card)
    with pytest.raises(WeightsError, match="fc6"):
        files.load(str(path))
    tensors = load_file(tiny_weights)
    del tensors["conv1_1.weight"]
    save_file(tensors, path, {files.METADATA_KEY: json.dumps(asdict(card))})
    with pytest.raises(WeightsError, match=r"conv1_1\.weight is missing"):
        files.load(str(path))


def test_commands(deconvnet, tiny_weights):
    assert "deconvnet-mobilenet" in deconvnet("weights", "list").output
    shown = json.loads(deconvnet("weights", "show", tiny_weights).stdout)
    assert shown["net"] == "deconvnet-vgg16" and shown["input"]["channels"] == "BGR"
    assert deconvnet("weights", "verify").exit_code == 0
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    verify = ("weights", "verify", tiny_weights, "--sha256")
    assert deconvnet(*verify, digest).exit_code == 0
    wrong = deconvnet(*verify, digest[:-1] + ("0" if digest[-1] != "0" else "1"))
    assert wrong.exit_code == 1 and "SHA-256" in wrong.stderr
    assert deconvnet("weights", "show", "nothing").exit_code == 1


def test_import_of_a_pth(deconvnet, tmp_path):
    torch.manual_seed(0)
    net = build_net("deconvnet-mobilenet")
    source, target = tmp_path / "net.pth", tmp_path / "net.safetensors"
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    torch.save({"state_dict": state}, source)
    result = deconvnet("weights", "import", source, "--net", "deconvnet-mobilenet")
    assert result.exit_code == 0, result.output
    loaded = files.load(str(target))
    assert net_settings(loaded.net) == net_settings(net)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded.net(x), net.eval()(x))
    assert f"deconvnet-mobilenet: {len(state)} of {len(state)} tensors" in result.stdout
    assert len(result.stdout.splitlines()) == 2
    # Without the counters of batches, which other programs leave out.
    torch.save({name: value for name, value in state.items() if "num_b" not in name}, source)
    for other in ("fcn8s-mobilenet", "deconvnet-vgg16"):
        wrong = deconvnet("weights", "import", source, "--net", other)
        assert wrong.exit_code == 1
        assert f"weights of deconvnet-mobilenet, not of {other}" in wrong.stderr
        assert "import them with --net deconvnet-mobilenet" in wrong.stderr
    # One tensor short: another net is still named, and the right one says what is missing.
    short = {name: value for name, value in state.items() if name != "module.score.bias"}
    torch.save(short | {"module.epoch": torch.zeros(1)}, source)
    wrong = deconvnet("weights", "import", source, "--net", "fcn8s-mobilenet")
    assert "import them with --net deconvnet-mobilenet" in wrong.stderr
    right = deconvnet("weights", "import", source, "--net", "deconvnet-mobilenet")
    assert right.exit_code == 1 and "score.bias" in right.stderr


UNUSABLE = {
    "cut": (lambda data: data[:-1000], "not a readable safetensors file"),
    "empty": (lambda data: b"", "not a readable safetensors file"),
    "text": (lambda data: b"not weights" * 10, "not a readable safetensors file"),
    "header": (lambda data: b"\xff" * 8 + data[8:], "not a readable safetensors file"),
    "bare": (lambda data: save({"x": torch.zeros(1)}), "convert it with `deconvnet weights imp"),
    "missing": (None, "neither a file nor shipped weights"),
}


def test_import_of_weights_of_ones_own_classes(deconvnet, tmp_path):
    source, names = tmp_path / "net.pth", tmp_path / "names.txt"
    net = build_net("deconvnet-mobilenet", {"classes": 3})
    torch.save(net.state_dict(), source)
    names.write_text("oak leaf\nfern\n")
    given = ("weights", "import", source, "--net", "deconvnet-mobilenet")
    one_error_line(deconvnet(*given), 1, "is (3, ", "the net's (21, ", "--classes FILE")
    result = deconvnet(*given, "--classes", names)
    assert result.exit_code == 0, result.stderr
    made = files.load(str(tmp_path / "net.safetensors"))
    assert made.card.classes == ("background", "oak leaf", "fern")
    torch.testing.assert_close(made.net.state_dict(), net.state_dict())


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_weights_are_one_line_and_no_output(deconvnet, tiny_weights, data, tmp_path, kind):
    path, out = tmp_path / f"{kind}.safetensors", tmp_path / "labels.png"
    damage, words = UNUSABLE[kind]
    if damage:
        path.write_bytes(damage(tiny_weights.read_bytes()))
    result = deconvnet("segment", data / "chelsea.jpg", "-o", out, "--weights", path)
    one_error_line(result, 1, path.name, words)
    assert not out.exists()


def test_shipped_weights_with_a_changed_byte_are_not_used(deconvnet, data, tmp_path, monkeypatch):
    entry = shipped.registry()[DEFAULT]
    content = bytearray((shipped.shipped_folder() / entry["file"]).read_bytes())
    content[-1] ^= 1
    (tmp_path / entry["file"]).write_bytes(content)
    (tmp_path / "registry.json").write_text(json.dumps({DEFAULT: entry}))
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    out = tmp_path / "labels.png"
    for command in (
        ("segment", data / "chelsea.jpg", "-o", out),
        ("weights", "verify"),
        ("weights", "show", DEFAULT),
    ):
        result = deconvnet(*command)
        assert result.exit_code == 1, command
        (line,) = result.stderr.splitlines()
        assert entry["file"] in line and "SHA-256" in line and "install it again" in line
    assert not out.exists()
    doctor = deconvnet("doctor")
    assert doctor.exit_code == 1 and "SHA-256" in doctor.output


@pytest.mark.parametrize("name", ["gone.pth", "gone.caffemodel", "gone.safetensors", "folder.pth"])
def test_import_of_no_file(deconvnet, tmp_path, name):
    (tmp_path / "folder.pth").mkdir()
    result = deconvnet("weights", "import", tmp_path / name, "-o", tmp_path / "out.safetensors")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert name in line and "no such file" in line


def test_import_does_not_overwrite_its_source(deconvnet, tiny_weights, tmp_path):
    source = tmp_path / "w.safetensors"
    source.write_bytes(tiny_weights.read_bytes())
    result = deconvnet("weights", "import", source)
    assert result.exit_code == 2 and "is the file to import" in result.stderr
    assert source.read_bytes() == tiny_weights.read_bytes()
