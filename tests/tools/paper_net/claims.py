"""The paper's claims, tested on the photos of a list: more boxes, two stages, the CRF, FCN-8s.

    python -m tests.tools.paper_net.claims VOC2012 --weights stage1=stage1.safetensors \\
        --weights stage2=deconvnet-vgg16 --fcn fcn8s.safetensors --processes 2

Each row can be had from ``deconvnet evaluate`` as well, with ``--proposals``, ``--rule``, ``--crf``
and ``--net``, but for a few photos whose first 20 boxes are others where 50 are searched for. This
script shows each crop to the net once for all rows, and so takes a quarter of
the time. It prints a table: mean IoU, that of the classes with four photos or more, mean Boundary
IoU, and how likely each row is better than the one it is compared with, in paired resamples of the
photos. With an FCN-8s, a second table compares the nets in the same way.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import VocTree, open_tree
from deconvnet_cli.evaluation.intervals import Comparison
from deconvnet_cli.evaluation.paired import paired
from deconvnet_cli.evaluation.tally import Tally
from deconvnet_cli.runtime.devices import CPU, keep_freed_memory
from deconvnet_cli.runtime.worker_process import end_with_parent
from deconvnet_cli.segmentation.inference import crop_logits, whole_photo_views
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.proposals import propose
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps, whole_map
from deconvnet_cli.segmentation.segment import Inferred, label_photo
from deconvnet_cli.segmentation.settings import CrfSettings, ProposalSettings
from deconvnet_cli.segmentation.system import ready
from deconvnet_cli.weights.files import Weights, load

COUNTS = (1, 5, 10, 20, 50)  # boxes
RULES = ("max", "mean-probability")  # unless --rule names others
LEAST_PHOTOS = 4


def crop_rows(
    name: str, photo: Image.Image, weights: Weights, fcn: Weights | None, rules: Sequence[str]
) -> dict[str, NDArray[np.uint8]]:
    """Return the labels of each row for a photo, from one pass of its crops."""
    boxes = propose(np.asarray(photo), ProposalSettings(count=max(COUNTS))).boxes
    size = (len(weights.card.classes), photo.height, photo.width)
    canvases = {rule: Canvas(*size, rule) for rule in rules}
    maps: dict[str, torch.Tensor] = {}
    rows: dict[str, NDArray[np.uint8]] = {}
    number, last = 0, None
    for box, logits in crop_logits(photo, boxes, weights, 8):
        number += box != last  # the whole photo may have several views
        last = box
        # A photo with fewer boxes keeps what the last of them leaves.
        counts = [n for n in COUNTS if n == number or (number == len(boxes) and n > number)]
        for rule, canvas in canvases.items():
            canvas.add(logits, box)
            for count in counts:
                maps[rule] = canvas.merged_map()
                rows[f"{name}, {rule}, {count}"] = labels_of(photo, maps[rule], None, rule)
    views = None if fcn is None else list(whole_photo_views(photo, fcn))
    for rule, merged in maps.items():
        crf = f"{name}, {rule}, {COUNTS[-1]}, CRF"
        rows[crf] = labels_of(photo, merged, None, rule, crf=True)
        if views is None:
            continue
        whole = whole_map(views, photo.height, photo.width, raw=rule == "max")
        rows["FCN-8s, alone"] = labels_of(photo, None, whole, rule)
        rows["FCN-8s, alone, CRF"] = labels_of(photo, None, whole, rule, crf=True)
        rows[f"EDeconvNet, {rule}"] = labels_of(photo, merged, whole, rule)
        rows[f"EDeconvNet, {rule}, CRF"] = labels_of(photo, merged, whole, rule, crf=True)
    return rows


def labels_of(
    photo: Image.Image,
    deconvnet: torch.Tensor | None,
    fcn: torch.Tensor | None,
    rule: str,
    *,
    crf: bool = False,
) -> NDArray[np.uint8]:
    """Return the labels of a photo from the maps of its nets."""
    inferred = Inferred(photo, ScoreMaps(deconvnet, fcn, rule == "max"), 0, {})
    settings = CrfSettings() if crf else None
    return label_photo(inferred, photo.size, Ensemble(), settings).labels


@torch.inference_mode()
def tallies(
    tree: VocTree,
    names: list[str],
    nets: dict[str, str],
    fcn: str | None,
    rules: Sequence[str],
    precision: str,
) -> dict[str, Tally]:
    """Return the tally of each row over some photos."""
    torch.set_num_threads(1)
    keep_freed_memory()
    loaded = {name: ready(load(path), CPU, precision) for name, path in nets.items()}
    whole = ready(load(fcn), CPU, precision) if fcn else None
    rows: dict[str, Tally] = {}
    for number, photo_name in enumerate(names):
        photo, truth = read_photo(tree.image(photo_name)), tree_mask(tree, photo_name)
        for last, (name, weights) in enumerate(loaded.items(), start=1):
            with_fcn = whole if last == len(loaded) else None
            for row, labels in crop_rows(name, photo, weights, with_fcn, rules).items():
                rows.setdefault(row, Tally()).add(photo_name, truth, labels)
        if number % 10 == 9:
            print(f"{number + 1} of {len(names)} photos", flush=True)
    return rows


def print_table(rows: dict[str, Tally]) -> None:
    """Print a row a line, and compare it with the row before if net and merge rule are the same."""
    print("| row | mean IoU | frequent classes | Boundary IoU | difference | better |")
    print("| --- | --- | --- | --- | --- | --- |")
    groups: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        groups.setdefault(tuple(row.split(", ")[:2]), []).append(row)
    for members in groups.values():
        for before, row in zip([None, *members], members, strict=False):
            tally, against = rows[row], " | "
            if before is not None:
                other = rows[before]
                found = paired(row, tally, before, other).iou
                against = interval_cells(found)
            result = tally.result()
            iou = np.array([value or 0.0 for value in result.metrics.iou])
            often = np.array(result.photos) >= LEAST_PHOTOS
            frequent = iou[often].mean() if often.any() else 0
            print(
                f"| {row} | {result.metrics.mean_iou:.3f} | {frequent:.3f} | "
                f"{result.mean_boundary_iou:.3f} | {against} |"
            )


def interval_cells(found: Comparison) -> str:
    """Return the cells of a comparison's interval, and of how often the first row is better."""
    return f"{found.low:+.3f} to {found.high:+.3f} | {found.above:.0%}"


