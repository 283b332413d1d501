"""Contours on the page of ``deconvnet serve``, compared with those of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import needs_serve  # noqa: F401
from helpers.chromium import Browser
from helpers.photos import pieces
from helpers.serving import FIRST, shown, until
from PIL import Image

from deconvnet_cli.outputs.overlay import FILL, painted

pytestmark = pytest.mark.browser


def over(below: np.ndarray, above: np.ndarray, opacity: float = 1) -> np.ndarray:
    """RGB of a canvas laid over others."""
    alpha = above[..., 3:] / 255 * opacity
    return below * (1 - alpha) + above[..., :3] * alpha


def paint(browser: Browser, labels: np.ndarray) -> None:
    """Put labels on the page's canvas, each in a colour of its own, and draw their contours."""
    height, width = labels.shape
    colours = {0: (0, 0, 0, 0), 1: (192, 128, 128, 255), 2: (64, 0, 0, 255)}
    values = [part for label in labels.ravel().tolist() for part in colours[label]]
    browser.run(f"""(() => {{
        const canvas = document.getElementById("labels");
        Object.assign(canvas, {{ width: {width}, height: {height} }});
        const data = new ImageData(new Uint8ClampedArray({values}), {width}, {height});
        canvas.getContext("2d").putImageData(data, 0, 0);
        drawContours(document.getElementById("contours"), canvas);
    }})()""")


@pytest.mark.parametrize("size", [(40, 60), (300, 400)])
def test_contours_are_those_of_the_command_line(browser, address, size):
    rows, columns = np.indices(size)
    labels = np.zeros(size, np.uint8)
    labels[(rows - size[0] / 2) ** 2 + (columns - size[1] / 3) ** 2 < (size[0] / 3) ** 2] = 1
    labels[rows + 2 * columns > 1.9 * size[1]] = 2
    labels[3, 5] = labels[5, 1] = 1
    browser.open(address)
    paint(browser, labels)
    shown = over(over(np.full((*size, 3), 90.0), browser.pixels("labels"), FILL),
                 browser.pixels("contours"))  # fmt: skip
    photo = Image.new("RGB", size[::-1], (90, 90, 90))
    palette = np.zeros((256, 3), np.uint8)
    palette[1:3] = (192, 128, 128), (64, 0, 0)
    right = np.asarray(painted(photo, labels, palette, (1, 2)), float)
    assert np.abs(shown - right).max() <= 4
    assert (np.abs(right - over(np.full((*size, 3), 90.0), browser.pixels("labels"), FILL))
            .max(-1) > 20).sum() > 50  # fmt: skip


def test_a_photo_of_one_class_has_no_contours(browser, address):
    browser.open(address)
    paint(browser, np.ones((20, 30), np.uint8))
    assert (browser.pixels("contours")[..., 3] == 0).all()


def test_contours_follow_the_view_and_the_box(browser, address, system):
    browser.show(address, FIRST)
    assert browser.shown("contours")
    labels = shown(system, FIRST).labels
    alpha = browser.pixels("contours")[..., 3]
    assert (alpha[labels == 0] == 0).all() and alpha.max() == 255
    for view in ("labels", "photo"):
        browser.run(f"document.querySelector('[value={view}]').click()")
        assert not browser.shown("contours")
        assert browser.run("document.getElementById('outlined').disabled")
    browser.run("document.querySelector('[value=overlay]').click()")
    assert browser.shown("contours")
    browser.run("document.getElementById('outlined').click()")
    assert not browser.shown("contours") and browser.shown("labels")
    assert browser.troubles() == []


def test_the_overlay_that_is_downloaded_has_contours(browser, address, tmp_path: Path):
    browser.show(address, FIRST, "a.png")
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.getElementById('save-overlay').click()")
    file = tmp_path / "a-overlay.png"
    until(lambda: file.exists() and file.stat().st_size > 0)
    photo = np.asarray(pieces((60, 40))[0], float)
    right = over(over(photo, browser.pixels("labels"), 0.6), browser.pixels("contours"))
    assert np.abs(np.asarray(Image.open(file).convert("RGB"), float) - right).max() <= 3
