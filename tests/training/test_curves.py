"""The curves of a run: what is in the log is on the picture."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from deconvnet_cli.training.pictures import HEIGHT, LINE, WIDTH, curves_png


def pixels(lines: list[dict[str, float]]) -> np.ndarray:
    with Image.open(io.BytesIO(curves_png(lines))) as image:
        return np.asarray(image)


def test_a_falling_loss_falls_on_the_picture():
    shown = pixels([{"step": step, "loss": 10.0 - step} for step in range(1, 10)])
    assert shown.shape == (HEIGHT, WIDTH, 3)
    rows, columns = np.nonzero((shown == LINE).all(2))
    first, last = rows[columns < columns.min() + 20], rows[columns > columns.max() - 20]
    assert first.mean() < last.mean() - HEIGHT / 3  # rows count downwards


def test_each_figure_has_a_panel_of_its_own():
    shown = pixels([{"step": 5, "loss": 1.0}, {"step": 5, "val_mean_iou": 0.5}])
    assert shown.shape == (2 * HEIGHT, WIDTH, 3)
    marks = np.nonzero((shown == LINE).all(2))[0]
    assert (marks < HEIGHT).any() and (marks >= HEIGHT).any()


def test_an_empty_log_gives_an_empty_picture():
    assert pixels([]).shape == (HEIGHT, WIDTH, 3)
