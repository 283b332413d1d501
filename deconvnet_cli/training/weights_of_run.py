"""The weights files that a run leaves, and their cards."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from torch import nn

from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.training.run_folder import TrainedNets
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.weights.card import Card, card_for
from deconvnet_cli.weights.files import store

WEIGHTS, BEST = "weights.safetensors", "best.safetensors"


def run_card(
    net: nn.Module,
    settings: TrainSettings,
    convention: InputConvention,
    step: int | None = None,
    score: float | None = None,
) -> Card:
    """Return the card of a net of a run.

    Args:
        net: The net.
        settings: The settings of the run.
        convention: The net's input convention.
        step: The step of the weights; None for the last.
        score: Their mean IoU in the validation, if there was one.
    """
    of_step = "" if step is None else f", the weights of step {step}"
    return card_for(
        settings.net,
        net_settings(net),
        input=convention,
        classes=settings.class_names,
        provenance=f"trained by deconvnet train: {dataclasses.asdict(settings)}{of_step}",
        licence="that of the training data and of the start",
        scores={} if score is None else {f"{settings.val_list}-during-training": score},
    )


def store_weights(
    run: Path, nets: TrainedNets, settings: TrainSettings, convention: InputConvention
) -> str:
    """Write the weights of a complete run, and return which of them are the ones to use.

    ``weights.safetensors`` holds the best validated weights; without validation the average, and
    without this the last ones. If it holds others than the last ones, these lie beside it.
    """
    chosen = "last"
    kinds = nets.each()
    best = nets.progress.best if nets.progress else -1
    if best >= 0 and any((run / name).is_file() for name in (BEST, WEIGHTS)):
        chosen = "best"
    elif "average" in kinds:
        chosen = "average"
    for kind, net in kinds.items():
        path = run / (WEIGHTS if kind == chosen else f"{kind}.safetensors")
        store(path, net, run_card(net, settings, convention))
    if chosen == "best" and (run / BEST).is_file():  # not there if this was done before
        os.replace(run / BEST, run / WEIGHTS)
    return chosen
