"""Crops a second of ``train`` beside a bare loop of the same net on random crops.

    PYTHONPATH=. python tests/tools/train_speed.py VOC2012 --net deconvnet-vgg16 --stage 1 \\
        --cache memory --cache none --steps 20

All ways take turns step by step in one process, so a busy machine slows them alike. One JSON line a
way goes to standard output: crops a second (by the median step), that as a share of the bare
loop's, and the share of the time that was waited for crops.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from deconvnet_cli.choices import NET_NAMES
from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.runtime.devices import choose_device
from deconvnet_cli.training.feeding import batches_of
from deconvnet_cli.training.losses import Objective, compiled
from deconvnet_cli.training.optimiser import begin_training, build_optimiser
from deconvnet_cli.training.settings import TrainSettings, default_settings
from deconvnet_cli.training.setup import build_datasets


class Way:
    """A net with its optimiser, and the batches that it is given."""

    def __init__(
        self,
        batches: Iterator[list[Tensor]],
        settings: TrainSettings,
        device: torch.device,
        *,
        compile_net: bool = False,
    ) -> None:
        torch.manual_seed(0)
        net: nn.Module = build_net(settings.net, json.loads(settings.net_settings))
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        begin_training(net, settings)
        objective = Objective(net, settings)
        self.loss_of = compiled(objective) if compile_net else objective
        self.optimiser = build_optimiser(net, settings)
        self.batches, self.settings, self.device = batches, settings, device
        self.convention = net_spec(settings.net).input
        self.seconds: list[float] = []
        self.waited: list[float] = []

    def step(self) -> None:
        """Take one step of the optimiser, and note how long it took."""
        began = time.perf_counter()
        crops, labels, *_ = next(self.batches)
        self.waited.append(time.perf_counter() - began)
        inputs = self.convention.prepare(crops).to(memory_format=torch.channels_last)
        self.optimiser.zero_grad()
        self.loss_of(inputs, labels).backward()
        self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - began)


def random_batches(settings: TrainSettings, device: torch.device) -> Iterator[list[Tensor]]:
    """Yield the same random batch again and again."""
    shape = settings.batch, settings.size, settings.size
    crops = torch.randint(0, 256, (shape[0], 3, *shape[1:]), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 21, shape, device=device)
    while True:
        yield [crops, labels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("voc_root", type=Path)
    parser.add_argument("--net", choices=NET_NAMES, default=NET_NAMES[0])
    parser.add_argument("--net-settings", default="{}")
    parser.add_argument("--stage", type=int)
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cache", action="append", choices=("device", "memory", "none"))
    parser.add_argument("--compile", action="store_true", help="a bare loop by torch.compile too")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device, tree = choose_device(given.device), open_tree(given.voc_root)
    settings = default_settings(given.net, given.stage)
    changes: dict[str, Any] = {"batch": given.batch, "accumulate": 1, "lists": (given.split,)}
    changes |= {"size": given.size} if given.size else {}
    changes |= {"net_settings": given.net_settings, "frozen": False, "precision": "bf16"}
    settings = replace(settings, **changes)
    ways = {"bare": Way(random_batches(settings, device), settings, device)}
    if given.compile:
        batches = random_batches(settings, device)
        ways["bare, compiled"] = Way(batches, settings, device, compile_net=True)
    for cache in given.cache or ("memory", "none"):
        samples, _ = build_datasets(
            tree, settings, Path("proposals"), lambda *_: lambda: None, cache=cache, device=device
        )
        ways[cache] = Way(batches_of(samples, settings, 0, 0, device), settings, device)
    for number in range(given.steps + 2):
        for way in ways.values():
            way.step()
            if number == 1:  # two steps to warm up
                way.seconds.clear(), way.waited.clear()
    bare = statistics.median(ways["bare"].seconds)
    for name, way in ways.items():
        seconds = statistics.median(way.seconds)
        line = {
            "way": name,
            "net": settings.net,
            "size": settings.size,
            "crops_per_s": round(settings.batch / seconds, 2),
            "of_bare": round(bare / seconds, 3),
            "waited": round(sum(way.waited) / sum(way.seconds), 4),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
