"""The peer of the README's table: its labels, photos a second, and memory.

    python tests/tools/peer.py VOC2012 deeplabv3_mnv2_pascal_quant.tflite --count 24 --workers 2

It needs ``pip install ai-edge-litert numpy pillow`` alone. The net is run as its users run it: a
photo is scaled to a longer side of 513, padded with grey to a square, and the labels are scaled
back by nearest neighbour. Each worker is a process with one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

SIDE, GREY, CLASSES, IGNORE = 513, 128, 21, 255


def labels_of(net: Interpreter, photo: Image.Image) -> np.ndarray:
    """Return the labels of a photo, uint8 H x W."""
    scale = SIDE / max(photo.size)
    width, height = (max(1, round(side * scale)) for side in photo.size)
    square = np.full((1, SIDE, SIDE, 3), GREY, np.uint8)
    square[0, :height, :width] = photo.resize((width, height), Image.Resampling.BILINEAR)
    net.set_tensor(net.get_input_details()[0]["index"], square)
    net.invoke()
    found = net.get_tensor(net.get_output_details()[0]["index"]).reshape(SIDE, SIDE, -1)
    best = (found[..., 0] if found.shape[2] == 1 else found.argmax(2)).astype(np.uint8)
    small = Image.fromarray(best[:height, :width])
    return np.asarray(small.resize(photo.size, Image.Resampling.NEAREST))


def work(job: tuple[Path, Path, list[str], float]) -> tuple[np.ndarray, list[float], float, int]:
    """Label photos; return the confusion, the seconds of each, when they ended, and peak bytes."""
    root, model, names, begin = job
    net = Interpreter(str(model), num_threads=1)
    net.allocate_tensors()
    confusion, seconds = np.zeros((CLASSES, CLASSES), np.int64), []
    with Image.open(root / "JPEGImages" / f"{names[0]}.jpg") as photo:
        labels_of(net, photo.convert("RGB"))  # not counted
    time.sleep(max(0, begin - time.time()))  # until all workers are ready
    for name in names:
        start = time.perf_counter()
        with Image.open(root / "JPEGImages" / f"{name}.jpg") as photo:
            labels = labels_of(net, photo.convert("RGB"))
        seconds.append(time.perf_counter() - start)
        with Image.open(root / "SegmentationClass" / f"{name}.png") as mask:
            truth = np.asarray(mask).astype(int)
        known = truth != IGNORE
        pairs = CLASSES * truth[known] + labels[known]
        confusion += np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return confusion, seconds, time.time() - begin, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, help="the first photos of val; all without it")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    listed = options.root / "ImageSets" / "Segmentation" / "val.txt"
    names = listed.read_text().split()[: options.count]
    begin = time.time() + 5
    parts = [names[first :: options.workers] for first in range(options.workers)]
    jobs = [(options.root, options.model, part, begin) for part in parts]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        found = pool.map(work, jobs, chunksize=1)
    confusion = sum(part[0] for part in found)
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    seconds = [second for part in found for second in part[1]]
    print(
        f"{len(names)} photos, {options.workers} workers: "
        f"{len(names) / max(part[2] for part in found):.2f} photos/s, "
        f"median {statistics.median(seconds) * 1000:.0f} ms a photo, "
        f"{sum(part[3] for part in found) / 1e6:.0f} MB, "
        f"mean IoU {(hits / union)[union > 0].mean():.4f}"
    )


if __name__ == "__main__":
    main()
