"""One pooling window of one crop: its maximum, its switch, and what unpooling makes of it.

The window is one of the last pool, whose unpooling comes first in the decoder, so its numbers can
be found in the pictures of that stage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

POOL = torch.ops.aten.max_pool2d_with_indices.default
UNPOOL = torch.ops.aten.max_unpool2d.default
CORNERS = ("upper left", "upper right", "lower left", "lower right")


@dataclass(frozen=True, eq=False)
class Unpooling:
    """The last pool of the encoder and the unpooling that uses its switches, for one crop.

    Attributes:
        pooled: The encoder's map before the pool, float32 K x 2h x 2w.
        switches: The index of each maximum in the flattened 2h x 2w plane, int64 K x h x w.
        values: The decoder's map before the unpooling, float32 K x h x w.
        unpooled: The decoder's map after it, float32 K x 2h x 2w.
    """

    pooled: Tensor
    switches: Tensor
    values: Tensor
    unpooled: Tensor


@dataclass(frozen=True)
class Window:
    """A 2x2 window of a channel.

    Attributes:
        channel: The number of the channel, from 0.
        row, column: The place of the window among the windows of the map, from 0.
        rows, columns: How many windows the map has in each direction.
        encoder: The four values of the encoder, row by row.
        switch: The place of the greatest of them, 0 to 3, row by row (see ``CORNERS``).
        value: The value that the decoder has for this window.
        unpooled: The four values after unpooling, row by row.
        strided: Whether the encoder goes on with the first value and not with the greatest.
    """

    channel: int
    row: int
    column: int
    rows: int
    columns: int
    encoder: tuple[float, ...]
    switch: int
    value: float
    unpooled: tuple[float, ...]
    strided: bool


class PoolRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A mode in which the last pool and the first unpooling of a forward pass are recorded.

    It sees the operators of torch and not modules, as nets call pools as functions.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pool: tuple[Tensor, Tensor] | None = None
        self._unpool: tuple[Tensor, Tensor] | None = None

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is POOL:
            self._pool = first_crop(args[0]), first_crop(result[1])
        elif function is UNPOOL and self._unpool is None:
            self._unpool = first_crop(args[0]), first_crop(result)
        return result

    def recorded(self) -> Unpooling:
        """Return what was recorded.

        Raises:
            ValueError: The net neither pooled nor unpooled (an error of the caller).
        """
        if self._pool is None or self._unpool is None:
            raise ValueError("this net has no unpooling")
        pooled, switches = self._pool
        values, unpooled = self._unpool
        return Unpooling(pooled.float(), switches, values.float(), unpooled.float())


def first_crop(values: Tensor) -> Tensor:
    """Return a copy of the first crop of a batch on the CPU; later layers may work in place."""
    return values[0].clone().cpu()


def choose_window(unpooling: Unpooling, channel: int, *, strided: bool) -> Window:
    """Return the window of a channel in which the decoder has its greatest value.

    Windows without a single positive maximum, and those for which the decoder has no positive
    value, are taken only if there is no other, even in other channels.

    Args:
        channel: The channel to look at first.
    """
    windows = windows_of(unpooling.pooled)
    ranked = windows.sort(-1, descending=True).values
    clear = (ranked[..., 0] > ranked[..., 1].clamp_min(0)) & (unpooling.values > 0)
    channels = [channel]
    if clear.any() and not clear[channel].any():
        channels = list(range(len(clear)))
    chances = torch.where(clear, unpooling.values, unpooling.values.clamp_max(0) - 1)[channels]
    _, rows, columns = unpooling.values.shape
    place = int(chances.flatten().argmax())
    chosen = channels[place // (rows * columns)]
    row, column = divmod(place % (rows * columns), columns)
    index = int(unpooling.switches[chosen, row, column])
    down, across = index // (2 * columns) - 2 * row, index % (2 * columns) - 2 * column
    return Window(
        channel=chosen,
        row=row,
        column=column,
        rows=rows,
        columns=columns,
        encoder=tuple(windows[chosen, row, column].tolist()),
        switch=2 * down + across,
        value=float(unpooling.values[chosen, row, column]),
        unpooled=tuple(windows_of(unpooling.unpooled)[chosen, row, column].tolist()),
        strided=strided,
    )


def windows_of(values: Tensor) -> Tensor:
    """Return the 2x2 windows of a map K x 2h x 2w, row by row: K x h x w x 4."""
    channels, height, width = values.shape
    split = values.reshape(channels, height // 2, 2, width // 2, 2)
    return split.permute(0, 1, 3, 2, 4).flatten(3)
