"""The weights files that a run leaves, and their cards."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from deconvnet_cli.nets.registry import net_settings
from deconvnet_cli.training.run_folder import Progress, TrainedNets
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.weights.card import Card, card_for
from deconvnet_cli.weights.files import read_card, store
from deconvnet_cli.weights.shipped import locate

WEIGHTS, BEST = "weights.safetensors", "best.safetensors"


def card_at_start(settings: TrainSettings, start: str | None, begun_from: str = "") -> Card:
    """Return the card that those of a run's weights are made from.

    Its input convention, merge rule and number of boxes are those of the weights that the run
    starts from, or else the usual ones of the net; the size is that of the run's crops. Its
    provenance and licence are the start's.

    Args:
        start: The name or file of the weights that the run starts from, if there are any.
        begun_from: The weights or the published encoder that the run starts from, in words.

    Raises:
        WeightsError: The weights are not found, or their card is wrong.
        ChecksumError: Shipped weights differ from the published file.
    """
    usual = card_for(settings.net, {})
    given = read_card(locate(start)) if start is not None else usual
    shown = replace(given.input, size=settings.size)
    return replace(
        usual,
        input=shown,
        merge=given.merge,
        proposals=given.proposals,
        provenance=begun_from,
        licence=given.licence,
    )


def run_card(
    net: nn.Module,
    settings: TrainSettings,
    first: Card,
    step: int | None = None,
    score: float | None = None,
) -> Card:
    """Return the card of a net of a run.

    Args:
        first: The card from :func:`card_at_start`.
        step: The step of the weights; None for the last.
        score: Their mean IoU in the validation, if there was one.
    """
    start = f" from {first.provenance}" if first.provenance else ""
    its_licence = f" ({first.licence})" if first.licence else ""
    of_step = "" if step is None else f", the weights of step {step}"
    return replace(
        first,
        settings=net_settings(net),
        classes=settings.class_names,
        provenance=f"trained by deconvnet train{start}: {asdict(settings)}{of_step}",
        licence=f"that of the training data and of the start{its_licence}",
        scores={} if score is None else {f"{settings.val_list}-during-training": score},
    )


def how_it_ended(run: Path, progress: Progress, settings: TrainSettings, kind: str) -> list[str]:
    """Return the lines that say why a run ended, and which weights it has left.

    Args:
        kind: What :func:`store_weights` returned.
    """
    lines = []
    if progress.step < settings.steps:
        lines.append(
            f"{run}: ended at step {progress.step} of {settings.steps}, as {settings.patience} "
            "validations in a row were no better (--patience)"
        )
    if settings.val_list:
        best = f"of step {progress.best_step}, mean IoU {progress.best}"
        gone = f"{run}: {WEIGHTS} has the {kind} weights; the best ones, {best}, are not there"
        lines.append(f"{run}: the best weights, {best}" if kind == "best" else gone)
    return lines


def store_weights(run: Path, nets: TrainedNets, settings: TrainSettings, first: Card) -> str:
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
        store(path, net, run_card(net, settings, first))
    if chosen == "best" and (run / BEST).is_file():  # not there if this was done before
        os.replace(run / BEST, run / WEIGHTS)
    return chosen
