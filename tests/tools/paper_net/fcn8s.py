"""Train ``fcn8s`` on a CPU in an hour or two, from the trunk and the photos of ``deconvnet-vgg16``.

    python -m tests.tools.paper_net.fcn8s VOC2012 vgg16-trunk.safetensors OUT

The trunk sees each photo once, at a random size and mirrored or not; its pool3, pool4 and pool5 are
kept in files, 4 MB a photo. The rest is then trained on them: the classifier fc6 and fc7, the three
scores, and, at a tenth of the rate, the two first deconvolutions; the last stays bilinear, as in
the paper. All that DeconvNet gets, FCN-8s gets too: half of the photos are drawn evenly over the
classes, the soft labels of a shipped net are a second target, and at last conv5 learns as well, at
a tenth of the rate.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from deconvnet_cli.data.images import read_photo
from deconvnet_cli.data.label_png import tree_mask
from deconvnet_cli.data.voc import IGNORE, open_tree
from deconvnet_cli.nets.deconvnet_vgg16 import ENCODER, DeconvNetSettings
from deconvnet_cli.nets.fcn8s import (
    CROP_POOL3,
    CROP_POOL4,
    DROPOUT,
    PUBLISHED_PARTS,
    FCN8s,
    cropped,
    initialise,
)
from deconvnet_cli.nets.inputs import FCN_INPUT
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.runtime.devices import keep_freed_memory
from deconvnet_cli.runtime.worker_process import end_with_parent
from deconvnet_cli.training.soft_labels import read_soft, soft_path
from deconvnet_cli.training.start import load_trunk, read_trunk
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import store
from tests.tools.paper_net.crops import LISTS
from tests.tools.paper_net.learner import CLASSES, FC, SOFT, soft_loss
from tests.tools.paper_net.teacher import write_soft_labels
from tests.tools.paper_net.train import optimiser_of, rate, step

LONGER_SIDES = (288, 500)  # pixels, of a photo as the net sees it
BATCH = 8  # photos a step
DECONVOLUTIONS = ("upscore2.weight", "upscore_pool4.weight")


def coarse_scores(net: FCN8s, pool5: list[Tensor]) -> list[Tensor]:
    """Return the output of score_fr for each map after pool5, as one product over all of them."""
    windows = [x.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5) for x in pool5]
    y = torch.cat([window.flatten(0, 2).flatten(1) for window in windows])
    for layer in (net.fc6, net.fc7):
        y = F.linear(y, layer.weight.flatten(1), layer.bias)
        y = F.dropout(F.relu(y), DROPOUT, net.training)
    y = F.linear(y, net.score_fr.weight.flatten(1), net.score_fr.bias)
    parts = y.split([window.shape[1] * window.shape[2] for window in windows])
    return [
        part.unflatten(0, window.shape[:3]).permute(0, 3, 1, 2)
        for part, window in zip(parts, windows, strict=True)
    ]


def logits_at_stride_8(net: FCN8s, coarse: Tensor, pool4: Tensor, pool3: Tensor) -> Tensor:
    """Return the logits before upscore8, from the pools that :func:`encode` keeps."""
    y = net.upscore2(coarse)
    y = net.upscore_pool4(y + net.score_pool4(cropped(pool4, CROP_POOL4, y)))
    return y + net.score_pool3(pool3)


def targets_at_stride_8(labels: Tensor, soft: Tensor) -> Tensor:
    """Return the targets of the logits before upscore8, one for 8 x 8 pixels, classes x h x w.

    They are the mean of the shares of the classes and of the soft labels. upscore8 is bilinear:
    its cell k lies around pixel 8 k - 23.5 of the photo, so the first whole cell is cell 3, and
    begins 3 pixels before the photo.

    Args:
        labels: int64 H x W, with ``IGNORE``.
        soft: The teacher's probabilities, classes x H x W.
    """
    height, width = (1 + (side + 2) // 8 for side in labels.shape)
    below, beside = (
        8 * n - 3 - side for n, side in zip((height, width), labels.shape, strict=True)
    )
    known = F.one_hot(torch.where(labels == IGNORE, CLASSES, labels), CLASSES + 1)
    hard = known[..., :CLASSES].permute(2, 0, 1).float()
    both = F.pad(hard.lerp(soft, SOFT), (3, beside, 3, below))
    return F.avg_pool2d(both[None], 8)[0]


@torch.no_grad()
def encode(net: FCN8s, photo: Image.Image) -> dict[str, Tensor]:
    """Return a photo's pool4, pool5, and the part of pool3 that the net uses, bfloat16."""
    pixels = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None]
    x = FCN_INPUT.prepare(pixels).bfloat16().contiguous(memory_format=torch.channels_last)
    _, _, pool3, pool4, pool5 = net.encode(x)
    # fc6 takes 6 cells off each side of pool5; then each deconvolution makes 2 n + 2 of n cells.
    rows, columns = (
        slice(CROP_POOL3, CROP_POOL3 + 2 * (2 * (side - 6) + 2) + 2) for side in pool5.shape[2:]
    )
    kept = {"pool3": pool3[..., rows, columns], "pool4": pool4, "pool5": pool5}
    return {name: value.contiguous() for name, value in kept.items()}


