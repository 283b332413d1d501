"""The code of the GPU with tensors that know only their device and shape, where there is no GPU.

Torch's fake tensors refuse to mix devices as a GPU does. They have no values, so code that looks at
values (which boxes to skip, the lattice of the CRF) and gradients run in ``test_cuda.py`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.lively_nets import SETTINGS, lively
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from deconvnet_cli.nets.fusion import fused
from deconvnet_cli.nets.registry import net_spec
from deconvnet_cli.segmentation.crf.mean_field import Smoothness
from deconvnet_cli.segmentation.labels import winning_labels
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.segment import infer
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import System, choose_system
from deconvnet_cli.segmentation.together import infer_together
from deconvnet_cli.training.device_crops import collate, cut_crops, cut_soft_labels
from deconvnet_cli.training.losses import Objective
from deconvnet_cli.training.photo_store import PhotoStore, flat
from deconvnet_cli.training.samples import CropPlan
from deconvnet_cli.training.settings import TrainSettings

pytestmark = pytest.mark.skipif(torch.version.cuda is None, reason="torch built without CUDA")
CUDA = torch.device("cuda")
BOXES = np.array([[0, 0, 120, 90], [10, 20, 70, 80], [-5, 0, 60, 40]], np.int32)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make all tensors fake, as if there were a GPU."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # fake tensors cannot be
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def moved(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The net with fake parameters and buffers on the GPU, in channels last."""
    for module in net.modules():
        for store in (module._parameters, module._buffers):
            for name, value in store.items():
                if value is not None:
                    kind = dtype if value.is_floating_point() else value.dtype
                    fake = torch.empty(value.shape, dtype=kind, device=CUDA)
                    if fake.ndim == 4:
                        fake = fake.to(memory_format=torch.channels_last)
                    store[name] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake
    return net


@pytest.fixture(scope="module")
def prepared() -> System:
    """EDeconvNet as it is prepared for a GPU, still on the CPU."""
    system = choose_system(SegmentOptions("edeconvnet", "deconvnet-mobilenet", "fcn8s-mobilenet"))
    assert system.deconvnet is not None and system.fcn is not None
    nets = (replace(each, net=fused(each.net)) for each in (system.deconvnet, system.fcn))
    return System(*nets, system.ensemble)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rule", ["context", "max", "mean-probability"])
def test_maps_are_made_there(gpu: None, prepared: System, rule: str, dtype: torch.dtype) -> None:
    assert prepared.deconvnet is not None and prepared.fcn is not None
    both = (prepared.deconvnet, prepared.fcn)
    nets = (replace(each, net=moved(each.net, dtype)) for each in both)
    system = System(*nets, prepared.ensemble)
    settings, photo = SegmentSettings(3, merge=rule), Image.new("RGB", (120, 90))
    alone = infer(photo, system, settings, boxes=BOXES)
    for found in (alone, *infer_together([photo] * 2, [BOXES] * 2, system, settings)):
        merged = found.maps.as_one(system.ensemble).merged()
        assert merged.is_cuda and merged.shape == (21, 90, 120)
        assert winning_labels(merged).is_cuda
        np.testing.assert_array_equal(found.boxes, BOXES)


def test_a_tensor_left_behind_is_noticed(gpu: None) -> None:
    canvas = Canvas(3, 20, 30, "max", CUDA)
    with pytest.raises(RuntimeError, match="device"):
        canvas.add(torch.rand(3, 8, 8), (0, 0, 30, 20))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", SETTINGS)
def test_losses_are_computed_there(monkeypatch, name, precision):
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda: True)
    net = lively(name).train()
    with FakeTensorMode():
        settings = TrainSettings(net=name, precision=precision)
        crops = torch.zeros(2, 3, 224, 224, dtype=torch.uint8, device=CUDA)
        labels = torch.zeros(2, 224, 224, dtype=torch.long, device=CUDA)
        soft = torch.zeros(2, 21, 14, 14, device=CUDA)
        inputs = net_spec(name).input.prepare(crops)
        loss = Objective(moved(net, torch.float32), settings)(inputs, labels, soft)
        assert loss.is_cuda and loss.dtype == torch.float32 and loss.ndim == 0


def test_crops_are_cut_there() -> None:
    """Batches are planned on the CPU; photos are on the GPU, and so are the crops."""
    shapes = {"photos": (40, 60, 3), "masks": (40, 60, 1), "soft": (5, 8, 21)}
    arrays = {name: flat([np.zeros(shape, np.uint8)] * 2) for name, shape in shapes.items()}
    index = {"a": 0, "b": 1}
    store = PhotoStore(index, **arrays)
    drawn = [CropPlan(name, (-5, 2, 33, 50), 3, 1, None, True, None) for name in index]
    plans = collate(store, drawn, 40, 32)
    with FakeTensorMode(allow_non_fake_inputs=True):
        store, plans = store.to(CUDA), plans.to(CUDA)
        crops, labels = cut_crops(store, plans)
        assert crops.is_cuda and crops.shape == (2, 3, 32, 32)
        assert labels.is_cuda and labels.shape == (2, 32, 32)
        assert cut_soft_labels(store, plans, 2).is_cuda


def test_the_smoothness_kernel_of_the_crf_is_there(gpu: None) -> None:
    kernel = Smoothness(20, 30, 3.0, CUDA)
    kernel.weigh(2.0)
    assert kernel.filter(torch.rand(4, 600, device=CUDA)).is_cuda
