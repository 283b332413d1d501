"""Train ``deconvnet-vgg16`` on a CPU within a few hours, from a published VGG-16 trunk.

    python -m tests.tools.paper_net.train VOC2012 vgg16-trunk.safetensors OUT --further 22000

Three things make this possible. The trunk is frozen up to pool4 and sees each crop once: its last
map, switches and labels are kept in files (0.7 megabytes a crop), and ten crops a second pass
through it on one core. The bottleneck (fc6, fc7, fc6_deconv) is trained first and alone, on the
shares of the classes in 7 x 7 cells, since it has half of all weights and costs little there. The
decoder then grows from coarse to fine: at first up to 28 x 28, then whole, with 1x1 logits after
each stage that have a loss of their own and are left out at the end. When it is whole, a step sees
one window of the crop, a quarter of its area. So each crop costs a third of what ``deconvnet
train`` spends.

The two stages are the paper's (section 4.2): crops that centre an object, with its class alone
labelled, then proposals with all classes; the latter are the boxes that a prediction shows. In
stage 2, soft labels of a shipped net are a second target. ``--further`` goes on with as many fresh
crops of stage 2, and trains conv5 along with the bottleneck; ``--start NAME`` begins there, from
shipped weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from deconvnet_cli.nets.deconvnet_vgg16 import DECODER, ENCODER, FULLY_CONNECTED, SCORE
from deconvnet_cli.nets.inputs import VGG_INPUT
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.runtime.devices import keep_freed_memory
from deconvnet_cli.training.batchnorm import insert_batchnorm
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.start import load_trunk, read_trunk
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, store
from tests.tools.paper_net.crops import FROZEN, Crops, encode, samples_of_stage
from tests.tools.paper_net.learner import CLASSES, SIDES, WINDOW, Learner, cell_targets, soft_loss

BATCH = 16
AUXILIARY = 0.3  # the weight of the losses of the coarser logits


def rate(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: a linear rise, then half a cosine down to 0."""
    return min(1, (step + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * step / steps))


def optimiser_of(groups: list[tuple[list[nn.Parameter], float]], decay: float) -> torch.optim.AdamW:
    """Return AdamW for groups of parameters with their learning rates; vectors do not decay."""
    parts = [
        {"params": found, "lr": lr, "peak": lr, "weight_decay": decay if matrices else 0}
        for parameters, lr in groups
        for matrices in (False, True)
        if (found := [p for p in parameters if (p.ndim > 1) == matrices])
    ]
    return torch.optim.AdamW(parts, betas=(0.9, 0.99), fused=True)


