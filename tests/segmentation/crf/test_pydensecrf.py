"""The CRF on a small image with one sharp edge, and what happens without its package."""

from __future__ import annotations

import numpy as np
import pytest

from deconvnet_cli.segmentation.crf import pydensecrf as crf


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A 40 x 60 photo, dark left of column 30; the truth; and a noisy, misplaced guess of it."""
    truth = np.zeros((40, 60), dtype=np.uint8)
    truth[:, 30:] = 1
    image = np.where(truth[..., None] == 1, (220, 180, 40), (20, 40, 60)).astype(np.uint8)
    guess = np.zeros(truth.shape, dtype=np.float32)
    guess[:, 26:] = 1  # the border is 4 pixels off
    generator = np.random.default_rng(0)
    flipped = generator.random(truth.shape) < 0.1
    guess[flipped] = 1 - guess[flipped]
    foreground = 0.35 + 0.3 * guess
    probabilities = np.stack([1 - foreground, foreground, np.zeros_like(foreground)])
    return image, truth, probabilities.astype(np.float32)


def test_labels_move_to_the_edge() -> None:
    pytest.importorskip("pydensecrf")
    image, truth, probabilities = scene()
    before = np.mean(probabilities.argmax(0) == truth)
    after = np.mean(crf.refine(image, probabilities).argmax(0) == truth)
    assert before < 0.87
    assert after > 0.99


def test_colour_order_and_position_are_not_mixed_up() -> None:
    pytest.importorskip("pydensecrf")
    # Turned by 90 degrees the answer turns with it: width and height are in their places.
    image, truth, probabilities = scene()
    turned = crf.refine(
        np.ascontiguousarray(image.transpose(1, 0, 2)),
        np.ascontiguousarray(probabilities.transpose(0, 2, 1)),
    )
    assert np.mean(turned.argmax(0) == truth.T) > 0.99


def test_one_pixel() -> None:
    pytest.importorskip("pydensecrf")
    refined = crf.refine(
        np.zeros((1, 1, 3), dtype=np.uint8), np.array([[[0.2]], [[0.8]]], dtype=np.float32)
    )
    assert refined.argmax(0).tolist() == [[1]]
