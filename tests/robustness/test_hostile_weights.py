"""Weights files that were made to do harm: safetensors, cards, pickles and files of Caffe."""

from __future__ import annotations

import json
import os
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.caffe_encoder import layer, message, number_field, shape_dims, varint
from helpers.caffe_encoder import net as caffemodel
from helpers.fuzz_targets import TARGETS
from safetensors.torch import load_file, save, save_file
from torch import nn

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import build_net
from deconvnet_cli.training.batchnorm import load_folded
from deconvnet_cli.weights import card as card_check
from deconvnet_cli.weights import files, shipped
from deconvnet_cli.weights.card import Card
from deconvnet_cli.weights.files import load, read_card
from deconvnet_cli.weights.importing import import_weights


def refused(path: Path, read: Callable[[str], object] = load, most: int = 30_000_000) -> str:
    """The one line with which a file is refused; no memory to speak of is taken for it."""
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError) as caught:
            read(str(path))
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert text.isprintable() and path.name in text
    return text


def raw(path: Path, header: str | bytes, data: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file of these parts, whatever they are."""
    text = header.encode() if isinstance(header, str) else header
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


ONE = '"dtype":"F32","shape":[1],"data_offsets":'
HEADERS = {
    "a header beyond the end": ("{}", b"", 1 << 40),
    "a header of 2**64 - 1": ("{}", b"", (1 << 64) - 1),
    "a header of no length": ("", b"", 0),
    "no object": ("[]", b"", None),
    "nested": ("[" * 100_000, b"", None),
    "not text": (b"\xff\xfe{}", b"", None),
    "tensors on one another": (f'{{"a":{{{ONE}[0,4]}},"b":{{{ONE}[0,4]}}}}', bytes(4), None),
    "a gap": (f'{{"a":{{{ONE}[4,8]}}}}', bytes(8), None),
    "turned round": (f'{{"a":{{{ONE}[4,0]}}}}', bytes(4), None),
    "beyond the end": (f'{{"a":{{{ONE}[0,4]}}}}', b"", None),
    "more data than tensors": (f'{{"a":{{{ONE}[0,4]}}}}', bytes(400), None),
    "a product over 2**64": (
        '{"a":{"dtype":"F32","shape":[4294967296,4294967297,4],"data_offsets":[0,16]}}',
        bytes(16),
        None,
    ),
    "a negative side": ('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4), None),
    "an unknown dtype": ('{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}', bytes(4), None),
}


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("read", [load, lambda name: files.read_tensors(Path(name))])
def test_a_false_header(tmp_path: Path, case: str, read: Callable[[str], object]) -> None:
    header, data, length = HEADERS[case]
    refused(raw(tmp_path / "odd.safetensors", header, data, length), read)


def with_card(source: Path, target: Path, card: str, **tensors: torch.Tensor) -> Path:
    """The tensors of a file, some of them others, with this card."""
    save_file(load_file(source) | tensors, target, {files.METADATA_KEY: card})
    return target


def card_of(source: Path) -> dict[str, Any]:
    with files.safe_open(source, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[files.METADATA_KEY])
    return found


def test_what_is_checked_is_all_that_a_card_has() -> None:
    assert set(card_check.KINDS) == {field.name for field in fields(Card)}
    assert set(card_check.INPUT_KINDS) == {field.name for field in fields(InputConvention)}


# Each change of a card, and a word of why it is refused.
CARDS: dict[str, tuple[dict[str, Any], str]] = {
    "an enormous width": ({"settings": {"width": 1e9, "fc": 16}}, "above 0, at most 16"),
    "a width that is none": ({"settings": {"width": float("nan"), "fc": 16}}, "above 0"),
    "a negative width": ({"settings": {"width": -1, "fc": 16}}, "above 0"),
    "an enormous fc": ({"settings": {"width": 0.03125, "fc": 10**30}}, "at most 65536"),
    "an fc of another kind": ({"settings": {"width": 0.03125, "fc": "16"}}, "no int"),
    "a width that is true": ({"settings": {"width": True, "fc": 16}}, "no float"),
    "as wide as may be": ({"settings": {"width": 16, "fc": 65536}}, "the net's"),
    "an unknown setting": ({"settings": {"depth\n": 3}}, r"depth\\n"),
    "settings that are none": ({"settings": [1]}, "settings is"),
    "an unknown net": ({"net": "lenet\x1b[31m"}, r"lenet\\x1b"),
    "a net of another kind": ({"net": ["deconvnet-vgg16"]}, "net is"),
    "fewer names than classes": ({"classes": ["a", "b"]}, "2 names for 21"),
    "no names": ({"classes": []}, "0 names"),
    "names that are none": ({"classes": [1] * 21}, "not all names"),
    "an enormous crop": ({"input": {"size": 32 * 10**9}}, "size is"),
    "no crop": ({"input": {"size": 0}}, "pixels or more"),
    "a crop that does not halve": ({"input": {"size": 230}}, "a multiple of 32"),
    "a whole photo for VGG": ({"input": {"whole": 640}}, "no whole photo"),
    "cells of nothing": ({"input": {"cell": 0}}, "cells of 0"),
    "a mean of two": ({"input": {"mean": [1, 2]}}, "mean and scale"),
    "a mean of text": ({"input": {"mean": ["1", 2, 3]}}, "mean and scale"),
    "an infinite scale": ({"input": {"scale": float("inf")}}, "mean and scale"),
    "channels that are none": ({"input": {"channels": "XYZ"}}, "RGB or BGR"),
    "input of another kind": ({"input": 3}, "input is"),
    "an unknown merge": ({"merge": "min"}, "unknown merge"),
    "proposals without end": ({"proposals": 10**12}, "proposals is"),
    "no proposals": ({"proposals": 0}, "proposals is"),
    "proposals that are true": ({"proposals": True}, "no int"),
    "something unknown": ({"a\nb": 1}, "means nothing here"),
}  # fmt: skip


@pytest.mark.parametrize("case", CARDS)
def test_a_card_that_asks_for_too_much_or_nonsense(tiny_weights, tmp_path, case):
    change, words = CARDS[case]
    card = card_of(tiny_weights)
    for name, value in change.items():
        inside = name == "input" and isinstance(value, dict)
        card[name] = card[name] | value if inside else value
    path = with_card(tiny_weights, tmp_path / "odd.safetensors", json.dumps(card))
    assert re.search(words, refused(path))


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "{}", '"text"', "", "{" * 50, '"\\ud800"'])
def test_a_card_that_is_no_object(tiny_weights: Path, tmp_path: Path, text: str) -> None:
    path = with_card(tiny_weights, tmp_path / "odd.safetensors", text)
    assert "card cannot be read" in refused(path)


def test_a_card_with_a_key_twice_says_the_last(tiny_weights: Path, tmp_path: Path) -> None:
    card = json.dumps(card_of(tiny_weights)).replace("{", '{"net": "lenet", ', 1)
    path = with_card(tiny_weights, tmp_path / "odd.safetensors", card)
    assert read_card(path).net == "deconvnet-vgg16"


def test_a_huge_card_is_read_or_refused(tiny_weights: Path, tmp_path: Path) -> None:
    card = card_of(tiny_weights)
    long = with_card(
        tiny_weights, tmp_path / "long.safetensors", json.dumps(card | {"licence": "x" * 5_000_000})
    )
    assert len(load(str(long)).card.licence) == 5_000_000
    names = with_card(
        tiny_weights, tmp_path / "names.safetensors", json.dumps(card | {"x" * 5_000_000: 1})
    )
    assert len(refused(names)) < 11_000  # a message stays a message


# Tensors that no net can compute with.
TENSORS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "not a number": (lambda t: t * float("nan"), "not finite"),
    "infinite": (lambda t: t + float("inf"), "not finite"),
    "whole numbers": (lambda t: t.to(torch.int64), "int64"),
    "truths": (lambda t: t > 0, "bool"),
    "complex": (lambda t: t.to(torch.complex64), "complex64"),
    "bytes of numbers": (lambda t: t.to(torch.float8_e4m3fn), "float8"),
    "double": (lambda t: t.double(), ""),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_no_weights(tiny_weights: Path, tmp_path: Path, case: str) -> None:
    make, words = TENSORS[case]
    name = "conv1_1.weight"
    odd = {name: make(load_file(tiny_weights)[name].float())}
    card = json.dumps(card_of(tiny_weights))
    path = with_card(tiny_weights, tmp_path / "odd.safetensors", card, **odd)
    if words:
        assert words in refused(path) and name in refused(path)
    else:
        assert load(str(path)).net.get_parameter(name).dtype == torch.float32


def test_a_negative_variance_is_refused(tiny_weights: Path, tmp_path: Path) -> None:
    name = "bn1_1.running_var"
    odd = {name: -load_file(tiny_weights)[name]}
    card = json.dumps(card_of(tiny_weights))
    path = with_card(tiny_weights, tmp_path / "odd.safetensors", card, **odd)
    assert "negative variance" in refused(path)


def test_a_start_of_training_that_is_not_finite(tmp_path: Path) -> None:
    whole = TARGETS["encoder"].seeds(tmp_path)[0]
    path = tmp_path / "start.safetensors"
    path.write_bytes(whole)
    load_folded(DeconvNetMobile(strided=True), path)
    tensors = load_file(path)
    tensors["head.logits.bias"][3] = float("inf")
    path.write_bytes(save(tensors))
    with pytest.raises(WeightsError, match=r"head\.logits\.bias has values that are not finite"):
        load_folded(DeconvNetMobile(strided=True), path)


@pytest.mark.parametrize("settings", [
    {"decode4": [64, 31]}, {"bridge": [1] * 17}, {"bridge": []}, {"decode1": 16}, {"pools": 3},
    {"pools": 5, "decode5": [160, 63]}, {"pool": "mean"},
])  # fmt: skip
def test_settings_of_a_net_that_cannot_run(settings: dict[str, Any]) -> None:
    with torch.device("meta"), pytest.raises(WeightsError):
        build_net("deconvnet-mobilenet", settings)


def test_the_nets_that_settings_can_ask_for_run() -> None:
    for pools, decode5 in ((4, (160, 64)), (5, (8, 64))):
        net = build_net("deconvnet-mobilenet", {"pools": pools, "decode5": decode5}).eval()
        with torch.inference_mode():
            assert net(torch.zeros(1, 3, 32, 64)).shape == (1, 21, 32, 64)
            assert len(net.encode(torch.zeros(1, 3, 32, 64))[1]) == pools


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"a": {"file": "x"}}', "[" * 100_000])
def test_a_damaged_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    (tmp_path / "registry.json").write_text(text)
    with pytest.raises(WeightsError, match=r"registry\.json: damaged"):
        shipped.registry()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files here")
def test_a_pipe_is_no_weights_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    refused(pipe)
    refused(pipe, lambda name: files.read_tensors(Path(name)))
    refused(pipe, lambda name: import_into(Path(name)))


# Pickles.


def import_into(source: Path, net: str = "deconvnet-vgg16") -> object:
    return import_weights(source, source.with_name("made.safetensors"), net, licence="")


class Trap:
    """A pickle of it calls a function when it is read."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


PICKLES = {
    "code": lambda: {"a": Trap(os.system, "false")}, "eval": lambda: {"a": Trap(eval, "1 / 0")},
    "nothing but zeros": lambda: {"a": Trap(bytearray, 1 << 20)},
    "a module": lambda: nn.Linear(2, 2), "numbers": lambda: {"a": 1},
    "names that are none": lambda: {1: torch.ones(1)},
    "sparse": lambda: {"a": torch.ones(2, 2).to_sparse()},
    "on no device": lambda: {"a": torch.ones(2, device="meta")}, "a list": lambda: [torch.ones(1)],
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_of_something_else(tmp_path: Path, case: str, zipped: bool) -> None:
    path = tmp_path / "odd.pth"
    torch.save(PICKLES[case](), path, _use_new_zipfile_serialization=zipped)
    text = refused(path, lambda name: import_into(Path(name)))
    assert "plain tensors" in text or "something else than named tensors" in text


def test_a_tensor_that_claims_more_values_than_there_are(tmp_path: Path) -> None:
    """One number, seen 2**40 times: in single precision it would be 4 TB."""
    path = tmp_path / "odd.pth"
    torch.save({"conv1_1.weight": torch.ones(1).half().expand(1 << 40)}, path)
    assert "not weights of this net" in refused(path, lambda name: import_into(Path(name)))
    state = build_net("fcn8s-mobilenet").state_dict()
    name = "stem.0.weight"
    state[name] = torch.ones(1).half().expand(1 << 40)
    torch.save(state, path)
    text = refused(path, lambda name: import_into(Path(name), "fcn8s-mobilenet"))
    assert f"{name} is (1099511627776,)" in text


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packed_pth_is_not_unpacked(tmp_path, monkeypatch, packing):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpacked"))
    assert "unpacks to 50000000 bytes" in refused(path, lambda name: import_into(Path(name)))


@pytest.mark.parametrize("data", [
    b"", b"\x80", b"\x80\x02", b"\x80\x02.", b"\x80\x02}q\x00.", b"(" * 1000, b"\x80\x02\x8a\xff",
    b"PK",
])  # fmt: skip
def test_pickles_that_end_early_or_pop_too_much(tmp_path: Path, data: bytes) -> None:
    """Torch raises IndexError, KeyError, struct.error and more for them."""
    path = tmp_path / "odd.pth"
    path.write_bytes(data)
    refused(path, lambda name: import_into(Path(name)))


# Caffe files; tests/weights/test_caffe.py has those that the reader alone refuses.


def test_nested_messages_do_not_recurse(tmp_path: Path) -> None:
    inside = b""
    for _ in range(3000):
        inside = message(2, inside)
    path = tmp_path / "deep.caffemodel"
    path.write_bytes(inside)
    assert "no layer with weights" in refused(path, lambda name: import_into(Path(name)))


def test_a_negative_side_is_no_side(tmp_path: Path) -> None:
    """Protobuf writes -1 as ten bytes, a number just below 2**64."""
    path = tmp_path / "odd.caffemodel"
    dims = message(7, message(1, varint((1 << 64) - 1)))
    path.write_bytes(layer("conv1_1", [dims + message(5, bytes(4))]))
    text = refused(path, lambda name: import_into(Path(name)))
    assert "18446744073709551615 and 1 numbers" in text


def test_a_layer_name_is_shown_and_not_obeyed(deconvnet, tmp_path: Path) -> None:
    """Rich takes square brackets for markup: one that closes nothing was a traceback."""
    data = TARGETS["caffemodel"].seeds(tmp_path)[0]
    name = "[/red]\x1b[31m\n[bold]"
    path = tmp_path / "named.caffemodel"
    path.write_bytes(data + caffemodel({name: [np.ones((2, 2), np.float32)]}))
    result = deconvnet("weights", "import", path)
    assert result.exit_code == 0, result.output
    assert r"[/red]\x1b[31m\n[bold]" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_file_of_very_many_tiny_fields(tmp_path: Path) -> None:
    """Each is stepped over; nothing is kept of them."""
    path = tmp_path / "fields.caffemodel"
    path.write_bytes(number_field(9, 1) * 40_000 + shape_dims([1]) * 10_000)
    text = refused(path, lambda name: import_into(Path(name)), most=1_000_000)
    assert "no layer with weights" in text
