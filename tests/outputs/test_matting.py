"""Cut-outs: soft where the probabilities say so, of the labels' shape, without a halo."""

from __future__ import annotations

import numpy as np
from PIL import Image

from deconvnet_cli.outputs.matting import foreground, signed_depth, soft_alpha
from deconvnet_cli.outputs.overlay import cutout

CLASSES = ("background", "cat", "dog")


def halves(width: int = 40, height: int = 20, scale: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Labels with the cat on the left half, and probabilities that rise over eight pixels."""
    labels = np.zeros((height, width), np.uint8)
    labels[:, : width // 2] = 1
    columns = np.arange(width // scale) + 0.5
    cat = np.clip(0.5 - (columns - width / scale / 2) / 8, 0, 1)
    maps = np.zeros((3, height // scale, width // scale), np.float32)
    maps[1], maps[0] = cat, 1 - cat
    return labels, maps


def test_alpha_falls_across_the_edge_and_is_of_the_labels_shape():
    labels, maps = halves()
    alpha = soft_alpha(labels, [1], maps).astype(int)
    row = alpha[10]
    assert (np.diff(row) <= 0).all() and len(np.unique(row)) >= 4
    assert np.array_equal(alpha > 127, labels == 1)
    assert (row[:17] == 255).all() and (row[23:] == 0).all()
    assert soft_alpha(labels, [1, 0], maps).min() == 255
    assert soft_alpha(labels, [2], maps).max() == 0


def test_in_a_large_photo_the_edge_is_as_soft_as_the_map():
    labels, maps = halves(160, 40, scale=4)
    row = soft_alpha(labels, [1], maps)[20]
    soft = np.flatnonzero((row > 0) & (row < 255))
    assert 8 <= len(soft) <= 16 and abs(soft.mean() - 79.5) < 1


def test_sure_probabilities_have_an_edge_without_stairs():
    """A disc with the probabilities of a CRF: opacity changes over one pixel on either side."""
    y, x = np.mgrid[:40, :40]
    labels = (np.hypot(x - 19.5, y - 19.5) < 13.3).astype(np.uint8)
    maps = np.stack([labels == 0, labels == 1]).astype(np.float32)
    alpha = soft_alpha(labels, [1], maps)
    assert np.array_equal(alpha > 127, labels == 1)
    steps = [np.abs(np.diff(alpha.astype(int), axis=axis)).max() for axis in (0, 1)]
    assert max(steps) < 0.75 * 255
    around = np.stack([np.roll(labels, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    assert (alpha[around.all(0)] == 255).all() and (alpha[~around.any(0)] == 0).all()


def test_depth_by_hand():
    depth = signed_depth(np.array([[True, True, False, False]] * 4))
    np.testing.assert_allclose(depth[1], [1.5, 0.5, -0.5, -1.5], atol=0.1)
    assert np.isposinf(signed_depth(np.ones((2, 2), bool))).all()


def test_the_background_does_not_shine_through():
    """A red cat before a green ground, whose edge is a mixture: on white, no green is left."""
    labels, maps = halves()
    mix = np.clip(maps[1], 0, 1)[..., None]
    pixels = np.rint(mix * (200, 0, 0) + (1 - mix) * (0, 200, 0)).astype(np.uint8)
    alpha = soft_alpha(labels, [1], maps)
    pixels[alpha >= 250] = (200, 0, 0)
    soft = (alpha > 0) & (alpha < 250)
    after = foreground(pixels, alpha).astype(int)
    assert after[soft][:, 1].mean() < 0.6 * pixels[soft][:, 1].mean()
    assert np.array_equal(after[alpha >= 250], pixels[alpha >= 250])


def test_what_lies_far_away_changes_nothing():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 60, 3)).astype(np.uint8)
    alpha = np.zeros((50, 60), np.uint8)
    alpha[10:40, 12:30] = rng.integers(1, 250, (30, 18))
    alpha[20:30, 16:24] = 255
    wide = np.pad(pixels, ((80, 90), (70, 100), (0, 0)), mode="reflect")
    around = foreground(wide, np.pad(alpha, ((80, 90), (70, 100))))
    assert np.array_equal(around[80:130, 70:130], foreground(pixels, alpha))
    around[80:130, 70:130] = pixels
    assert np.array_equal(around, wide)


def test_background_and_crop():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:9, 10:16] = 2
    photo = Image.new("RGB", (30, 20), (9, 9, 9))
    options = {"classes": CLASSES}
    plain = cutout(photo, labels, **options)
    cut = cutout(photo, labels, **options, crop=True)
    assert cut.size == (6, 4) and cut.mode == "RGBA"
    assert np.array_equal(np.array(cut), np.array(plain)[5:9, 10:16])
    white = np.array(cutout(photo, labels, **options, background="#ffcc00"))
    assert white.shape == (20, 30, 3)
    assert (white[labels == 0] == (255, 204, 0)).all() and (white[labels == 2] == 9).all()
    nothing = cutout(photo, np.zeros_like(labels), **options, crop=True)
    assert nothing.size == photo.size and nothing.getextrema()[3] == (0, 0)
