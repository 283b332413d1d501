"""How well small and large objects are segmented: label PNGs of several nets, side by side.

    PYTHONPATH=. python tests/tools/by_size.py VOC2012 fcn8s=LABELS deconvnet=LABELS ...

LABELS is a folder that ``deconvnet batch VOC2012/JPEGImages -o LABELS`` wrote; photos of the list
(``--split val``) without a label PNG there are an error. An object is one of the tree's, as
training finds it, or a connected component of a class. Its IoU is that of its class inside its box,
each side enlarged by 1.2, so that what spills over counts too; pixels 255 are left out. The table
gives the mean over the objects of each range of sizes, as shares of the photo.
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deconvnet_cli.data.label_png import read_png
from deconvnet_cli.data.objects import photo_objects, read_photo_and_mask
from deconvnet_cli.data.voc import IGNORE, open_tree
from deconvnet_cli.training.samples import CONTEXT, centred

LEAST = 0.0005  # share of the photo; smaller components are specks
BOUNDS = (0.01, 0.05, 0.2, 1.0)  # upper ends of the ranges, as shares of the photo


def iou_in_box(
    truth: NDArray[np.uint8], labels: NDArray[np.uint8], label: int, box: tuple[int, ...]
) -> float:
    """Return the IoU of one class inside a half-open box, without the pixels to be ignored."""
    x0, y0, x1, y1 = (max(0, end) for end in box)
    true, found = truth[y0:y1, x0:x1], labels[y0:y1, x0:x1]
    known = true != IGNORE
    both = ((true == label) & (found == label) & known).sum()
    either = (((true == label) | (found == label)) & known).sum()
    return float(both / either)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voc_root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("folders", nargs="+", metavar="NAME=LABELS")
    given = parser.parse_args()
    tree = open_tree(given.voc_root)
    folders = {
        name: Path(path) for name, _, path in (each.partition("=") for each in given.folders)
    }
    found: dict[str, list[list[float]]] = {name: [[] for _ in BOUNDS] for name in folders}
    for photo in tree.names(given.split):
        _, truth = read_photo_and_mask(tree, photo)
        labels = {
            name: np.asarray(read_png(folder / f"{photo}.png")) for name, folder in folders.items()
        }
        for label, box, area in photo_objects(tree, photo, truth):
            share = area / truth.size
            if share < LEAST:
                continue
            size = int(np.searchsorted(BOUNDS, share))
            for name, each in labels.items():
                found[name][size].append(iou_in_box(truth, each, label, centred(box, CONTEXT)))
    ends = (0.0, *BOUNDS)
    heads = (f"{100 * low:g} - {100 * high:g} %" for low, high in zip(ends, BOUNDS, strict=False))
    print("| share of the photo |", " | ".join(heads), "| all |")
    print("| --- |", " | ".join("---" for _ in BOUNDS), "| --- |")
    counts = [len(ious) for ious in next(iter(found.values()))]
    print("| objects |", " | ".join(map(str, counts)), f"| {sum(counts)} |")
    for name, sizes in found.items():
        means = [np.mean(ious) if ious else float("nan") for ious in (*sizes, [*chain(*sizes)])]
        print(f"| {name} |", " | ".join(f"{mean:.3f}" for mean in means), "|")


if __name__ == "__main__":
    main()
