"""FCN-8s and its light sibling: geometry, start, import, and the whole way of a photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.caffe_encoder import net as caffemodel
from PIL import Image
from safetensors.torch import save_file

from deconvnet_cli.errors import WeightsError
from deconvnet_cli.nets.deconvnet_mobilenet import DeconvNetMobile, MobileNetSettings
from deconvnet_cli.nets.deconvnet_vgg16 import DeconvNetSettings
from deconvnet_cli.nets.fcn8s import FCN8s, bilinear_kernel, initialise
from deconvnet_cli.nets.fcn8s_mobilenet import FCN8sMobile, FCN8sMobileSettings
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.segmentation.segment import infer
from deconvnet_cli.segmentation.settings import SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.caffe_fcn8s import import_fcn8s
from deconvnet_cli.weights.caffe_layers import infer_settings
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store

NARROW = DeconvNetSettings(classes=5, width=1 / 64, fc=6)


def narrow(seed: int = 0) -> FCN8s:
    """Narrow, every layer of some effect."""
    net = FCN8s(NARROW).eval()
    initialise(net, seed)
    generator = torch.Generator().manual_seed(seed)
    for name in ("score_fr", "score_pool4", "score_pool3"):
        weight = net.get_parameter(f"{name}.weight")
        weight.data.normal_(0, 0.3, generator=generator)
    return net


def test_the_papers_net_has_its_parameters():
    with torch.device("meta"):
        net = FCN8s()
    # 13 convolutions of VGG-16, fc6, fc7, three scores and three bilinear layers, by hand.
    trunk = 14_714_688
    fc = 512 * 49 * 4096 + 4096 + 4096 * 4096 + 4096
    scores = 21 * (4096 + 512 + 256 + 3)
    enlarging = 21 * 21 * (16 + 16 + 256)
    assert sum(p.numel() for p in net.parameters()) == trunk + fc + scores + enlarging


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (58, 90), (97, 64)])
def test_any_size_in_and_the_same_out(size):
    with torch.inference_mode():
        assert narrow()(torch.randn(2, 3, *size)).shape == (2, 5, *size)


@pytest.mark.parametrize("kernel", [4, 16])
def test_enlarging_is_bilinear(kernel):
    x = torch.randn(1, 3, 6, 7)
    factor = kernel // 2
    enlarged = F.conv_transpose2d(x, bilinear_kernel(3, kernel), stride=factor)
    # What is cut off is where the kernel reaches over the edge.
    cut = factor // 2
    inner = enlarged[:, :, cut:-cut, cut:-cut]
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    edge = factor
    torch.testing.assert_close(
        inner[:, :, edge:-edge, edge:-edge], expected[:, :, edge:-edge, edge:-edge]
    )


def test_crop_offsets_put_everything_in_its_place():
    """With mirror-symmetric kernels a mirrored photo gives mirrored scores, to the pixel: only if
    nothing is moved. 122 + 198 is a multiple of 32, so that no pool rounds up."""
    net = narrow()
    with torch.inference_mode():
        for parameter in net.parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(3)) / 2)
                parameter.copy_((parameter + parameter.flip(2)) / 2)
        photo = torch.randn(1, 3, 122, 90) * 50
        scores = net(photo)
        assert scores.std() > 1e-3
        for axis in (2, 3):
            torch.testing.assert_close(net(photo.flip(axis)), scores.flip(axis), atol=1e-4, rtol=0)


def test_scores_start_at_zero_and_training_has_dropout():
    net = FCN8s(NARROW)
    initialise(net, 0)
    photo = torch.randn(1, 3, 32, 32)
    assert not net(photo).any()
    net = narrow().train()
    torch.manual_seed(0)
    first = net(photo)
    # So few channels may be dropped alike twice, but not eight times.
    assert not all(torch.equal(net(photo), first) for _ in range(8))
    assert torch.equal(net.eval()(photo), net(photo))


def test_the_light_net_starts_as_the_head_alone_and_skips_reach_it():
    settings = FCN8sMobileSettings(head=8, skip=4)
    torch.manual_seed(0)
    net = FCN8sMobile(settings).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        for layer in net.added_logits():
            for parameter in layer.parameters():
                parameter.zero_()
        scores = net(x)
        coarse = net.head(net.encode(x)[0])[1]
    assert scores.shape == (1, 21, 64, 96)
    # A cell stands at the first of its 32 pixels.
    torch.testing.assert_close(scores[:, :, ::32, ::32], coarse, atol=1e-5, rtol=1e-5)
    shapes = [tuple(finer.shape[1:]) for finer in net.encode(x)[1]]
    assert shapes == [(32, 8, 12), (96, 4, 6)]
    before = net(x)
    for layer in net.added_logits():
        layer.bias.data += 1
    torch.testing.assert_close(net(x), before + 2, atol=1e-5, rtol=1e-5)


def test_its_encoder_computes_every_second_cell_of_the_dilated_one():
    torch.manual_seed(1)
    dilated = DeconvNetMobile(MobileNetSettings(head=8), strided=True).eval()
    strided = FCN8sMobile(FCN8sMobileSettings(head=8)).eval()
    shared = {
        name: value
        for name, value in dilated.state_dict().items()
        if name.startswith(("stem.", "blocks."))
    }
    strided.load_state_dict(strided.state_dict() | shared)
    x = torch.randn(1, 3, 128, 96)
    with torch.inference_mode():
        torch.testing.assert_close(
            strided.encode(x)[0], dilated.encode(x)[0][:, :, ::2, ::2], atol=1e-5, rtol=1e-4
        )


def blobs_of(net: FCN8s, names: dict[str, str]) -> dict[str, list[np.ndarray]]:
    """The layers of a file, by its names for them, biases as 1 x 1 x 1 x C."""
    layers: dict[str, list[np.ndarray]] = {}
    for key, value in net.state_dict().items():
        layer, part = key.rsplit(".", 1)
        array = value.numpy()
        array = array if part == "weight" else array.reshape(1, 1, 1, -1)
        layers.setdefault(names.get(layer, layer), []).append(array)
    return layers


OLD_NAMES = {
    "score_fr": "score-fr", "score_pool4": "score-pool4", "score_pool3": "score-pool3",
    "upscore2": "score2", "upscore_pool4": "score4", "upscore8": "upsample",
}  # fmt: skip


@pytest.mark.parametrize("names", [OLD_NAMES, {}], ids=["fcn-8s-pascal", "voc-fcn8s"])
def test_import_gives_the_same_scores(names):
    net = narrow(3)
    blobs = blobs_of(net, names)
    settings = infer_settings(blobs)
    assert settings == NARROW
    state, rows = import_fcn8s(blobs, settings)
    made = FCN8s(settings).eval()
    made.load_state_dict(state)
    photo = torch.randn(1, 3, 40, 50)
    with torch.inference_mode():
        assert torch.equal(made(photo), net(photo))
    assert {target for row in rows for target in row.targets} == set(net.state_dict())


def test_import_names_what_is_wrong_and_fills_in_bilinear_layers():
    blobs = blobs_of(narrow(), OLD_NAMES)
    del blobs["upsample"]
    state, rows = import_fcn8s(blobs | {"data": [np.zeros((1,))]}, NARROW)
    assert torch.equal(state["upscore8.weight"], bilinear_kernel(5, 16))
    assert {row.note for row in rows} >= {"not in the file: bilinear"}
    for change, words in (
        ({"fc7": [np.zeros((6, 5, 1, 1))]}, "fc7 has weights of shape"),
        ({"score2": [np.zeros((5, 4, 4, 4))]}, "score2 has blobs"),
        ({"fc6": [np.full((6, 8, 7, 7), np.nan)]}, "not finite"),
    ):
        with pytest.raises(WeightsError, match=words):
            import_fcn8s(blobs | change, NARROW)
    with pytest.raises(WeightsError, match=r"unknown net; .*FCN-8s"):
        infer_settings({"conv1_1": [np.zeros((1, 3, 3, 3))]})


def test_the_import_command_takes_caffe_and_torch(deconvnet, tmp_path: Path):
    net = FCN8s(DeconvNetSettings(width=1 / 64, fc=6))
    initialise(net, 1)
    source = tmp_path / "fcn-8s-pascal.caffemodel"
    source.write_bytes(caffemodel(blobs_of(net, OLD_NAMES)))
    result = deconvnet("weights", "import", source, "--net", "fcn8s", "-o", tmp_path / "a.st")
    assert result.exit_code == 0, result.output
    made = load(str(tmp_path / "a.st"))
    assert (made.card.net, made.card.proposals, made.card.input.channels) == ("fcn8s", 0, "BGR")
    assert torch.equal(made.net.state_dict()["fc6.weight"], net.state_dict()["fc6.weight"])
    wrong = deconvnet("weights", "import", source, "-o", tmp_path / "b.st")
    assert wrong.exit_code == 1 and "--net fcn8s" in wrong.stderr
    # A torch file of the paper's widths is 0.5 GB: a narrow one is refused by shape, not by name.
    torch.save(net.state_dict(), tmp_path / "narrow.pth")
    refused = deconvnet(
        "weights", "import", tmp_path / "narrow.pth", "--net", "fcn8s", "-o", tmp_path / "c.st"
    )
    assert refused.exit_code == 1 and "conv1_1.weight is (1, 3, 3, 3)" in refused.stderr


def test_a_photo_is_scored_in_its_own_size(tmp_path: Path):
    """fcn8s: the net on the photo itself, BGR less the mean, and nothing else."""
    net = FCN8s(DeconvNetSettings(width=1 / 64, fc=6)).eval()
    initialise(net, 1)
    net.score_pool3.weight.data.normal_()
    store(tmp_path / "f.st", net, card_for("fcn8s", {"width": 1 / 64, "fc": 6}), half=False)
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    system = alone(load(str(tmp_path / "f.st")))
    scored = infer(Image.fromarray(pixels), system, SegmentSettings())
    bgr = torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1).float()
    bgr -= torch.tensor(net_spec("fcn8s").input.mean).view(3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(scored.maps.merged(), net(bgr[None])[0], atol=1e-4, rtol=1e-4)
    assert scored.maps.raw and scored.proposals == 0 and "proposals" not in scored.ms


def test_a_trunk_file_starts_fcn8s(tmp_path: Path):
    from deconvnet_cli.training.settings import default_settings
    from deconvnet_cli.training.start import net_at_start

    settings = default_settings("fcn8s", None)
    assert (settings.net, settings.batch * settings.accumulate) == ("fcn8s", 20)
    from dataclasses import replace

    settings = replace(settings, net_settings='{"width": 0.015625, "fc": 6}')
    trunk = {
        name: torch.randn_like(value)
        for name, value in FCN8s(DeconvNetSettings(width=1 / 64, fc=6)).state_dict().items()
        if name.startswith("conv")
    }
    save_file(trunk, tmp_path / "trunk.safetensors")
    net = net_at_start(settings, str(tmp_path / "trunk.safetensors"), None, list)
    assert torch.equal(net.get_parameter("conv3_1.weight"), trunk["conv3_1.weight"])
    assert torch.equal(net.get_parameter("upscore2.weight"), bilinear_kernel(21, 4))


def test_it_learns_where_the_red_half_is():
    """All layers together: from its initial weights the net learns four photos by heart."""
    torch.manual_seed(0)
    net = FCN8s(DeconvNetSettings(classes=2, width=1 / 16, fc=32)).train()
    initialise(net, 0)
    labels = torch.zeros(4, 48, 48, dtype=torch.long)
    labels[0, :, 24:], labels[1, 24:], labels[2, :, :24], labels[3, :24] = 1, 1, 1, 1
    photos = torch.randn(4, 3, 48, 48) * 5
    photos[:, 2] += 100 * labels
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(net(photos), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)  # scores start at 0
    assert losses[-1] < 0.2
    assert (net.eval()(photos).argmax(1) == labels).float().mean() > 0.93