def print_pairs(rows: dict[str, Tally], name: str, rules: Sequence[str]) -> None:
    """Compare DeconvNet with all its boxes, FCN-8s and both together, with each rule."""
    columns = ("row", "against", "mean IoU", "interval", "better")
    print(f"\n| {' | '.join((*columns, 'Boundary IoU', 'interval', 'better'))} |")
    print("|" + " --- |" * 8)
    for rule in rules:
        for crf in ("", ", CRF"):
            deconvnet, fcn = f"{name}, {rule}, {COUNTS[-1]}{crf}", f"FCN-8s, alone{crf}"
            both = f"EDeconvNet, {rule}{crf}"
            for row, other in ((deconvnet, fcn), (both, fcn), (both, deconvnet)):
                answer = paired(row, rows[row], other, rows[other])
                cells = [
                    f"{found.difference:+.3f} | {interval_cells(found)}"
                    for found in (answer.iou, answer.boundary_iou)
                ]
                print(f"| {row} | {other} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--weights", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--fcn")
    parser.add_argument("--rule", action="append")
    parser.add_argument("--split", default="val")
    parser.add_argument("--every", type=int, default=1, help="take every N-th photo")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    tree = open_tree(options.tree)
    names = tree.names(options.split)[:: options.every]
    nets = dict(pair.split("=", 1) for pair in options.weights)
    parts = [names[first :: options.processes] for first in range(options.processes)]
    with multiprocessing.get_context("spawn").Pool(options.processes, end_with_parent) as pool:
        rules = options.rule or RULES
        work = [(tree, part, nets, options.fcn, rules, options.precision) for part in parts]
        found = pool.starmap(tallies, work)
    rows = {row: reduce(add, (part[row] for part in found)) for row in found[0]}
    print_table(rows)
    if options.fcn:
        print_pairs(rows, list(nets)[-1], rules)


if __name__ == "__main__":
    main()
