"""``bench gpu``: what is measured of a device, tried on the CPU, and what it says without a GPU."""

import json

import pytest
import torch
from helpers.command_line import one_error_line

from deconvnet_cli.diagnostics import gpu_speed
from deconvnet_cli.diagnostics.gpu_speed import boxes_of, measure
from deconvnet_cli.runtime.devices import CPU
from deconvnet_cli.segmentation.settings import SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import alone
from deconvnet_cli.weights.files import load

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@without_gpu
def test_no_gpu_is_one_line(deconvnet, data):
    photo = data / "chelsea.jpg"
    one_error_line(deconvnet("bench", "gpu", photo), 1, "needs a GPU with CUDA", "doctor")
    one_error_line(deconvnet("bench", "gpu", photo, "--device", "cuda"), 1, "torch sees 0 CUDA")


def test_the_cpu_is_refused(deconvnet, data):
    result = deconvnet("bench", "gpu", data / "chelsea.jpg", "--device", "cpu")
    one_error_line(result, 1, "--device cpu: bench gpu measures a GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_figures_fit_together(data, lively_weights, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU with CUDA")
    place = torch.device(device)
    system = alone(load(str(lively_weights))).ready(place, "fp32")
    photos = (data / "chelsea.jpg", data / "astronaut.jpg")
    line = measure(photos, 80, 3, system, SegmentSettings(proposals=3), place)
    assert (line["side"], line["photos"]) == (80, 3)
    assert 0 < line["photos_per_s"] < line["net_photos_per_s"] * 1.5
    assert 0 < line["busy"] <= 1
    assert set(line["ms"]) == {"reading", "proposals", "rest"}
    assert 0 < sum(line["ms"].values()) < 3 * 1000 * 3 / line["photos_per_s"]
    assert line["peak_mb"] > 0


def test_a_net_without_boxes(tiny_fcn, data):
    from deconvnet_cli.segmentation.system import choose_system

    system = choose_system(SegmentOptions("fcn8s", "deconvnet-mobilenet", str(tiny_fcn))).ready(
        CPU, "fp32"
    )
    line = measure((data / "chelsea.jpg",), 40, 1, system, SegmentSettings(), CPU)
    assert boxes_of(None, system, SegmentSettings()) is None
    assert line["photos_per_s"] > 0


def test_the_command(deconvnet, data, lively_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_speed, "require_gpu", lambda name: CPU)
    options = ("--weights", lively_weights, "--proposals", 2, "--count", 1, "--side", 60)
    kept = tmp_path / "gpu.json"
    result = deconvnet("bench", "gpu", data / "chelsea.jpg", *options, "--json", "--save", kept)
    assert result.exit_code == 0, result.output
    assert json.loads(kept.read_text())["lines"] == [json.loads(result.stdout)]
    result = deconvnet("bench", "gpu", data / "chelsea.jpg", *options, "--against", kept)
    assert result.exit_code == 0, result.output
    assert "net: photos/s  before  ratio  photos/s  before  ratio  GPU busy" in result.stdout
