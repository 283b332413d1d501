"""The card of a weights file, which describes its net, and the checks of cards.

Anyone can write such a file. Every value must have the right type and be within bounds, so that
no card asks for more memory than its tensors need, and none makes a photo fail later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_origin, get_type_hints

from deconvnet_cli.choices import MERGES, NET_NAMES
from deconvnet_cli.data.classes import LONGEST_NAME, MOST_CLASSES, is_name
from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.nets.inputs import InputConvention
from deconvnet_cli.nets.registry import input_stride, net_spec

METADATA_KEY = "deconvnet"


@dataclass(frozen=True)
class Card:
    """The description of the net in a weights file.

    Attributes:
        net: The name of the net.
        settings: The settings that the net was built with.
        input: The input convention of the net.
        merge: The merge rule for the logits of overlapping crops, one of ``choices.MERGES``.
        proposals: The default number of boxes of a photo to segment; 0 for an FCN, which is shown
            the whole photo.
        ensemble: For an FCN only: "with", the name of the DeconvNet weights it is combined with,
            and "rule" and "share", the ensemble rule (see ``segmentation.score_maps.Ensemble``).
        classes: The names of the classes, in the order of the logits.
        provenance: Where the weights come from.
        scores: The measured metrics: name -> value.
        licence: The licence of the weights.
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
        about: Further fields of the card, which replace the usual ones.

    Raises:
        WeightsError: No net has this name.
    """
    spec = net_spec(name)
    usual = {"input": spec.input, "merge": spec.merge, "proposals": spec.proposals}
    return Card(net=name, settings=settings, **{**usual, **about})


def plain_values(card: Card) -> dict[str, Any]:
    """Return a card as plain values, without empty ``SIDES``, which earlier versions refuse."""
    values = asdict(card)
    for name in SIDES:
        if not values["input"][name]:
            del values["input"][name]
    return values


def kinds_of(described: type) -> dict[str, type]:
    """Return the type that each field of a dataclass has in JSON."""
    in_json = {tuple: list, InputConvention: dict}
    kinds = {name: get_origin(hint) or hint for name, hint in get_type_hints(described).items()}
    return {name: in_json.get(kind, kind) for name, kind in kinds.items()}


KINDS, INPUT_KINDS = kinds_of(Card), kinds_of(InputConvention)
REQUIRED = ("net", "settings", "input", "merge", "classes")
MOST_PROPOSALS = 100_000
MOST_SIDE = 4096  # pixels, of an input; whole photos have about 640
SIDES = ("further", "coarse")  # sides of the whole photo beside the usual one
MOST_SIDES = 8  # of each
LARGEST_NUMBER = 1e6  # as a mean or scale


def check_card(card: Any) -> None:
    """Check the parsed JSON of a card, except the net's settings, which ``build_net`` checks.

    Raises:
        ValueError: A name is unknown or missing, or a value has a wrong type or is out of bounds.
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
    """Raise ValueError unless all names are known and all values have the expected type."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} holds no names and values")
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{what} says {name!r}, which means nothing here")
        kind = kinds[name]
        number = kind in (int, float) and isinstance(value, bool)
        if number or not isinstance(value, int | float if kind is float else kind):
            raise ValueError(f"{name} is {value!r:.50}, no {kind.__name__}")


def check_classes(names: Sequence[Any], count: Any) -> None:
    """Raise ValueError unless each of the net's ``count`` classes has a name of its own."""
    if not all(isinstance(name, str) for name in names):
        raise ValueError("classes are not all names")
    if len(names) != count or not 2 <= len(names) <= MOST_CLASSES:
        raise ValueError(f"{len(names)} names for {count!r:.50} classes; 2 to {MOST_CLASSES}")
    if len(set(names)) < len(names):
        raise ValueError("a class is named twice")
    odd = [name for name in names if not is_name(name)]
    if odd:
        raise ValueError(
            f"{odd[0]!r:.120} is no name of a class; 1 to {LONGEST_NAME} printable characters"
        )


def check_input(net: str, settings: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise ValueError unless a net of this name can take such input."""
    check_kinds(given, INPUT_KINDS, "input")
    mean = given.get("mean", ())
    if given.get("channels") not in ("RGB", "BGR"):
        raise ValueError(f"channels are {given.get('channels')!r:.50}; RGB or BGR")
    numbers = [*mean, given.get("scale", math.nan)]
    plain = [n for n in numbers if isinstance(n, int | float) and not isinstance(n, bool)]
    # NaN fails this comparison too.
    if len(mean) != 3 or len(plain) != 4 or not all(abs(n) <= LARGEST_NUMBER for n in plain):
        raise ValueError("mean and scale are not 3 numbers and one")
    spec = net_spec(net)
    stride = input_stride(net, settings)
    size, whole, cell = given.get("size", 224), given.get("whole", 0), given.get("cell", 16)
    if size < spec.least_size:
        raise ValueError(f"{net} is shown crops of {spec.least_size} pixels or more")
    if whole and not spec.whole_photos:
        raise ValueError(f"{net} is shown crops, and no whole photo in its own shape")
    if not 1 <= size <= MOST_SIDE or size % stride:
        raise ValueError(f"size is {size}; a multiple of {stride} up to {MOST_SIDE}")
    if not 0 <= whole <= MOST_SIDE or not 1 <= cell <= MOST_SIDE or (whole and cell % stride):
        raise ValueError(f"whole is {whole} in cells of {cell}; cells are multiples of {stride}")
    for name in SIDES:
        sides = given.get(name, [])
        right = [side for side in sides if type(side) is int and 1 <= side <= MOST_SIDE]
        if len(right) != len(sides) or len(sides) > MOST_SIDES:
            raise ValueError(
                f"{name} is {sides!r:.50}; at most {MOST_SIDES} sides of 1 to {MOST_SIDE}"
            )
        if sides and not whole:
            raise ValueError(f"{name} sides are for nets that are shown the whole photo")
    if whole in given.get("further", []):
        raise ValueError(f"further holds {whole}, which is whole; only other sides belong there")
    if given.get("coarse") and not hasattr(spec.net_class, "coarse_logits"):
        raise ValueError(f"coarse sides are for nets with coarse logits; {net} has none")