def keep_pools(
    tree_path: Path, trunk: Path, out: Path, first: int, every: int, end: int | None
) -> None:
    """Send every so-manyth photo of the lists through the trunk, and keep its pools and targets."""
    torch.set_num_threads(1)
    keep_freed_memory()
    tree = open_tree(tree_path)
    names = [name for part in LISTS for name in tree.names(part)][:end]
    net = with_trunk(trunk).bfloat16().to(memory_format=torch.channels_last)
    began = time.monotonic()
    for number in range(first, len(names), every):
        target = out / "pools" / f"{number}.safetensors"
        if target.is_file():
            continue
        rng = np.random.default_rng(number)
        name = names[number]
        photo, mask = read_photo(tree.image(name)), tree_mask(tree, name)
        scale = rng.integers(*LONGER_SIDES) / max(photo.size)
        size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
        photo = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
        labels = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
        stored = read_soft(soft_path(out / "soft", name)).probabilities
        soft = torch.from_numpy(stored).float() / 255
        soft = F.interpolate(soft[None], size=size[::-1], mode="bilinear")[0]
        if rng.random() < 0.5:
            photo, labels = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT), labels[:, ::-1]
            soft = soft.flip(2)
        present = torch.from_numpy(np.unique(labels))
        cells = targets_at_stride_8(torch.from_numpy(labels.astype(np.int64)), soft)
        kept = encode(net, photo) | {"classes": present, "targets": cells.half()}
        part = target.with_suffix(".part")
        save_file(kept, part)
        part.rename(target)
        if number // every % 50 == 49:
            pace = (number - first) / every / (time.monotonic() - began)
            print(f"photo {number} of {len(names)}, {pace:.2f} photos/s a process", flush=True)


def with_trunk(trunk: Path) -> FCN8s:
    """Return the net with the trunk's convolutions, and all else as before training."""
    net = FCN8s(DeconvNetSettings(fc=FC))
    initialise(net, 0)
    load_trunk(net, read_trunk(trunk))
    return net


def last_pool(net: FCN8s, pool4: Tensor) -> Tensor:
    """Return the map after pool5."""
    x = pool4.contiguous(memory_format=torch.channels_last)
    for layer in ENCODER[-1]:
        x = F.relu(net.get_submodule(layer.name)(x))
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


