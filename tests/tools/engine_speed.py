"""ONNX Runtime and OpenVINO, in fp32 and int8, beside the prepared net in torch, on one thread.

    pip install '.[onnx]' openvino nncf
    PYTHONPATH=. python tests/tools/engine_speed.py VOC2012 models/ --rounds 7 --photos 20

All engines take turns in one process, so a busy machine slows them alike; times are CPU time, which
other processes disturb less than the clock. One JSON line an engine goes to standard output: the
least and the median seconds for a whole photo with its mirror image and for 20 crops, and how many
of the labels of photos of val are torch's, end to end. int8 is calibrated on photos of train. The
models are made once and kept in the folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.exporting.onnx_model import INPUT, onnx_model
from deconvnet_cli.exporting.shape import input_shape
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentOptions
from deconvnet_cli.weights.files import Weights, load

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
WHOLE, CROPS = (2, 3, 480, 640), (20, 3, 320, 320)


class Engine(nn.Module):
    """A net whose logits another runtime computes."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.parameter = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.run(np.ascontiguousarray(x.numpy())))


def ort_engine(model: Path) -> Engine:
    """Return an engine of ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return Engine(lambda x: session.run(None, {INPUT: x})[0])


def ov_engine(model: Any) -> Engine:
    """Return an engine of OpenVINO, which compiles the net once for each shape."""
    import openvino

    core = openvino.Core()
    compiled: dict[tuple[int, ...], Any] = {}
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
    }

    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        if x.shape not in compiled:
            fixed = model.clone()
            fixed.reshape(list(x.shape))
            compiled[x.shape] = core.compile_model(fixed, "CPU", settings)
        return np.array(compiled[x.shape](x)[0])

    return Engine(run)


def make_ort_int8(model: Path, target: Path, inputs: list[NDArray[np.float32]]) -> None:
    """Write an ONNX file with the convolutions of another one quantised."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.rest = iter(inputs)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            x = next(self.rest, None)
            return None if x is None else {INPUT: x}

    quantize_static(
        model, target, Reader(), per_channel=True, op_types_to_quantize=["Conv"],
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def make_ov_int8(model: Path, target: Path, inputs: list[NDArray[np.float32]]) -> None:
    """Write OpenVINO's own file of a quantised net."""
    import nncf
    import openvino

    whole = openvino.Core().read_model(model)
    whole.reshape([1, *WHOLE[1:]])
    quantised = nncf.quantize(whole, nncf.Dataset(inputs), subset_size=len(inputs))
    openvino.save_model(quantised, target, compress_to_fp16=False)


def engines(
    weights: Weights,
    folder: Path,
    wanted: list[str],
    calibration: Callable[[], list[NDArray[np.float32]]],
) -> dict[str, Engine]:
    """Return the wanted engines by name, from the models in a folder or from new ones."""
    import openvino

    folder.mkdir(exist_ok=True)
    file = folder / "net.onnx"
    if not file.exists():
        file.write_bytes(onnx_model(weights, input_shape(weights.card, None, True)))

    def made(name: str, make: Callable[..., None]) -> Path:
        target = folder / name
        if not target.exists():
            make(file, target, calibration())
        return target

    core = openvino.Core()
    known: dict[str, Callable[[], Engine]] = {
        "ONNX Runtime fp32": lambda: ort_engine(file),
        "OpenVINO fp32": lambda: ov_engine(core.read_model(file)),
        "ONNX Runtime int8": lambda: ort_engine(made("net.int8.onnx", make_ort_int8)),
        "OpenVINO int8": lambda: ov_engine(core.read_model(made("net.int8.xml", make_ov_int8))),
    }
    return {name: build() for name, build in known.items() if any(part in name for part in wanted)}


def inputs_of(photos: list[Path], weights: Weights) -> list[NDArray[np.float32]]:
    """Return photos as inputs of the net, each 1 x 3 x height x width of ``WHOLE``."""
    found = []
    for file in photos:
        with Image.open(file) as photo:
            small = photo.convert("RGB").resize((WHOLE[3], WHOLE[2]), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]
        found.append(np.ascontiguousarray(weights.card.input.prepare(pixels).numpy()))
    return found


def seconds(nets: dict[str, nn.Module], x: Tensor, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the least and the median CPU time of each net for an input."""
    times: dict[str, list[float]] = {name: [] for name in nets}
    for number in range(rounds + 1):
        for name, net in nets.items():
            began = time.process_time()
            net(x)
            if number:  # the first warms up
                times[name].append(time.process_time() - began)
    return {name: (min(taken), statistics.median(taken)) for name, taken in times.items()}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voc_root", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("--weights", default="deconvnet-mobilenet")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--calibration", type=int, default=30)
    parser.add_argument("--proposals", type=int)
    parser.add_argument("--engine", action="append", help="part of a name; repeatable")
    given = parser.parse_args()
    torch.set_num_threads(1)
    tree = open_tree(given.voc_root)
    weights = load(given.weights)
    names = tree.names("train")
    spread = [
        tree.image(name)
        for name in names[:: max(1, len(names) // given.calibration)][: given.calibration]
    ]
    options = SegmentOptions(
        weights=given.weights, device="cpu", precision="fp32", proposals=given.proposals
    )
    system, settings = load_system(options)
    assert system.deconvnet is not None
    wanted = given.engine or [""]
    others = engines(weights, given.models, wanted, lambda: inputs_of(spread, weights))
    nets: dict[str, nn.Module] = {"torch fp32": system.deconvnet.net, **others}
    crop = torch.from_numpy(inputs_of(spread[:1], weights)[0])
    shapes = {
        "whole": crop.expand(WHOLE),
        "crops": crop[:, :, : CROPS[2], : CROPS[3]].expand(CROPS),
    }
    lines: dict[str, dict[str, Any]] = {name: {"engine": name} for name in nets}
    for part, x in shapes.items() if given.rounds else ():
        for name, (least, median) in seconds(
            nets, x.contiguous(memory_format=torch.channels_last), given.rounds
        ).items():
            lines[name][f"{part}_min_s"] = round(least, 3)
            lines[name][f"{part}_median_s"] = round(median, 3)
            print(json.dumps(lines[name]), file=sys.stderr, flush=True)
    equal: dict[str, list[float]] = {name: [] for name in nets}
    names = tree.names("val")
    step = max(1, len(names) // max(1, given.photos))
    for number, photo in enumerate(names[::step][: given.photos]):
        with Image.open(tree.image(photo)) as file:
            pixels = file.convert("RGB")
        labels = {
            name: segment(
                pixels, replace(system, deconvnet=replace(system.deconvnet, net=net)), settings
            ).labels
            for name, net in nets.items()
        }
        for name, found in labels.items():
            equal[name].append(float(np.mean(found == labels["torch fp32"])))
        print(number, {n: round(v[-1], 5) for n, v in equal.items()}, file=sys.stderr, flush=True)
    for name, line in lines.items():
        if equal[name]:
            line["equal_labels"] = round(statistics.mean(equal[name]), 5)
            line["least_equal"] = round(min(equal[name]), 5)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
