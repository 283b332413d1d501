"""Seconds of one core a photo: this tool's nets and the peer of the README, photo by photo.

    PYTHONPATH=. python tests/tools/beside_peer.py VOC2012 deeplabv3_mnv2_pascal_quant.tflite

All take turns on each photo in one process with one thread, so a busy machine slows them alike. A
photo is read from its file and gets its labels; nothing is written. All photos are labelled once
before, so that kernels for their shapes are there. It needs ``pip install ai-edge-litert`` too. One
JSON line a way goes to standard output: the median and mean of the seconds, how many photos a
second that is, and the same as a share of the peer's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.runtime.devices import one_core_a_photo
from deconvnet_cli.segmentation.loading import load_system
from deconvnet_cli.segmentation.segment import segment
from deconvnet_cli.segmentation.settings import SegmentOptions
from tests.tools.peer import labels_of

WAYS: dict[str, dict[str, Any]] = {
    "FCN-8s": {"system_name": "fcn8s"},
    "DeconvNet": {},
    "DeconvNet, 50 boxes": {"proposals": 50},
    "EDeconvNet": {"system_name": "edeconvnet"},
}


def way_of(options: SegmentOptions) -> Callable[[Path], object]:
    """Return what labels the photo of a file."""
    system, settings = load_system(options)
    return lambda path: segment(read_photo(path), system, settings)


def peer(model: Path) -> Callable[[Path], object]:
    """Return what labels the photo of a file with the peer."""
    net = Interpreter(str(model), num_threads=1)
    net.allocate_tensors()

    def label(path: Path) -> object:
        with Image.open(path) as photo:
            return labels_of(net, photo.convert("RGB"))

    return label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--precision", action="append", help="repeatable; bf16 and fp32 without it")
    options = parser.parse_args()
    # All nets share the kernels that oneDNN keeps, so it keeps more than for one.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")
    one_core_a_photo()
    tree = open_tree(options.tree)
    photos = [tree.image(name) for name in tree.names("val")[: options.count]]
    ways: dict[str, Callable[[Path], object]] = {"peer": peer(options.model)}
    for precision in options.precision or ("bf16", "fp32"):
        for name, given in WAYS.items():
            chosen = SegmentOptions(**given, device="cpu", precision=precision)
            ways[f"{name}, {precision}"] = way_of(chosen)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for counted in (False, True):
            for photo in photos:
                for name, label in ways.items():
                    began = time.perf_counter()
                    label(photo)
                    if counted:
                        seconds[name].append(time.perf_counter() - began)
    for name, found in seconds.items():
        line = {
            "way": name,
            "median_s": round(statistics.median(found), 4),
            "mean_s": round(statistics.mean(found), 4),
            "photos_per_s": round(len(found) / sum(found), 3),
            "of_peer": round(sum(seconds["peer"]) / sum(found), 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