def loss_of(net: FCN8s, photos: list[dict[str, Tensor]], trunk: bool) -> Tensor:
    """Return the mean loss of some photos; with ``trunk``, conv5 is computed anew."""
    pool5 = [last_pool(net, kept["pool4"]) if trunk else kept["pool5"] for kept in photos]
    losses = []
    for score, kept in zip(coarse_scores(net, pool5), photos, strict=True):
        logits = logits_at_stride_8(net, score, kept["pool4"], kept["pool3"])
        target = kept["targets"].float()
        logits = logits[..., 3 : 3 + target.shape[1], 3 : 3 + target.shape[2]]
        losses.append(soft_loss(logits, target.permute(1, 2, 0).flatten(0, 1)))
    return torch.stack(losses).mean()


def draw(files: list[Path], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the numbers of ``count`` files, half of them drawn evenly over the classes."""
    photos_of: dict[int, list[int]] = {label: [] for label in range(1, CLASSES)}
    for number, file in enumerate(files):
        with safe_open(file, "pt") as opened:
            for label in opened.get_tensor("classes").tolist():
                if label in photos_of:
                    photos_of[label].append(number)
    present = [numbers for numbers in photos_of.values() if numbers]
    even = [rng.choice(present[index % len(present)]) for index in range(count // 2)]
    plain = [order for _ in range(1 + count // len(files)) for order in rng.permutation(len(files))]
    return rng.permutation([*even, *plain[: count - len(even)]])


def train(net: FCN8s, files: list[Path], steps: int, lr: float, trunk: float = 0) -> None:
    """Train all but the trunk, of which conv5 learns at ``trunk * lr``, or not at all."""
    rng = np.random.default_rng(int(trunk > 0))
    parts = {name: p for name, p in net.named_parameters() if not name.startswith(PUBLISHED_PARTS)}
    slow = [p for name, p in parts.items() if name in DECONVOLUTIONS]
    pooled = [p for name, p in parts.items() if name.startswith("score_pool")]
    rest = [p for name, p in parts.items() if not name.startswith(("upscore", "score_pool"))]
    groups = [(rest, lr), (pooled, lr * 0.2), (slow, lr * 0.1)]
    if trunk:
        last = [p for layer in ENCODER[-1] for p in net.get_submodule(layer.name).parameters()]
        groups.append((last, lr * trunk))
    optimiser = optimiser_of(groups, 0.1)
    net.train()
    numbers = draw(files, steps * BATCH, rng).reshape(steps, BATCH)
    began, mean = time.monotonic(), 0.0
    for number, batch in enumerate(numbers):
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(net, [load_file(files[index]) for index in batch], trunk > 0)
        step(optimiser, loss, rate(number, steps, 50))
        mean += (float(loss.detach()) - mean) / min(number + 1, 50)
        if number % 50 == 0:
            pace = (number + 1) * BATCH / (time.monotonic() - began)
            print(f"step {number} of {steps}: loss {mean:.3f}, {pace:.1f} photos/s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("trunk", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int, help="take these many alone, for a trial")
    parser.add_argument("--steps", type=int, default=3000, help="without conv5, of 8 photos")
    parser.add_argument("--further", type=int, default=1000, help="steps after them, with conv5")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    keep_freed_memory()
    (options.out / "pools").mkdir(parents=True, exist_ok=True)
    write_soft_labels(open_tree(options.tree), LISTS, options.out / "soft")
    with multiprocessing.get_context("spawn").Pool(options.processes, end_with_parent) as pool:
        parts = range(options.processes)
        work = [
            (options.tree, options.trunk, options.out, first, options.processes, options.photos)
            for first in parts
        ]
        pool.starmap(keep_pools, work)
    net = with_trunk(options.trunk)
    # The values of pool5 are tens, so that He's values would make scores of thousands.
    with torch.no_grad():
        net.fc6.weight.mul_(0.02)
    files = sorted((options.out / "pools").glob("*.safetensors"))
    train(net, files, options.steps, 5e-4)
    train(net, files, options.further, 3e-4, trunk=0.1)
    made_by = f"trained by {Path(__file__).name}"
    path = options.out / "fcn8s.safetensors"
    store(path, net.eval(), card_for("fcn8s", net_settings(net), provenance=made_by))
    print(path)


if __name__ == "__main__":
    main()
