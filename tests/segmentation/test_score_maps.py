"""Maps of one photo and how two nets are put together, against numpy written by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from deconvnet_cli.choices import MERGES
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps, whole_map

SIZE = 6


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(0)


@pytest.fixture(params=[True, False], ids=["raw", "probabilities"])
def maps(request: pytest.FixtureRequest) -> ScoreMaps:
    torch.manual_seed(0)
    first, second = torch.randn(2, 5, 4, 3) * 3
    if request.param:
        return ScoreMaps(first, second, raw=True)
    return ScoreMaps(first.softmax(0), second.softmax(0), raw=False)


def arrays(maps: ScoreMaps) -> tuple[np.ndarray, np.ndarray]:
    assert maps.deconvnet is not None and maps.fcn is not None
    return maps.deconvnet.numpy(), maps.fcn.numpy()


def probabilities(maps: ScoreMaps) -> tuple[np.ndarray, np.ndarray]:
    first, second = arrays(maps)
    return (softmax(first), softmax(second)) if maps.raw else (first, second)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_mean_by_hand(maps: ScoreMaps, share: float) -> None:
    """The paper takes the mean of "class conditional probability maps" (section 5.2)."""
    first, second = probabilities(maps)
    found = maps.as_one(Ensemble("mean", share))
    np.testing.assert_allclose(found.merged(), (1 - share) * first + share * second, atol=1e-6)
    assert not found.raw and found.fcn is None
    assert torch.equal(found.merged(), maps.merged(Ensemble("mean", share)))


def test_the_papers_mean_is_half_and_half(maps: ScoreMaps) -> None:
    first, second = probabilities(maps)
    np.testing.assert_allclose(maps.merged().numpy(), (first + second) / 2, atol=1e-6)


def test_a_sure_net_has_no_more_than_its_share() -> None:
    """Logits of two nets are not on one scale, and probabilities are."""
    sure, unsure = torch.tensor([20.0, 0, 0]), torch.tensor([0.0, 1, 0])
    maps = ScoreMaps(sure.view(3, 1, 1), unsure.view(3, 1, 1), raw=True)
    assert maps.merged(Ensemble("mean", 0.8)).argmax() == 1
    assert maps.merged(Ensemble("mean", 0.5)).argmax() == 0


def test_share_0_and_1_are_the_parts_to_the_bit(maps: ScoreMaps) -> None:
    for share, alone in (
        (0, ScoreMaps(maps.deconvnet, None, maps.raw)),
        (1, ScoreMaps(None, maps.fcn, maps.raw)),
    ):
        both = maps.merged(Ensemble("mean", share))
        assert torch.equal(both, alone.merged().softmax(0) if maps.raw else alone.merged())


def test_product_by_hand(maps: ScoreMaps) -> None:
    first, second = arrays(maps)
    merged = maps.merged(Ensemble("product")).numpy()
    for place in np.ndindex(merged.shape):
        factor = second[place] if second[place] > 0 else 0.0
        assert merged[place] == pytest.approx(first[place] * factor, abs=1e-6)


def test_product_of_negative_scores_of_fcn_is_0() -> None:
    first, second = torch.randn(5, 2, 2), -torch.rand(5, 2, 2) - 0.1
    maps = ScoreMaps(first, second, raw=True)
    assert not maps.merged(Ensemble("product")).any()
    even = maps.probabilities(Ensemble("product"))
    torch.testing.assert_close(even, torch.full((5, 2, 2), 0.2))


def test_a_single_map_is_left_as_it_is() -> None:
    only = torch.randn(3, 2, 2)
    for ensemble in (Ensemble(), Ensemble("product"), Ensemble("mean", 0.9)):
        assert ScoreMaps(only, None, raw=True).merged(ensemble) is only
        assert ScoreMaps(None, only, raw=True).merged(ensemble) is only
    with pytest.raises(ValueError, match="no map"):
        ScoreMaps(None, None, raw=True).merged()


def test_probabilities_by_hand(maps: ScoreMaps) -> None:
    first, second = arrays(maps)
    product = first * second.clip(0)
    expected = softmax(product) if maps.raw else product / product.sum(0)
    found = maps.probabilities(Ensemble("product")).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    first, second = probabilities(maps)
    found = maps.probabilities(Ensemble("mean", 0.7)).numpy()
    np.testing.assert_allclose(found, 0.3 * first + 0.7 * second, atol=1e-6)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("ensemble", [Ensemble(), Ensemble("mean", 0.2), Ensemble("product")])
@pytest.mark.parametrize("fcn", [True, False])
def test_probabilities_add_up_to_1(merge: str, ensemble: Ensemble, fcn: bool) -> None:
    """Of every rule of merging, also where no crop was."""
    torch.manual_seed(1)
    canvas = Canvas(4, 9, 11, merge)
    boxes = [(0, 0, 11, 9)] if MERGES[merge].whole else []
    for box in [*boxes, (0, 0, 6, 6), (-3, 2, 3, 8), (7, 5, 13, 11)]:
        canvas.add(torch.randn(4, SIZE, SIZE) * 5, box)
    raw = merge == "max"
    whole = whole_map(torch.randn(2, 4, 5, 6) * 5, 9, 11, raw=raw) if fcn else None
    maps = ScoreMaps(canvas.merged_map(), whole, raw=raw)
    found = maps.probabilities(ensemble)
    torch.testing.assert_close(found.sum(0), torch.ones(9, 11))
    assert found.min() >= 0
    # They say what the merged map says.
    merged = maps.merged(ensemble)
    first, second = merged.topk(2, 0).values
    clear = first - second > 1e-4
    assert clear.any()
    assert torch.equal(found.argmax(0)[clear], merged.argmax(0)[clear])


def test_a_product_with_nothing_left_is_even() -> None:
    first = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    second = torch.tensor([0.0, 1, 0]).view(3, 1, 1)
    found = ScoreMaps(first, second, raw=False).probabilities(Ensemble("product"))
    torch.testing.assert_close(found, torch.full((3, 1, 1), 1 / 3))
    # The least that is left is enough to tell.
    small = ScoreMaps(first + 1e-9, second + 1e-9, raw=False).probabilities(Ensemble("product"))
    torch.testing.assert_close(small[:, 0, 0], torch.tensor([0.5, 0.5, 0]), atol=1e-6, rtol=0)


def resized(view: Tensor, size: tuple[int, int]) -> Tensor:
    options = {"mode": "bilinear", "align_corners": False, "antialias": True}
    return F.interpolate(view[None], size=size, **options)[0]


def test_the_whole_map_is_the_mean_over_the_views() -> None:
    torch.manual_seed(2)
    views = torch.randn(2, 3, 4, 6)
    raw = whole_map(views, 8, 12, raw=True)
    expected = (resized(views[0], (8, 12)) + resized(views[1], (8, 12))) / 2
    torch.testing.assert_close(raw, expected)
    probabilities = whole_map(views, 4, 6, raw=False).numpy()
    by_hand = (softmax(views[0].numpy()) + softmax(views[1].numpy())) / 2
    np.testing.assert_allclose(probabilities, by_hand, atol=1e-6)
    enlarged = whole_map(views, 20, 30, raw=False)
    torch.testing.assert_close(enlarged.sum(0), torch.ones(20, 30))
    assert torch.equal(whole_map(views[:1], 4, 6, raw=True), views[0])
