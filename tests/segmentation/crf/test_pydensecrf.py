"""The CRF on a small image with one sharp edge, and what happens without its package."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from deconvnet_cli.errors import DependencyError
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


def test_shape_type_and_sum() -> None:
    pytest.importorskip("pydensecrf")
    image, _, probabilities = scene()
    kept = probabilities.copy()
    refined = crf.refine(image, probabilities)
    assert refined.shape == probabilities.shape
    assert refined.dtype == np.float32
    assert np.isfinite(refined).all()
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-4)
    np.testing.assert_array_equal(probabilities, kept)  # the input is left alone
    np.testing.assert_array_equal(crf.refine(image, probabilities), refined)


def test_one_pixel() -> None:
    pytest.importorskip("pydensecrf")
    refined = crf.refine(
        np.zeros((1, 1, 3), dtype=np.uint8), np.array([[[0.2]], [[0.8]]], dtype=np.float32)
    )
    assert refined.argmax(0).tolist() == [[1]]


def test_unary_is_minus_log_of_clipped_probabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: dict[str, object] = {}

    class Field:
        def __init__(self, width: int, height: int, labels: int) -> None:
            calls["size"] = (width, height, labels)

        def setUnaryEnergy(self, energy: np.ndarray) -> None:
            calls["energy"] = energy

        def addPairwiseGaussian(self, **options: object) -> None:
            calls["gaussian"] = options

        def addPairwiseBilateral(self, **options: object) -> None:
            options.pop("rgbim")
            calls["bilateral"] = options

        def inference(self, iterations: int) -> list[list[float]]:
            calls["iterations"] = iterations
            return [[0.5] * 2, [0.5] * 2]

    stub = types.ModuleType("pydensecrf.densecrf")
    stub.DenseCRF2D = Field  # type: ignore[attr-defined]
    monkeypatch.setattr(crf, "require_pydensecrf", lambda: stub)
    probabilities = np.array([[[0.0, 0.5]], [[1.0, 0.5]]], dtype=np.float32)
    crf.refine(np.zeros((1, 2, 3), dtype=np.uint8), probabilities)
    assert calls["size"] == (2, 1, 2)
    expected = [[-np.log(1e-5), np.log(2)], [0, np.log(2)]]
    np.testing.assert_allclose(calls["energy"], expected, rtol=1e-5, atol=1e-7)
    assert calls["gaussian"] == {"sxy": 3, "compat": 3}
    assert calls["bilateral"] == {"sxy": 20, "srgb": 3, "compat": 5}
    assert calls["iterations"] == 10


def test_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(DependencyError, match=r'pip install "\.\[crf\]"') as caught:
        crf.require_pydensecrf()
    assert "\n" not in str(caught.value)
