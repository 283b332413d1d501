"""A pooling window: recorded as the net pools, chosen by hand, and drawn as numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.lively_nets import lively

from deconvnet_cli.explain.activations import decoder_stages, recording
from deconvnet_cli.explain.decoder_text import cells, number
from deconvnet_cli.explain.windows import PoolRecorder, Unpooling, choose_window, windows_of
from deconvnet_cli.nets.fusion import fused


def unpooling_of(pooled: torch.Tensor, values: torch.Tensor) -> Unpooling:
    _, switches = F.max_pool2d(pooled, 2, return_indices=True)
    return Unpooling(pooled, switches, values, F.max_unpool2d(values, switches, 2))


@torch.inference_mode()
@pytest.mark.parametrize("name, side", [("deconvnet-vgg16", 224), ("deconvnet-mobilenet", 96)])
def test_what_is_recorded_is_what_the_decoder_shows(name, side):
    net = fused(lively(name))
    inputs = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with recording(net) as stages, PoolRecorder() as pools:
        logits = net(inputs)
    assert torch.equal(logits, net(inputs))  # the recorder changes nothing
    found = pools.recorded()
    start, unpooled = (stages[stage] for stage in decoder_stages(net)[:2])
    assert torch.equal(found.values.relu(), start) and torch.equal(found.unpooled, unpooled)
    maxima = windows_of(found.pooled).amax(-1)
    assert torch.equal(
        found.pooled.flatten(1).gather(1, found.switches.flatten(1)), maxima.flatten(1)
    )
    shown = choose_window(found, 0, strided=False)
    assert shown.encoder[shown.switch] == max(shown.encoder)
    expected = [0.0] * 4
    expected[shown.switch] = shown.value
    assert list(shown.unpooled) == expected
    assert shown.value == start[shown.channel, shown.row, shown.column] > 0


def test_the_window_by_hand():
    pooled = torch.tensor([[[1.0, 2, 0, 0], [4, 3, 0, 0]], [[5.0, 6, 9, 7], [7, 8, 1, 2]]])
    found = unpooling_of(pooled, torch.tensor([[[2.0, 9]], [[3.0, 1]]]))
    # The second window of channel 0 has four zeros, and no maximum of its own.
    window = choose_window(found, 0, strided=True)
    assert (window.channel, window.row, window.column, window.switch) == (0, 0, 0, 2)
    assert (window.rows, window.columns, window.strided) == (1, 2, True)
    assert window.encoder == (1, 2, 4, 3) and window.unpooled == (0, 0, 2, 0)
    window = choose_window(found, 1, strided=False)
    assert (window.column, window.encoder, window.switch) == (0, (5, 6, 7, 8), 3)


def test_a_channel_with_nothing_to_show_gives_way_to_others():
    pooled = torch.tensor([[[0.0, 0], [0, 0]], [[1.0, 0], [0, 0]]])
    found = unpooling_of(pooled, torch.tensor([[[5.0]], [[0.5]]]))
    assert choose_window(found, 0, strided=False).channel == 1
    nothing = unpooling_of(pooled * 0, torch.zeros(2, 1, 1))
    window = choose_window(nothing, 0, strided=False)
    assert window.channel == 0 and window.unpooled == (0, 0, 0, 0)


def test_windows_keep_the_order_of_rows():
    values = torch.arange(32.0).reshape(1, 4, 8)
    for row, column in np.ndindex(2, 4):
        part = values[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        assert torch.equal(windows_of(values)[0, row, column], part.flatten())


def test_a_net_without_unpooling_has_no_window():
    with torch.inference_mode(), PoolRecorder() as pools:
        F.max_pool2d(torch.zeros(1, 1, 4, 4), 2, return_indices=True)
    with pytest.raises(ValueError, match="no unpooling"):
        pools.recorded()


def test_the_drawing_marks_the_maximum():
    table = cells([number(value) for value in (-1.5, 0.1234, 12.0, 0.0)], 2)
    assert re.findall(r"<td[^>]*>(.*?)</td>", table) == ["\N{MINUS SIGN}1.5", "0.123", "12", "0"]
    assert '<tr><td class="marked">12</td><td>0</td></tr>' in table
