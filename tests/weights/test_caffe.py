"""Reading .caffemodel files, hostile ones too, and importing them into the net."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.caffe_encoder import (
    floats,
    layer,
    legacy_dims,
    message,
    net,
    number_field,
    shape_dims,
    tag,
    varint,
)

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNet, DeconvNetSettings
from deconvnet_cli.weights.caffe_deconvnet import import_deconvnet
from deconvnet_cli.weights.caffe_layers import detect_kind, infer_settings
from deconvnet_cli.weights.caffe_reader import read_caffemodel
from deconvnet_cli.weights.files import load

NARROW = DeconvNetSettings(classes=5, width=1 / 64, fc=6)
# Name and weight shape of every layer of the released definition at 1/64 of its width, fc 6 and
# 5 classes, by hand; deconvolutions are in x out x height x width.
SOURCE_SHAPES = {
    "conv1_1": (1, 3, 3, 3), "conv1_2": (1, 1, 3, 3),
    "conv2_1": (2, 1, 3, 3), "conv2_2": (2, 2, 3, 3),
    "conv3_1": (4, 2, 3, 3), "conv3_2": (4, 4, 3, 3), "conv3_3": (4, 4, 3, 3),
    "conv4_1": (8, 4, 3, 3), "conv4_2": (8, 8, 3, 3), "conv4_3": (8, 8, 3, 3),
    "conv5_1": (8, 8, 3, 3), "conv5_2": (8, 8, 3, 3), "conv5_3": (8, 8, 3, 3),
    "fc6": (6, 8, 7, 7), "fc7": (6, 6, 1, 1), "fc6-deconv": (6, 8, 7, 7),
    "deconv5_1": (8, 8, 3, 3), "deconv5_2": (8, 8, 3, 3), "deconv5_3": (8, 8, 3, 3),
    "deconv4_1": (8, 8, 3, 3), "deconv4_2": (8, 8, 3, 3), "deconv4_3": (8, 4, 3, 3),
    "deconv3_1": (4, 4, 3, 3), "deconv3_2": (4, 4, 3, 3), "deconv3_3": (4, 2, 3, 3),
    "deconv2_1": (2, 2, 3, 3), "deconv2_2": (2, 1, 3, 3),
    "deconv1_1": (1, 1, 3, 3), "deconv1_2": (1, 1, 3, 3),
    "seg-score-voc": (5, 1, 1, 1),
}  # fmt: skip
TRUNK = [name for name in SOURCE_SHAPES if name.startswith("conv")]


def norm_of(name: str) -> str:
    if name == "fc6-deconv":
        return "fc6-deconv-bn"
    if name.startswith("deconv"):
        return "debn" + name[6:]
    return "bnfc" + name[2] if name.startswith("fc") else "bn" + name[4:]


def released(*, statistics: bool = False) -> dict[str, list[np.ndarray]]:
    """The layers of a released file, narrow, with random values."""
    random = np.random.default_rng(5)
    layers = {}
    for name, shape in SOURCE_SHAPES.items():
        channels = shape[1] if "deconv" in name else shape[0]
        weight = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        layers[name] = [weight, random.normal(0, 0.1, (1, 1, 1, channels))]
        if name != "seg-score-voc":
            one = (1, channels, 1, 1)
            layers[norm_of(name)] = [random.uniform(0.5, 2, one), random.normal(0.3, 0.2, one)]
            if statistics:
                layers[norm_of(name)] += [random.normal(0, 1, one), random.uniform(0.1, 1, one)]
    return {name: [a.astype(np.float32) for a in arrays] for name, arrays in layers.items()}


@pytest.fixture
def written(tmp_path: Path):
    def write(content: bytes) -> Path:
        path = tmp_path / "some.caffemodel"
        path.write_bytes(content)
        return path

    return write


SMALL = {
    "conv": [
        np.arange(24, dtype=np.float32).reshape(4, 3, 2, 1) - 3.5,
        np.array([0.1, -2, 3e38, 1e-40], np.float32),
    ],
    "bn": [np.full((1, 300, 1, 1), 0.25, np.float32)],
}


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_caffemodel(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
def test_every_way_to_write_a_blob(written, v1, legacy, packed, double) -> None:
    content = net(SMALL, v1=v1, legacy=legacy, packed=packed, double=double)
    layers = read_caffemodel(written(content))
    assert list(layers) == ["conv", "bn"]
    for name, arrays in SMALL.items():
        assert len(layers[name]) == len(arrays)
        for got, array in zip(layers[name], arrays, strict=True):
            expected = array.reshape((1,) * (4 - array.ndim) + array.shape) if legacy else array
            assert got.dtype == np.float32 and got.flags.writeable
            assert got.shape == expected.shape
            np.testing.assert_array_equal(got, expected)


def test_numbers_in_pieces_around_other_fields(written) -> None:
    values = np.arange(1, 401, dtype=np.float32)
    pieces = (
        floats(values[:3], packed=False)
        + message(6, b"diff")
        + floats(values[3:5])
        + floats([])
        + shape_dims([2, 10], packed=False)
        + floats(values[5:395], packed=False)
        + shape_dims([20])
        + floats(values[395:], packed=False)
    )
    (got,) = read_caffemodel(written(layer("a", [pieces])))["a"]
    np.testing.assert_array_equal(got, values.reshape(2, 10, 20))


def test_layers_without_blobs_are_skipped_and_scalars_kept(written) -> None:
    content = layer("relu", []) + layer("scalar", [floats([7])], v1=False)
    layers = read_caffemodel(written(content))
    assert list(layers) == ["scalar"]
    assert layers["scalar"][0].shape == () and layers["scalar"][0] == 7


@pytest.mark.parametrize("packed", [True, False])
def test_a_file_cut_short_anywhere_is_refused_or_holds_whole_layers(written, packed) -> None:
    small = {"a": SMALL["conv"], "b": [np.ones((1, 2, 1, 3), np.float32)]}
    content = net(small, packed=packed)
    outcomes = set()
    for length in range(len(content)):
        try:
            layers = read_caffemodel(written(content[:length]))
        except WeightsError:
            outcomes.add("refused")
        else:
            outcomes.add(tuple(layers))
            np.testing.assert_array_equal(layers["a"][0], small["a"][0])
    assert outcomes == {"refused", ("a",)}


def with_dims(dims: bytes) -> bytes:
    return layer("a", [dims + floats([1, 2, 3, 4])])


HOSTILE = {
    "empty": (b"", "empty"),
    "text": (b'name: "VGG"\nlayers { bottom: "data" }\n', "not a whole"),
    "zip": (b"PK\x03\x04" + bytes(60), "not a whole"),
    "no layers": (message(1, b"net"), "no layer"),
    "only blobless layers": (layer("relu", []), "no layer"),
    "length 2**40 of a layer": (tag(2, 2) + varint(2**40) + bytes(50), "announces 1099511627776"),
    "length 2**40 of data": (layer("a", [tag(5, 2) + varint(2**40) + bytes(9)]), "announces"),
    "blob reaching out of its layer": (
        message(2, message(4, b"a") + tag(6, 2) + varint(30)) + bytes(50), "announces 30"
    ),
    "dims 2**31 x 2**31": (with_dims(shape_dims([2**31, 2**31])), "2147483648 x 2147483648"),
    "dims that wrap around to 4": (with_dims(shape_dims([2**62 + 1, 4])), "and 4 numbers"),
    "legacy dims 2**31": (with_dims(legacy_dims([2**31, 2**31, 1, 1])), "and 4 numbers"),
    "negative dim": (with_dims(shape_dims([2**64 - 4])), "and 4 numbers"),
    "one number too many": (with_dims(shape_dims([3])), "shape 3 and 4 numbers"),
    "one number too few": (with_dims(shape_dims([5])), "shape 5 and 4 numbers"),
    "no numbers, zero dim": (layer("a", [shape_dims([0, 2**62])]), "and 0 numbers"),
    "no numbers at all": (layer("a", [b""]), "and 0 numbers"),
    "33 axes": (with_dims(shape_dims([4] + [1] * 32)), "over 32 axes"),
    "a million axes": (with_dims(message(7, message(1, b"\1" * 1_000_000))), "over 32 axes"),
    "33 axes in two messages": (
        with_dims(shape_dims([4]) + shape_dims([1] * 20) + shape_dims([1] * 20)), "over 32 axes"
    ),
    "a legacy axis missing": (
        with_dims(number_field(1, 2) + number_field(2, 2) + number_field(4, 1)), "2 x 2 x 0 x 1"
    ),
    "overlong varint": (b"\x80" * 10 + b"\x00", "longer than 64 bits"),
    "overlong varint in a shape": (
        with_dims(message(7, message(1, b"\x84" + b"\x80" * 9 + b"\x00"))), "longer than 64 bits"
    ),
    "varint of 70 bits": (b"\xff" * 9 + b"\x7f", "longer than 64 bits"),
    "varint cut off": (b"\x80", "ends inside a number"),
    "layer cut short": (layer("a", [])[:-8], "announces"),
    "data of 5 bytes": (layer("a", [message(5, b"12345")]), "5 bytes of numbers"),
    "data as varint": (layer("a", [number_field(5, 3)]), "type 0"),
    "group": (tag(2, 3) + tag(2, 4), "type 3"),
    "field 0": (tag(0, 0) + b"\x01", "field number 0"),
    "name that is no text": (
        message(2, message(4, b"\xff\xfe") + message(6, floats([1]))), "not text"
    ),
    "twice the same layer": (layer("a", [floats([1])]) * 2, "two layers"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_before_memory_is_taken(written, case) -> None:
    content, words = HOSTILE[case]
    path = written(content)
    tracemalloc.start()
    try:
        text = refused(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert words in text
    assert peak < 1_000_000


def test_layer_names_cannot_break_the_message(written) -> None:
    assert "'a\\nb'" in refused(written(layer("a\nb", [floats([1])]) * 2))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.caffemodel")
    refused(tmp_path)


def test_kinds() -> None:
    one = [np.ones(1, np.float32)]
    assert detect_kind(released()) == "deconvnet"
    trunk = dict.fromkeys([*TRUNK, "fc6", "fc7", "fc8"], one)
    assert detect_kind(trunk) == "vgg-trunk"
    assert detect_kind({**trunk, "score-fr": one, "score-pool4": one}) == "fcn8s"
    assert detect_kind({name: one for name in TRUNK[1:]}) == "unknown"
    with pytest.raises(WeightsError, match="unknown net"):
        import_deconvnet({"ip1": one})


def test_settings_from_shapes() -> None:
    assert infer_settings(released()) == NARROW
    for width in (1.0, 0.3, 0.777, 1.5, 0.0005):
        settings = DeconvNetSettings(classes=3, width=width, fc=9)
        with torch.device("meta"):
            state = DeconvNet(settings).state_dict()
        blobs = {
            name[: -len(".weight")].replace("_deconv", "-deconv").replace("_score_", "-score-"): [
                np.broadcast_to(np.float32(0), tuple(tensor.shape))
            ]
            for name, tensor in state.items()
            if name.endswith(".weight") and tensor.ndim == 4
        }
        found = infer_settings(blobs)
        assert (found.classes, found.fc) == (3, 9)
        assert all(found.scaled(c) == settings.scaled(c) for c in (64, 128, 256, 512))


def test_inference_file_is_convolution_and_affine(written) -> None:
    layers = released()
    state, rows = import_deconvnet(read_caffemodel(written(net(layers))))
    model = DeconvNet(NARROW).eval()
    model.load_state_dict(state)
    as_tensors = {name: [torch.tensor(a) for a in arrays] for name, arrays in layers.items()}
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    image, switches = x, []
    for name in SOURCE_SHAPES:
        weight, bias = as_tensors[name]
        if name in ("deconv5_1", "deconv4_1", "deconv3_1", "deconv2_1", "deconv1_1"):
            x = F.max_unpool2d(x, switches.pop(), 2)
        padding = 1 if weight.shape[-1] == 3 else 0
        conv = F.conv_transpose2d if "deconv" in name else F.conv2d
        x = conv(x, weight, bias.flatten(), padding=padding)
        if name == "seg-score-voc":
            break
        scale, shift = as_tensors[norm_of(name)]
        x = torch.relu(scale * x + shift)
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x, where = F.max_pool2d(x, 2, return_indices=True)
            switches.append(where)
    with torch.no_grad():
        scores = model(image)
    assert x.std() > 1e-2
    torch.testing.assert_close(scores, x, rtol=1e-4, atol=1e-4)
    assert [row.source for row in rows] == list(layers)
    assert all(row.targets for row in rows)
    assert "do not train" in next(row.note for row in rows if row.source == "bn1_1")


def test_folded_batchnorm_is_the_affine_to_the_last_bit() -> None:
    layers = released()
    state, _ = import_deconvnet(layers)
    model = DeconvNet(NARROW).eval()
    model.load_state_dict(state)
    assert torch.equal(state["bn4_1.running_var"] + torch.tensor(1e-5), torch.ones(8))
    scale, shift = (torch.tensor(array) for array in layers["bn4_1"])
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0)) * 50
    with torch.no_grad():
        torch.testing.assert_close(model.bn4_1(x), scale * x + shift, rtol=3e-7, atol=1e-5)


def test_result_of_training_with_and_without_statistics() -> None:
    layers = released(statistics=True)
    state, rows = import_deconvnet(layers)
    model = DeconvNet(NARROW).eval()
    model.load_state_dict(state)
    scale, shift, mean, variance = (torch.tensor(array) for array in layers["debn4_2"])
    x = torch.randn(1, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    expected = (x - mean) / (variance + 1e-5).sqrt() * scale + shift
    with torch.no_grad():
        torch.testing.assert_close(model.debn4_2(x), expected, rtol=1e-4, atol=1e-5)
    assert not any(row.note for row in rows)
    state, rows = import_deconvnet(released(), folded=False)
    notes = {row.source: row.note for row in rows}
    assert notes["fc6-deconv-bn"] == "statistics to be recomputed" and notes["conv1_1"] == ""
    assert sum(note != "" for note in notes.values()) == 29


def test_trunk_alone() -> None:
    layers = {name: arrays for name, arrays in released().items() if name in TRUNK}
    layers["fc6"] = [np.ones((1, 1, 7, 8 * 49), np.float32)]
    settings = DeconvNetSettings(classes=5, width=1 / 64, fc=6)
    state, rows = import_deconvnet(layers, settings)
    assert set(state) == {f"{name}.{part}" for name in TRUNK for part in ("weight", "bias")}
    np.testing.assert_array_equal(state["conv1_1.weight"].numpy(), layers["conv1_1"][0])
    by_source = {row.source: row for row in rows if row.source}
    assert by_source["fc6"].targets == () and "not used" in by_source["fc6"].note
    left = [row for row in rows if not row.source]
    assert all(row.note == "left at its initial value" for row in left)
    net_names = set(DeconvNet(settings).state_dict())
    assert {name for row in left for name in row.targets} == net_names - set(state)
    assert infer_settings(layers) == DeconvNetSettings(width=1 / 64)


@pytest.mark.parametrize("matrices", [True, False], ids=["classifier", "convolutions"])
def test_a_vgg16_gives_fc6_and_fc7_too(matrices: bool) -> None:
    """The authors start from a VGG-16 whose fully connected layers are convolutions."""
    layers = {name: arrays for name, arrays in released().items() if name in TRUNK}
    rng = np.random.default_rng(0)
    kernels = {"fc6": (6, 8, 7, 7), "fc7": (6, 6, 1, 1)}
    for name, shape in kernels.items():
        kernel, bias = (rng.normal(size=size).astype(np.float32) for size in (shape, (1, 1, 1, 6)))
        kernels[name] = kernel
        layers[name] = [kernel.reshape(1, 1, 6, -1) if matrices else kernel, bias]
    layers["fc8"] = [np.ones((1, 1, 1000, 6), np.float32), np.ones((1, 1, 1, 1000), np.float32)]
    state, rows = import_deconvnet(layers, DeconvNetSettings(classes=5, width=1 / 64, fc=6))
    used = (*TRUNK, "fc6", "fc7")
    assert set(state) == {f"{name}.{part}" for name in used for part in ("weight", "bias")}
    assert {row.source: bool(row.targets) for row in rows if row.source}["fc8"] is False
    # A fully connected layer is the sum over all of its input, plane by plane and row by row.
    pool5 = torch.randn(1, 8, 7, 7)
    by_hand = kernels["fc6"].reshape(6, -1) @ pool5.numpy().ravel() + layers["fc6"][1].ravel()
    found = F.conv2d(pool5, state["fc6.weight"], state["fc6.bias"]).flatten()
    np.testing.assert_allclose(found, by_hand, rtol=1e-4, atol=1e-4)


def test_what_went_nowhere_and_what_got_nothing_is_in_the_table() -> None:
    layers = released()
    del layers["debn3_2"]
    layers["conv2_1"] = layers["conv2_1"][:1]
    layers["extra"] = [np.ones(2, np.float32)]
    state, rows = import_deconvnet(layers)
    assert not any(name.startswith("debn3_2.") for name in state)
    assert not state["conv2_1.bias"].any()
    notes = {row.source: (row.targets, row.note) for row in rows}
    assert notes["extra"] == ((), "not used: the net has no such layer")
    assert notes["conv2_1"][1] == "no bias in the file: 0"
    assert "debn3_2.running_var" in notes[""][0]


@pytest.mark.parametrize(("source", "arrays", "words"), [
    ("conv3_2", [np.ones((4, 4, 3, 2))], r"\(4, 4, 3, 2\).*\(4, 4, 3, 3\)"),
    ("conv3_2", [np.ones((4, 4, 3, 3)), np.ones(5)], r"\(5,\).*\(4,\)"),
    ("conv3_2", [np.ones((4, 4, 3, 3))] * 3, "3 blobs"),
    ("conv3_2", [np.ones((5, 4, 3, 3))], "no width"),
    ("conv3_2", [np.full((4, 4, 3, 3), np.nan)], "not finite"),
    ("conv3_2", [np.ones(4)], r"\(4,\); expected 4 axes"),
    ("conv3_2", [], "no blobs"),
    ("bn4_1", [np.ones((1, 8, 1, 1))], "1 blobs"),
    ("bn4_1", [np.ones((1, 2, 4, 1))] * 2, r"\(1, 2, 4, 1\).*\(8,\)"),
    ("bn4_1", [-np.ones((1, 8, 1, 1))] * 4, "negative variance"),
    ("fc6_deconv", [np.ones((6, 8, 7, 7))], "are the same one"),
])  # fmt: skip
def test_wrong_blobs_are_refused(source, arrays, words) -> None:
    layers = released()
    layers[source] = [array.astype(np.float32) for array in arrays]
    with pytest.raises(WeightsError, match=words) as caught:
        import_deconvnet(layers)
    assert source in str(caught.value) or "no width" in words


def test_a_released_file_without_a_layer_that_gives_the_width_is_refused() -> None:
    layers = released()
    del layers["seg-score-voc"]
    with pytest.raises(WeightsError, match="seg_score_voc is missing"):
        import_deconvnet(layers)


def test_double_numbers_and_legacy_axes_win_as_in_caffe(written) -> None:
    content = layer("a", [shape_dims([1]) + floats([1]) + floats([2], double=True)])
    assert read_caffemodel(written(content))["a"][0].tolist() == [2]
    content = layer("a", [shape_dims([4]) + legacy_dims([2, 2]) + floats([1, 2, 3, 4])])
    assert read_caffemodel(written(content))["a"][0].shape == (1, 1, 2, 2)


def test_the_import_command_makes_weights_that_load(deconvnet, written, tmp_path) -> None:
    layers = released() | {"seg-score-voc": [np.ones((21, 1, 1, 1)), np.zeros((1, 1, 1, 21))]}
    target = tmp_path / "made.safetensors"
    source = written(net(layers))
    result = deconvnet("weights", "import", source, "-o", target)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 2
    number = len(layers)
    assert f"{number} of {number} layers in the file are used" in result.stdout
    verbose = deconvnet("weights", "import", source, "-o", target, "--verbose")
    assert "conv1_1" in verbose.stdout and len(verbose.stdout.splitlines()) > number
    for other in ("fcn8s", "deconvnet-mobilenet"):
        wrong = deconvnet("weights", "import", source, "-o", tmp_path / "no", "--net", other)
        assert wrong.exit_code == 1 and "--net deconvnet-vgg16" in wrong.stderr
    made = load(str(target))
    assert (made.card.net, made.card.input.channels) == ("deconvnet-vgg16", "BGR")
    weight = made.net.conv1_1.weight.detach().numpy()
    np.testing.assert_array_equal(weight, layers["conv1_1"][0].reshape(weight.shape))


def test_the_import_command_refuses_other_classes(deconvnet, written, tmp_path) -> None:
    result = deconvnet("weights", "import", written(net(released())))
    assert result.exit_code == 1
    assert "some.caffemodel" in result.stderr and "5 classes" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.caffemodel"]


def test_the_import_command_takes_a_trunk_to_train_from(deconvnet, written, tmp_path) -> None:
    layers = {name: arrays for name, arrays in released().items() if name in TRUNK}
    target = tmp_path / "start.safetensors"
    result = deconvnet("weights", "import", written(net(layers)), "-o", target)
    assert result.exit_code == 0, result.output
    assert "left at its initial value" in result.stdout
    made = load(str(target))
    assert "to start training from" in made.card.provenance
    for name, (weight, bias) in layers.items():
        layer = getattr(made.net, name)
        np.testing.assert_array_equal(layer.weight.detach().numpy(), weight)
        np.testing.assert_array_equal(layer.bias.detach().numpy(), bias.ravel())
    # The rest as before training in the paper: Gaussian, sd 0.01.
    assert made.net.fc7.weight.std().item() == pytest.approx(0.01, rel=0.05)
    (tmp_path / "names.txt").write_text("background\noak leaf\n")
    deconvnet(
        "weights", "import", written(net(layers)), "-o", target, "--classes", tmp_path / "names.txt"
    )
    assert load(str(target)).card.classes == ("background", "oak leaf")


def test_the_import_command_says_where_statistics_are_missing(deconvnet, tmp_path) -> None:
    layers = released() | {"seg-score-voc": [np.ones((21, 1, 1, 1)), np.zeros((1, 1, 1, 21))]}
    source, target = tmp_path / "stage_2_train_result.caffemodel", tmp_path / "made.safetensors"
    source.write_bytes(net(layers))
    result = deconvnet("weights", "import", source, "-o", target)
    assert result.exit_code == 0, result.output
    assert "to be recomputed" in result.stdout
    assert "to be recomputed" in load(str(target)).card.provenance
