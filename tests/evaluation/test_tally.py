"""Tallies: shards add up to the whole, JSON brings them back, and the figures are those asked."""

from __future__ import annotations

import base64
import copy
import json
import zlib
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from deconvnet_cli.data.voc import CLASSES
from deconvnet_cli.errors import DatasetError
from deconvnet_cli.evaluation.boundary import boundary_areas
from deconvnet_cli.evaluation.counts import tally_from_json, tally_to_json
from deconvnet_cli.evaluation.metrics import confusion, metrics_of
from deconvnet_cli.evaluation.paired import paired
from deconvnet_cli.evaluation.tally import Tally, summary

Labels = NDArray[np.uint8]


def pair(seed: int) -> tuple[Labels, Labels]:
    """A truth with void and a prediction that is right in most places."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((30, 40), np.uint8)
    truth[5:25, 8:30] = rng.integers(1, 21)
    prediction = np.roll(truth, int(rng.integers(-4, 5)), axis=1)
    truth[4, 7:31] = 255
    return truth, prediction


def tally(numbers: list[int], **settings: int) -> Tally:
    result = Tally(**settings)
    for number in numbers:
        result.add(f"image{number}", *pair(number))
    return result


def same(a: Tally, b: Tally) -> bool:
    return (
        (a.classes, a.replicates, a.seed, a.images) == (b.classes, b.replicates, b.seed, b.images)
        and np.array_equal(a.confusion, b.confusion)
        and np.array_equal(a.boundary, b.boundary)
        and np.array_equal(a.sums, b.sums)
        and np.array_equal(a.boundary_sums, b.boundary_sums)
        and np.array_equal(a.photos, b.photos)
    )


def test_shards_add_up_in_any_order() -> None:
    whole = tally(list(range(7)))
    shards = [tally([6, 0]), tally([3]), tally([]), tally([5, 1, 4, 2])]
    for first, *others in permutations(shards):
        assert same(sum(others, first), whole)
    assert same(shards[0], tally([0, 6])), "adding leaves the parts as they are"


@pytest.mark.parametrize("other", [{"classes": 22}, {"replicates": 9}, {"seed": 1}])
def test_other_settings_do_not_add_up(other: dict[str, int]) -> None:
    with pytest.raises(DatasetError, match=f"{next(iter(other))}.*same settings"):
        tally([0]) + tally([1], **other)


def test_result_is_that_of_its_parts() -> None:
    pairs = [pair(number) for number in range(5)]
    counts = np.sum([confusion(*images) for images in pairs], axis=0)
    areas = np.sum([boundary_areas(*images) for images in pairs], axis=0)
    result = tally(list(range(5))).result()
    assert result.images == 5
    assert result.metrics == metrics_of(counts)
    assert (result.confusion == counts).all()
    shared, true, predicted = areas
    there = true + predicted > 0
    ious = shared[there] / (true + predicted - shared)[there]
    assert result.mean_boundary_iou == pytest.approx(ious.mean())
    assert [value is not None for value in result.boundary_iou] == there.tolist()
    low, high = result.interval
    assert 0 <= low < result.metrics.mean_iou < high <= 1
    low, high = result.boundary_interval
    assert 0 <= low < result.mean_boundary_iou < high <= 1
    having = [sum((truth == label).any() for truth, _ in pairs) for label in range(21)]
    assert result.photos == tuple(having)


def test_add_returns_the_images_own_matrix() -> None:
    both = tally([0])
    own = both.add("image1", *pair(1))
    assert (own == confusion(*pair(1))).all() and both.images == 2


def test_a_wrong_image_counts_nowhere() -> None:
    truth, prediction = pair(1)
    whole = tally([0])
    for bad in (prediction[1:], np.full_like(prediction, 21)):
        with pytest.raises(DatasetError):
            whole.add("image1", truth, bad)
    assert same(whole, tally([0]))


def test_nothing_counted() -> None:
    void = np.full((4, 4), 255, np.uint8)
    empty = Tally()
    empty.add("void", void, void)
    for nothing in (Tally(), empty):
        with pytest.raises(DatasetError, match="no pixel"):
            nothing.result()


def test_summary_is_json_of_the_result() -> None:
    result = tally([0, 1, 2]).result()
    line = json.loads(json.dumps(summary(result, CLASSES), allow_nan=False))
    for name in ("iou", "boundary_iou", "photos"):
        assert list(line[name]) == list(CLASSES)
        line[name] = tuple(line[name].values())
    for name in ("interval", "boundary_interval"):
        line[name] = tuple(line[name])
    known = {name: getattr(result, name) for name in vars(result) if name in line}
    assert line == vars(result.metrics) | known and len(known) == 6


def test_json_brings_back_the_same_tally() -> None:
    for original in (tally([0, 1, 2], seed=-5, replicates=50), Tally(classes=3)):
        text = json.dumps(tally_to_json(original))
        assert same(tally_from_json(json.loads(text), "part.json"), original)


def test_counts_of_earlier_versions_are_read() -> None:
    old, now = tally_to_json(tally([0, 1])), tally([0, 1]).result()
    del old["photos"], old["boundary_bootstrap"]
    shared, true, predicted = np.array(old["boundary"])
    old["boundary"] = [shared.tolist(), (true + predicted - shared).tolist()]
    read = tally_from_json(json.loads(json.dumps(old)), "old.json")
    assert read.photos is None and read.result().photos is None
    assert read.boundary_sums is None and read.result().boundary_interval is None
    assert read.result().boundary_iou == now.boundary_iou
    assert paired("old", read, "now", tally([0, 1])).boundary_iou is None
    assert read.result().interval == tally([0, 1]).result().interval
    assert summary(read.result(), CLASSES)["photos"] is None
    # Added to newer ones, the number of photos stays unknown.
    both = tally([2]) + read
    assert both.photos is None and (read + tally([2])).photos is None
    assert both.boundary_sums is None and (read + tally([2])).boundary_sums is None
    assert both.result().boundary_iou == tally([0, 1, 2]).result().boundary_iou
    assert both.result().interval == tally([0, 1, 2]).result().interval
    again = both.add("image3", *pair(3))
    assert again.any() and both.images == 4


def content(**changes: object) -> object:
    """A whole tally's JSON with some entries changed; dots lead into the bootstrap."""
    whole = copy.deepcopy(tally_to_json(tally([0], replicates=5)))
    for name, value in changes.items():
        part = whole["bootstrap"] if name in ("shape", "data") else whole
        assert isinstance(part, dict)
        part[name] = value
    return whole


