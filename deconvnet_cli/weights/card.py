"""What a weights file says about itself, checked before a net is built from it or shown a photo.

Anyone can write such a file. All that is said must be of its kind and within bounds, so that no
card asks for more memory than its tensors take, and none fails on a photo.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from deconvnet_cli.choices import MERGES, NET_NAMES
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import net_spec

METADATA_KEY = "deconvnet"


@dataclass(frozen=True)
class Card:
    """What a weights file says about itself.

    Attributes:
        net: name of the net.
        settings: settings the net was built with.
        input: what the net takes in.
        merge: how the scores of overlapping crops are merged, one of ``choices.MERGES``.
        proposals: how many boxes of a photo are segmented unless it is told otherwise; 0 for an
            FCN, which is shown the whole photo.
        classes: names of the scores, in order.
        ensemble: of an FCN: "with", the name of the DeconvNet weights it is put together with,
            and how: "rule" and "share" (see ``segmentation.score_maps.Ensemble``).
        provenance: where the weights came from.
        scores: what they were measured at: name of the measure -> value.
        licence: of these weights.
    """

    net: str
    settings: dict[str, Any]
    input: InputConvention
    merge: str = "max"
    proposals: int = 50
    ensemble: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = CLASSES
    provenance: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    licence: str = ""


def card_for(name: str, settings: dict[str, Any], **about: Any) -> Card:
    """Return a card for a net, with its usual input convention, merge rule and proposals.

    Args:
        about: Other fields of the card, which take the place of the usual ones.
    """
    spec = net_spec(name)
    usual = {"input": spec.input, "merge": spec.merge, "proposals": spec.proposals}
    return Card(net=name, settings=settings, **{**usual, **about})


KINDS: dict[str, type] = {
    "net": str,
    "settings": dict,
    "input": dict,
    "merge": str,
    "proposals": int,
    "ensemble": dict,
    "classes": list,
    "provenance": str,
    "scores": dict,
    "licence": str,
}
INPUT_KINDS: dict[str, type] = {
    "channels": str,
    "mean": list,
    "scale": float,
    "size": int,
    "whole": int,
    "cell": int,
}
REQUIRED = ("net", "settings", "input", "merge", "classes")
MOST_CLASSES = 255  # labels are bytes
MOST_PROPOSALS = 100_000
MOST_SIDE = 4096  # pixels of what a net is shown at once; the whole photo is 640 or less
LARGEST_NUMBER = 1e6  # of a mean or scale


def check_card(card: Any) -> None:
    """Check the parsed JSON of a card; the settings of the net are checked where it is built.

    Raises:
        ValueError: says what is wrong.
    """
    check_kinds(card, KINDS, "it")
    missing = [name for name in REQUIRED if name not in card]
    if missing:
        raise ValueError(f"it says nothing of {missing[0]}")
    if card["net"] not in NET_NAMES:
        raise ValueError(f"no net is called {card['net']!r}; there are: {', '.join(NET_NAMES)}")
    if card["merge"] not in MERGES:
        raise ValueError(f"unknown merge {card['merge']!r}; known: {', '.join(MERGES)}")
    least = 1 if net_spec(card["net"]).takes_boxes else 0
    if not least <= card.get("proposals", least) <= MOST_PROPOSALS:
        raise ValueError(f"proposals is {card['proposals']}; {least} to {MOST_PROPOSALS}")
    check_classes(card["classes"], card["settings"].get("classes", len(CLASSES)))
    check_input(card["net"], card["settings"], card["input"])


def check_kinds(values: Any, kinds: dict[str, type], what: str) -> None:
    """Raise ValueError unless these are names and values of the kinds given."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} holds no names and values")
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{what} says {name!r}, which means nothing here")
        kind = kinds[name]
        number = kind in (int, float) and isinstance(value, bool)
        if number or not isinstance(value, int | float if kind is float else kind):
            raise ValueError(f"{name} is {value!r:.50}, no {kind.__name__}")


def check_classes(names: list[Any], scored: Any) -> None:
    """Raise ValueError unless each score of the net has a name."""
    if not all(isinstance(name, str) for name in names):
        raise ValueError("classes are not all names")
    if len(names) != scored or not 1 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} names for {scored!r:.50} classes")


def check_input(net: str, settings: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise ValueError unless a net of this name can be shown such crops."""
    check_kinds(given, INPUT_KINDS, "input")
    mean = given.get("mean", ())
    if given.get("channels") not in ("RGB", "BGR"):
        raise ValueError(f"channels are {given.get('channels')!r:.50}; RGB or BGR")
    numbers = [*mean, given.get("scale", math.nan)]
    plain = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool)]
    # False for what is not a number at all, too.
    if len(mean) != 3 or len(plain) != 4 or not all(abs(n) <= LARGEST_NUMBER for n in plain):
        raise ValueError("mean and scale are not 3 numbers and one")
    spec = net_spec(net)
    stride = 32 if settings.get("pools") == 5 else spec.stride
    size, whole, cell = given.get("size", 224), given.get("whole", 0), given.get("cell", 16)
    if size < spec.least_size:
        raise ValueError(f"{net} is shown crops of {spec.least_size} pixels or more")
    if whole and not spec.whole_photos:
        raise ValueError(f"{net} is shown crops, and no whole photo in its own shape")
    if not 1 <= size <= MOST_SIDE or size % stride:
        raise ValueError(f"size is {size}; a multiple of {stride} up to {MOST_SIDE}")
    if not 0 <= whole <= MOST_SIDE or not 1 <= cell <= MOST_SIDE or (whole and cell % stride):
        raise ValueError(f"whole is {whole} in cells of {cell}; cells are multiples of {stride}")
