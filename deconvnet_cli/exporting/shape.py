"""The shape of the input that an exported net takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.registry import input_stride, net_spec
from deconvnet_cli.weights.card import MOST_SIDE, Card


@dataclass(frozen=True)
class InputShape:
    """The shape of the input, N x 3 x height x width; N is always free.

    Attributes:
        width, height: The sides, pixels; with ``dynamic`` those of the input for tracing.
        stride: The sides are multiples of this.
        dynamic: Whether height and width are free too.
    """

    width: int
    height: int
    stride: int
    dynamic: bool = False

    def __str__(self) -> str:
        if not self.dynamic:
            return f"N x 3 x {self.height} x {self.width}"
        multiples = f", multiples of {self.stride}" if self.stride > 1 else ""
        return f"N x 3 x height x width{multiples}"

    def on_card(self, card: Card) -> Card:
        """Return the card of a net that takes this shape: a fixed square is the size of crops."""
        if self.dynamic or self.width != self.height:
            return card
        return replace(card, input=replace(card.input, size=self.width))


def input_shape(card: Card, size: tuple[int, int] | None, dynamic: bool) -> InputShape:
    """Return the shape for a net.

    Args:
        size: Width and height, pixels; None takes the size of the net's crops.
        dynamic: Whether height and width are free.

    Raises:
        UsageError: The net does not take such a shape.
    """
    spec = net_spec(card.net)
    stride = input_stride(card.net, card.settings)
    if dynamic and size:
        raise UsageError("--dynamic leaves the size open; leave out --size")
    if dynamic and not spec.whole_photos:
        raise UsageError(f"{card.net} is shown square crops of one size; leave out --dynamic")
    width, height = size or (card.input.size, card.input.size)
    if width != height and not spec.whole_photos:
        raise UsageError(f"--size {width}x{height}: {card.net} is shown square crops")
    for side in (width, height):
        if side % stride or not spec.least_size <= side <= MOST_SIDE:
            least = max(spec.least_size, stride)
            multiples = f"a multiple of {stride} from {least}" if stride > 1 else f"from {least}"
            raise UsageError(f"--size {side}: {card.net} takes {multiples} to {MOST_SIDE} pixels")
    return InputShape(width, height, stride, dynamic)