def data(values: NDArray[np.int64]) -> str:
    return base64.b64encode(zlib.compress(values.astype("<i8").tobytes())).decode()


BAD: dict[str, object] = {
    "a list": [],
    "another format": content(format="deconvnet tally 2"),
    "classes as text": content(classes="21"),
    "classes true": content(classes=True),
    "no classes": content(classes=0),
    "too many classes": content(classes=256),
    "replicates without end": content(replicates=10**12),
    "seed missing": content(seed=None),
    "images below 0": content(images=-1),
    "confusion ragged": content(confusion=[[1], [1, 2]]),
    "confusion too small": content(confusion=[[1, 2], [3, 4]]),
    "confusion of fractions": content(confusion=[[0.5] * 21] * 21),
    "confusion below 0": content(confusion=[[-1] * 21] * 21),
    "confusion beyond int64": content(confusion=[[2**70] * 21] * 21),
    "confusion that overflows": content(confusion=[[2**62] * 21] * 21),
    "boundary missing": content(boundary=None),
    "boundary upside down": content(boundary=[[1] * 21, [0] * 21, [2] * 21]),
    "boundary of before, upside down": content(
        boundary=[[1] * 21, [0] * 21], boundary_bootstrap=None
    ),
    "boundary of before beside a bootstrap": content(boundary=[[0] * 21, [1] * 21]),
    "boundary's bootstrap of another kind": content(boundary_bootstrap=[1]),
    "photos of other classes": content(photos=[1] * 20),
    "more photos than images": content(photos=[2] * 21),
    "bootstrap missing": content(bootstrap=None),
    "bootstrap of another shape": content(shape=[5, 3, 20]),
    "data missing": content(data=None),
    "data not base64": content(data="ä*"),
    "data not zlib": content(data=base64.b64encode(b"text").decode()),
    "data too short": content(data=data(np.zeros(5 * 3 * 21 - 1))),
    "data too long": content(data=data(np.zeros(1_000_000))),
    "data cut off": content(data=data(np.arange(5 * 3 * 21))[:40]),
    "data below 0": content(data=data(np.full(5 * 3 * 21, -1))),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_malformed_json_is_named(bad: object) -> None:
    with pytest.raises(DatasetError, match=r"^part\.json: .*count the photos again$") as caught:
        tally_from_json(bad, "part.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"classes": 0}, {"classes": 256}, {"replicates": 0}])
def test_settings_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(DatasetError, match="1 to"):
        Tally(**settings)
