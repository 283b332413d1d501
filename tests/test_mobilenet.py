"""The default net: shapes, its start from folded weights, and that training it works."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from deconvnet_cli.errors import UsageError, WeightsError
from deconvnet_cli.images import label_png
from deconvnet_cli.initialisation import (
    convolutions,
    load_folded,
    recompute_statistics,
    restore_batchnorm,
)
from deconvnet_cli.nets import MOBILENET_INPUT, VGG_INPUT
from deconvnet_cli.nets.mobilenet import DeconvNetMobile, MobileNetSettings
from deconvnet_cli.samples import CropDataset, SampleSettings, find_objects, read_pair
from deconvnet_cli.training import TrainSettings, learning_rate, loss_of, prepare_run, train
from deconvnet_cli.voc import IGNORE, VocTree

SMALL = MobileNetSettings(head=8, bridge=(8, 64), decode4=(8, 32), decode3=(24,), decode2=(32,))


def test_parameters_and_shapes():
    net = DeconvNetMobile()
    assert sum(parameter.numel() for parameter in net.parameters()) == 2_700_730
    seen = {}
    for name in ("stem", "blocks.1", "blocks.3", "blocks.6", "blocks.13", "blocks.16", "bridge"):
        module = net.get_submodule(name)
        module.register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
        )
    for name in ("decode4", "decode3", "decode2", "decode1"):
        net.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
        )
    with torch.inference_mode():
        scores, coarse = net.eval().forward_with_coarse(torch.zeros(1, 3, 224, 224))
    assert scores.shape == coarse.shape == (1, 21, 224, 224)
    assert seen == {
        "stem": (32, 224, 224),
        "blocks.1": (24, 112, 112),
        "blocks.3": (32, 56, 56),
        "blocks.6": (64, 28, 28),
        "blocks.13": (160, 14, 14),
        "blocks.16": (320, 14, 14),
        "bridge": (64, 14, 14),
        "decode4": (32, 28, 28),
        "decode3": (24, 56, 56),
        "decode2": (32, 112, 112),
        "decode1": (16, 224, 224),
    }


def test_a_fifth_pool_is_a_setting():
    settings = MobileNetSettings(pools=5)
    with torch.inference_mode():
        net = DeconvNetMobile(settings).eval()
        features, switches = net.encode(torch.zeros(1, 3, 64, 64))
        assert features.shape == (1, 320, 2, 2)
        assert len(switches) == 5
        assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 21, 64, 64)


def folded_file(path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = DeconvNetMobile(SMALL)
    tensors = {}
    for name, (convolution, norm) in convolutions(net).items():
        tensors[f"{name}.weight"] = convolution.weight.detach().clone()
        tensors[f"{name}.bias"] = torch.randn(norm.num_features) * 0.3
    tensors["head.logits.weight"] = net.head.logits.weight.detach().clone()
    tensors["head.logits.bias"] = torch.zeros(21)
    save_file(tensors, path)
    return tensors


def test_restored_batchnorm_keeps_the_function(tmp_path):
    tensors = folded_file(tmp_path / "folded.safetensors")
    net = DeconvNetMobile(SMALL, strided=True)
    load_folded(net, tmp_path / "folded.safetensors")
    x = torch.randn(2, 3, 64, 64)
    net.eval()
    with torch.no_grad():
        # The first layer by hand: convolution, bias, ReLU6, no BatchNorm.
        weight, bias = tensors["stem.weight"], tensors["stem.bias"]
        expected = F.conv2d(x, weight, bias, stride=2, padding=1).clamp(0, 6)
        torch.testing.assert_close(net.stem(x), expected, atol=1e-5, rtol=1e-5)
        before = net.head(net.encode(x)[0])[1]
        restore_batchnorm(net, [torch.randn(4, 3, 64, 64) for _ in range(2)])
        after = net.head(net.encode(x)[0])[1]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)
    assert net.stem[1].running_var.std() > 0  # statistics are there now


def test_recomputed_statistics_are_those_of_the_data():
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    batches = [torch.randn(8, 3, 16, 16) * 3 + 1 for _ in range(4)]
    recompute_statistics(net, batches)
    torch.testing.assert_close(
        net[0].running_mean, torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    )
    torch.testing.assert_close(
        net[0].running_var, torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    )
    assert net[0].momentum == 0.1 and not net.training


def test_a_file_of_another_net_is_refused(tmp_path):
    save_file({"stem.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"x\.safetensors.*stem\.weight"):
        load_folded(DeconvNetMobile(SMALL), tmp_path / "x.safetensors")


def test_input_conventions():
    crops = torch.tensor([255, 128, 0], dtype=torch.uint8).view(1, 3, 1, 1)
    assert MOBILENET_INPUT.prepare(crops).flatten().tolist() == [127 / 128, 0, -1]
    expected = [0 - 104.00698793, 128 - 116.66876762, 255 - 122.67891434]
    assert VGG_INPUT.prepare(crops).flatten().tolist() == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def tree(tmp_path) -> VocTree:
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / part).mkdir(parents=True)
    for number in range(4):
        pixels = np.full((60, 80, 3), 40, np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        left = 10 + 10 * number
        pixels[15:45, left : left + 30] = (220, 60 * number, 30)
        mask[15:45, left : left + 30] = 1 + number % 2
        Image.fromarray(pixels).save(tmp_path / "JPEGImages" / f"{number}.jpg", quality=95)
        (tmp_path / "SegmentationClass" / f"{number}.png").write_bytes(label_png(mask))
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n")
    return VocTree(tmp_path)


def test_samples_depend_on_their_number_alone(tree):
    objects = find_objects(tree, tree.names("train"))
    assert [(o.name, o.label, o.box) for o in objects][1] == ("1", 2, (20, 15, 50, 45))
    one, other = CropDataset(tree, objects, 9, seed=5), CropDataset(tree, objects, 9, seed=5)
    for number in (7, 2, 7):
        for a, b in zip(one[number], other[number], strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(one[0][0], one[1][0])


def test_crop_and_labels_stay_together(tree):
    """Object pixels are bright, so labels must be where the crop is bright."""
    objects = find_objects(tree, tree.names("train"))
    dataset = CropDataset(tree, objects, 30, seed=0, settings=SampleSettings(colour=0))
    for number in range(30):
        crop, labels = dataset[number]
        bright = crop[0] > 130
        counted = labels != IGNORE
        agreement = (bright == (labels > 0))[counted].float().mean()
        assert agreement > 0.93, number
        assert (crop[:, ~counted].float().mean() < 15) or counted.all()


def test_loss_by_hand():
    class Constant(torch.nn.Module):
        def forward(self, x):
            return torch.tensor([2.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 2, 2)

    labels = torch.tensor([[[0, 1], [IGNORE, IGNORE]]])
    loss = loss_of(Constant(), torch.zeros(1, 3, 2, 2), labels, TrainSettings(bf16=False))
    log_sum = np.log(np.exp(2) + 1)
    assert loss.item() == pytest.approx(((log_sum - 2) + log_sum) / 2)
    nothing = torch.full_like(labels, IGNORE)
    assert loss_of(Constant(), torch.zeros(1, 3, 2, 2), nothing, TrainSettings()).item() == 0


def test_learning_rate_warms_up_and_ends_at_zero():
    settings = TrainSettings(crops=1600, batch=16, warmup=10)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(rates) == rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5) and rates[100] == pytest.approx(0)


def fresh() -> DeconvNetMobile:
    torch.manual_seed(1)
    return DeconvNetMobile(SMALL)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tree, tmp_path):
    dataset = CropDataset(tree, find_objects(tree, tree.names("train")), 8, seed=0)
    settings = TrainSettings(crops=8, batch=2, warmup=1, bf16=False, save_every=1, log_every=2)
    device = torch.device("cpu")

    class Stop(Exception):
        pass

    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise Stop

    runs = tmp_path / "whole", tmp_path / "stopped"
    for run in runs:
        prepare_run(run, settings)
    whole, first, second = fresh(), fresh(), fresh()
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    train(whole, dataset, MOBILENET_INPUT, runs[0], settings, device=device)
    with pytest.raises(Stop):
        train(first, dataset, MOBILENET_INPUT, runs[1], settings, device=device, on_step=stop)
    train(second, dataset, MOBILENET_INPUT, runs[1], settings, device=device)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not torch.equal(start["score.weight"], whole.state_dict()["score.weight"])
    lines = [json.loads(line) for line in (runs[0] / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    with pytest.raises(UsageError, match="other settings"):
        prepare_run(runs[0], TrainSettings(crops=16))


def test_mask_of_another_size_is_named(tree):
    Image.new("RGB", (10, 10)).save(tree.image("0"))
    with pytest.raises(Exception, match=r"0\.png: 80x60 pixels.*10x10"):
        read_pair(tree, "0")