def step(optimiser: torch.optim.AdamW, loss: Tensor, factor: float) -> None:
    """Take one step at this factor of the learning rates."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor
    optimiser.zero_grad()
    loss.backward()
    for group in optimiser.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 5.0)
    optimiser.step()


def train_coarse(learner: Learner, crops: Crops, steps: int) -> None:
    """Train the coarse logits alone: stored weights do not have them."""
    rng = np.random.default_rng(5)
    learner.eval()
    for parameter in learner.net.parameters():
        parameter.requires_grad_(False)
    optimiser = optimiser_of([(list(learner.coarse.parameters()), 5e-3)], 0.01)
    for number in range(steps):
        rows = np.sort(rng.choice(len(crops.labels), BATCH, replace=False))
        with torch.autocast("cpu", torch.bfloat16):
            losses = learner.losses(crops, rows, len(SIDES) - 1, None)
        step(optimiser, sum(losses), rate(number, steps, 10))
    for parameter in learner.net.parameters():
        parameter.requires_grad_(True)


def train_bottleneck(
    learner: Learner, sets: list[Crops], epochs: int, lr: float, trunk: float = 0
) -> None:
    """Train fc6, fc7 and fc6_deconv on the targets of 7 x 7 cells, with mixed pairs of crops.

    conv5 learns at ``trunk * lr``, or not at all.
    """
    rng = np.random.default_rng(0)
    targets = [
        cell_targets(crops.label_maps(rows), crops.soft_labels(rows), 7).half()
        for crops in sets
        for rows in np.array_split(np.arange(len(crops.labels)), 1 + len(crops.labels) // 256)
    ]
    target = torch.cat(targets).view(-1, 49, CLASSES)
    layers = [name for layer in FULLY_CONNECTED for name in (layer.name, layer.norm)]
    heads = [*parameters_of(learner, layers), *learner.coarse[0].parameters()]
    last_block = parameters_of(learner, [layer.name for layer in ENCODER[FROZEN]])
    for parameter in last_block:
        parameter.requires_grad_(trunk > 0)
    groups = [(heads, lr)] + [(last_block, lr * trunk)] * (trunk > 0)
    optimiser = optimiser_of(groups, 0.1)
    learner.train()
    batch = min(128, len(target))
    steps, number = epochs * (len(target) // batch), 0
    for epoch in range(epochs):
        for rows in rng.permutation(len(target))[: len(target) // batch * batch].reshape(-1, batch):
            share, other = rng.beta(0.4, 0.4), rng.permutation(batch)
            x, y = maps_of(sets, rows), target[rows].float()
            x, y = x.lerp(x[other], 1 - share), y.lerp(y[other], 1 - share)
            with torch.autocast("cpu", torch.bfloat16):
                logits = learner.bottleneck(x)
            loss = soft_loss(logits, y.flatten(0, 1))
            step(optimiser, loss, rate(number, steps, 50))
            number += 1
        print(f"bottleneck, epoch {epoch + 1} of {epochs}: loss {loss:.3f}", flush=True)


def maps_of(sets: list[Crops], rows: np.ndarray) -> Tensor:
    """Return the maps after pool4 of crops, which are numbered through all sets."""
    lengths = [len(crops.labels) for crops in sets]
    owners, starts = np.digitize(rows, np.cumsum(lengths)), np.cumsum([0, *lengths])
    maps = [crops.maps(rows[owners == n] - starts[n]) for n, crops in enumerate(sets)]
    return torch.cat(maps)[np.argsort(np.argsort(owners, kind="stable"))]


def parameters_of(learner: Learner, names: Iterable[str]) -> list[nn.Parameter]:
    """Return the parameters of some layers of the net."""
    return [p for name in names for p in learner.net.get_submodule(name).parameters()]


def train_decoder(
    learner: Learner, crops: Crops, depth: int, steps: int, lr: float, coarse: float, seed: int
) -> None:
    """Train the first ``depth`` stages of the decoder; deconv5 and before at ``coarse * lr``."""
    rng = np.random.default_rng(seed)
    early = {"fc6_deconv", "fc6_deconv_bn"}
    early |= {name for layer in (*DECODER[0], *DECODER[1]) for name in (layer.name, layer.norm)}
    late = {
        name for block in DECODER[2:depth] for layer in block for name in (layer.name, layer.norm)
    }
    late |= {SCORE} if depth == len(DECODER) else set()
    groups = [(parameters_of(learner, early), lr * coarse), (parameters_of(learner, late), lr)]
    groups.append((list(learner.coarse.parameters()), lr))
    optimiser = optimiser_of(groups, 0.01)
    trained = [p for group, _ in groups for p in group]
    average = [p.detach().clone() for p in trained]
    learner.train()
    for norm in (learner.net.bnfc6, learner.net.bnfc7):
        norm.eval()  # one value a crop is too little for statistics of a batch of 16
    order = np.concatenate(
        [rng.permutation(len(crops.labels)) for _ in range(1 + steps * BATCH // len(crops.labels))]
    )
    began = time.monotonic()
    for number in range(steps):
        numbers = np.sort(order[number * BATCH : (number + 1) * BATCH])
        window = None
        if depth == len(DECODER):
            top, left = rng.integers(0, (56 - WINDOW) // 2 + 1, 2) * 2
            window = int(top), int(left)
        with torch.autocast("cpu", torch.bfloat16):
            *others, last = learner.losses(crops, numbers, depth, window)
        step(optimiser, last + AUXILIARY * sum(others), rate(number, steps, 30))
        share = 1 - min(0.99, (1 + number) / (10 + number))
        torch._foreach_lerp_(average, [p.detach() for p in trained], share)
        if number % 25 == 0:
            pace = (number + 1) * BATCH / (time.monotonic() - began)
            losses = " ".join(f"{float(loss):.3f}" for loss in (*others, last))
            print(f"step {number} of {steps}: {losses}, {pace:.1f} crops/s", flush=True)
    with torch.no_grad():
        for parameter, mean in zip(trained, average, strict=True):
            parameter.copy_(mean)
        norms = [learner.net.get_submodule(name) for name in early | late]
        for norm in (norm for norm in norms if isinstance(norm, nn.BatchNorm2d)):
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches that follow
        for _ in range(40):
            numbers = np.sort(rng.choice(len(crops.labels), 8, replace=False))
            with torch.autocast("cpu", torch.bfloat16):
                learner.losses(crops, numbers, depth, None)


def two_stages(learner: Learner, trunk: dict[str, Tensor], options: argparse.Namespace) -> None:
    """Train the two stages of the paper from fresh weights; the trunk stays as it is."""
    counts = [max(2 * BATCH, int(count * options.share)) for count in (9000, 12_000)]
    sets = []
    for stage, count in enumerate(counts, start=1):
        samples = samples_of_stage(options.tree, stage, count, options.out)
        sets.append(encode(samples, trunk, count, options.out / f"crops{stage}"))
    first, second = sets
    steps = [max(2, int(count * options.share)) for count in (500, 400, 650, 500)]
    train_bottleneck(learner, [first], 5, 1e-3)
    train_decoder(learner, first, 2, steps[0], 1e-3, 1.0, seed=0)
    train_decoder(learner, first, 5, steps[1], 1e-3, 0.05, seed=0)
    write(learner, samples, options.out / "stage1.safetensors")
    train_bottleneck(learner, [first, second], 4, 7e-4)
    train_decoder(learner, second, 2, steps[2], 7e-4, 1.0, seed=1)
    train_decoder(learner, second, 5, steps[3], 1e-3, 0.05, seed=1)
    write(learner, samples, options.out / "stage2.safetensors")


def go_on(learner: Learner, trunk: dict[str, Tensor], options: argparse.Namespace) -> None:
    """Go on with fresh crops of stage 2; conv5 learns too."""
    count = max(2 * BATCH, int(options.further * options.share))
    samples = samples_of_stage(options.tree, 2, count, options.out, options.seed)
    crops = encode(samples, trunk, count, options.out / f"crops-{options.seed}")
    if options.start:
        train_coarse(learner, crops, max(2, int(120 * options.share)))
    steps = [max(2, number * count // 22_000) for number in (450, 1200)]
    parts = {
        "bottleneck": lambda: train_bottleneck(learner, [crops], 3, 5e-4, trunk=0.1),
        "decoder-2": lambda: train_decoder(learner, crops, 2, steps[0], 6e-4, 1.0, seed=2),
        "decoder-5": lambda: train_decoder(learner, crops, 5, steps[1], 1e-3, 0.15, seed=3),
    }
    for name, part in parts.items():
        do_once(learner, part, options.out / f"crops-{options.seed}" / f"{name}.pt")
    write(learner, samples, options.out / "further.safetensors")


def do_once(learner: Learner, part: Callable[[], None], checkpoint: Path) -> None:
    """Train one part and keep what it made, or read that if an earlier run came so far."""
    if checkpoint.exists():
        learner.load_state_dict(torch.load(checkpoint, weights_only=True))
        return
    part()
    unfinished = checkpoint.with_suffix(".unfinished")
    torch.save(learner.state_dict(), unfinished)
    unfinished.replace(checkpoint)


def write(learner: Learner, samples: CropDataset, path: Path) -> None:
    """Write the weights; BatchNorm is put into the trunk, which computes what it did."""
    crops = torch.stack([samples[number][0] for number in range(32)])
    insert_batchnorm(learner.net, VGG_INPUT.prepare(crops).split(8))
    made_by = f"trained by {Path(__file__).name}"
    card = card_for("deconvnet-vgg16", net_settings(learner.net), provenance=made_by)
    store(path, learner.net, card)
    print(path, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("trunk", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", help="weights that have gone through the two stages")
    parser.add_argument(
        "--further", type=int, default=0, help="fresh crops of stage 2 after it (22000)"
    )
    parser.add_argument("--seed", type=int, default=7, help="of the fresh crops")
    parser.add_argument("--share", type=float, default=1.0, help="of the crops, for a trial")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    trunk = read_trunk(options.trunk)
    learner = Learner()
    with torch.no_grad():
        load_trunk(learner.net, trunk)
    if options.start:
        learner.take(load(options.start).net)
    else:
        two_stages(learner, trunk, options)
    if options.further:
        go_on(learner, trunk, options)


if __name__ == "__main__":
    main()
