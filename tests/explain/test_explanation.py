"""The explanation of a run, compared with the same run computed by other means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from deconvnet_cli.choices import MERGES
from deconvnet_cli.errors import DeviceError, UsageError
from deconvnet_cli.explain import explained as explaining
from deconvnet_cli.explain.explanation import Explanation, explain, most_common
from deconvnet_cli.explain.merge_observer import NO_BOX, MergeObserver
from deconvnet_cli.segmentation.crops import cut
from deconvnet_cli.segmentation.inference import logits_of, whole_photo_views
from deconvnet_cli.segmentation.merge import Canvas
from deconvnet_cli.segmentation.segment import infer, segment
from deconvnet_cli.segmentation.settings import ProposalSettings, SegmentOptions, SegmentSettings
from deconvnet_cli.segmentation.system import System, choose_system
from deconvnet_cli.weights.files import load

BOXES = 6
# One crop at a time: among others a crop has other last digits, and equals could change places.
SETTINGS = SegmentSettings(BOXES, boxes=ProposalSettings(min_side=60.0), batch_size=1)


def nets_of(path: Path, precision: str = "fp32") -> System:
    return System(load(str(path))).ready(torch.device("cpu"), precision)


def told(photo: Image.Image, system: System, rule: str, boxes: list[Any]) -> list[np.ndarray]:
    """What each box says of each pixel, C x h x w, NaN outside of it: cut, run and put back."""
    weights = system.deconvnet
    assert weights is not None
    convention, said = weights.card.input, []
    for x0, y0, x1, y1 in boxes:
        if convention.whole and (x0, y0, x1, y1) == (0, 0, *photo.size):
            views = list(whole_photo_views(photo, weights))
        else:
            crop = cut(photo, (x0, y0, x1, y1), convention.size, convention.size)
            views = [logits_of(torch.tensor(crop).permute(2, 0, 1)[None], weights)[0]]
        for view in views:
            values = view if rule == "max" else view.softmax(0)
            back = F.interpolate(values[None], (y1 - y0, x1 - x0), mode="bilinear", antialias=True)
            canvas = np.full((21, 3 * photo.height, 3 * photo.width), np.nan, np.float32)
            top, left = photo.height + y0, photo.width + x0
            canvas[:, top : top + y1 - y0, left : left + x1 - x0] = back[0].numpy()
            inside = canvas[:, photo.height : 2 * photo.height, photo.width : 2 * photo.width]
            if len(said) and views[0] is not view:
                said[-1] = np.fmax(said[-1], inside)  # the mirror image is the same box
            else:
                said.append(inside)
    return said


@torch.inference_mode()
@pytest.mark.parametrize("rule", MERGES)
def test_deciding_boxes_are_those_that_say_the_most(lively_weights, photo, rule):
    system = nets_of(lively_weights)
    found = explain(photo, system, replace(SETTINGS, merge=rule))
    said = np.stack(told(photo, system, rule, list(found.boxes)))
    assert len(said) == len(found.boxes) == BOXES
    rows, columns = np.indices(found.before.shape)
    of_label = np.nan_to_num(said[:, found.before, rows, columns], nan=-np.inf)
    expected = of_label.argmax(0)  # the first of equals
    expected[of_label.max(0) <= 0] = NO_BOX
    assert np.array_equal(found.decided, expected)
    assert len(np.unique(expected)) > 2
    if rule in ("max", "max-probability"):  # then the map is nothing but what the deciders said
        merged = np.fmax(np.nanmax(said, axis=0), 0)
        assert np.array_equal(found.maps.merged().numpy(), merged)


@torch.inference_mode()
def test_deciding_boxes_with_a_whole_photo_run_twice(lively_mobile, photo):
    system = nets_of(lively_mobile)
    found = explain(photo, system, replace(SETTINGS, proposals=3))
    assert found.merge_rule == "context" and len(found.boxes) == 3
    said = np.stack(told(photo, system, "context", list(found.boxes)))
    rows, columns = np.indices(found.before.shape)
    of_label = np.nan_to_num(said[:, found.before, rows, columns], nan=-1)
    assert np.array_equal(found.decided, of_label.argmax(0))


def test_the_map_grows_as_with_fewer_proposals(lively_weights, photo):
    system = nets_of(lively_weights)
    found = explain(photo, system, SETTINGS)
    assert list(found.growth) == [1, 5, BOXES]
    for count, labels in found.growth.items():
        few = segment(photo, system, replace(SETTINGS, proposals=count))
        assert np.array_equal(labels, few.labels)
    assert (found.growth[1] != found.growth[5]).any()


def test_growth_of_a_whole_photo_has_its_mirror_image_too(lively_mobile, photo):
    system = nets_of(lively_mobile)
    found = explain(photo, system, replace(SETTINGS, proposals=2))
    alone = segment(photo, system, replace(SETTINGS, proposals=1))
    assert np.array_equal(found.growth[1], alone.labels)


@pytest.mark.parametrize("weights", ["lively_weights", "lively_mobile"])
def test_an_observer_changes_nothing(weights, photo, request):
    system = nets_of(request.getfixturevalue(weights))
    settings = replace(SETTINGS, proposals=3)
    plain, merge = infer(photo, system, settings), MergeObserver()
    watched = infer(photo, system, settings, merge)
    assert torch.equal(plain.maps.merged(), watched.maps.merged())
    assert len(merge.boxes) == plain.proposals == 3
    assert np.array_equal(explain(photo, system, settings).result.labels, segment_labels(plain))


def segment_labels(scored: Any) -> np.ndarray:
    return scored.maps.merged().argmax(0).numpy().astype(np.uint8)


def watched(scores: list[torch.Tensor], boxes: list[Any], rule: str = "max") -> MergeObserver:
    canvas, merge = Canvas(2, 4, 4, rule), MergeObserver()
    for number, (one, box) in enumerate(zip(scores, boxes, strict=True)):
        merge(number, box, canvas.add(one, box), canvas)
    merge.finish()
    return merge


def test_the_most_telling_box_by_hand():
    whole, left, right = (0, 0, 4, 4), (-1, 0, 1, 4), (1, 0, 5, 4)

    def plane(size: tuple[int, int], first: float, second: float) -> torch.Tensor:
        return torch.stack([torch.full(size, float(value)) for value in (first, second)])

    # Columns 2 to 4 go to the third box, column 1 to the second; the whole photo says less.
    said = [plane((4, 4), 0, 1), plane((4, 2), 0, 2), plane((4, 4), 0, 3)]
    merge = watched(said, [whole, left, right])
    labels = np.ones((4, 4), np.uint8)
    assert merge.deciding_boxes(labels).tolist() == [[1, 2, 2, 2]] * 4
    assert merge.main_box(1, labels) == 2
    labels[:, 1:] = 0  # nobody says more than 0 of class 0
    assert merge.deciding_boxes(labels).tolist() == [[1, -1, -1, -1]] * 4
    assert merge.main_box(1, labels) == 1
    # No pixel has class 1: the box with its greatest score.
    assert merge.main_box(1, np.zeros((4, 4), np.uint8)) == 2
    # The whole photo alone decided.
    strong = watched([plane((4, 4), 0, 9), said[1]], [whole, left])
    assert strong.main_box(1, np.ones((4, 4), np.uint8)) == 0
    # It decided most, but a proposal decided some.
    mixed = watched([plane((4, 4), 0, 1), said[1]], [whole, left])
    assert mixed.main_box(1, np.ones((4, 4), np.uint8)) == 1


def test_a_box_of_any_number_can_decide():
    canvas, merge = Canvas(2, 4, 4, "max"), MergeObserver()
    box = (0, 0, 4, 4)
    for number in (0, 40_000):
        merge(number, box, canvas.add(torch.full((2, 4, 4), 1.0 + number), box), canvas)
    merge.finish()
    assert merge.deciding_boxes(np.ones((4, 4), np.uint8)).tolist() == [[40_000] * 4] * 4


def test_what_the_observer_is_told_lies_inside_the_photo():
    canvas = Canvas(2, 4, 4, "max")
    assert canvas.add(torch.ones(2, 3, 3), (-1, 2, 2, 5)).values.shape == (2, 2, 2)
    assert canvas.add(torch.ones(2, 3, 3), (7, 7, 10, 10)).values.numel() == 0


def test_other_values_in_the_second_run_are_an_error(lively_weights, photo, monkeypatch):
    system = nets_of(lively_weights)
    assert explain(photo, system, SETTINGS).explained.deviation == 0
    among_others = explain(photo, system, replace(SETTINGS, batch_size=8)).explained
    assert among_others.deviation < 1e-4 * among_others.logits.max()
    rerun_box = explaining.rerun_box

    def off(*arguments: Any) -> Any:
        rerun = rerun_box(*arguments)
        return replace(rerun, views=tuple(view * 1.2 for view in rerun.views))

    monkeypatch.setattr(explaining, "rerun_box", off)
    with pytest.raises(DeviceError, match="different values for the same crop"):
        explain(photo, system, SETTINGS)


def test_a_photo_seen_at_several_sides_is_the_same_in_the_second_run(lively_mobile, photo):
    system = nets_of(lively_mobile)
    assert system.deconvnet is not None
    card = system.deconvnet.card
    card = replace(card, input=replace(card.input, further=(96, 208), coarse=()))
    several = replace(system, deconvnet=replace(system.deconvnet, card=card))
    alone = explain(photo, several, replace(SETTINGS, proposals=1)).explained
    assert alone.number == 0 and alone.pixels > 0 and alone.deviation == 0


def test_half_precision_is_within_the_tolerance(lively_weights, photo):
    found = explain(photo, nets_of(lively_weights, "bf16"), SETTINGS).explained
    assert found.deviation <= explaining.TOLERANCE * found.logits.max()


def test_which_class_is_explained(lively_weights, photo):
    system = nets_of(lively_weights)
    found = explain(photo, system, SETTINGS)
    counts = np.bincount(found.before.ravel(), minlength=21)
    assert found.explained.label == 1 + counts[1:].argmax()
    assert found.present[0] == counts.argmax() and set(found.present) == set(np.flatnonzero(counts))
    absent = system.classes[int(counts.argmin())]
    assert explain(photo, system, SETTINGS, class_name=absent).explained.pixels == counts.min()
    with pytest.raises(UsageError, match=r"--class: no class is called 'hors'; did you mean horse"):
        explain(photo, system, SETTINGS, class_name="hors")


def test_background_is_explained_only_where_there_is_nothing_else():
    assert most_common(np.array([[0, 0, 0, 0], [2, 3, 3, 2], [0, 3, 0, 0]], np.uint8)) == 3
    assert most_common(np.zeros((2, 2), np.uint8)) == 0


def test_the_crf_of_the_figure_is_there_without_its_option(lively_weights, photo):
    found = explain(photo, nets_of(lively_weights), SETTINGS)
    assert np.array_equal(found.result.labels, found.before)
    assert (found.before != found.after).any()


def test_systems_are_named(both, photo):
    system = choose_system(SegmentOptions("edeconvnet", str(both[1]), str(both[5])))
    found: Explanation = explain(photo, system, SETTINGS)
    assert found.system == "edeconvnet"
    # The map of both nets, not of DeconvNet alone, is what is shown and refined.
    assert (found.before != found.growth[BOXES]).any()
    mean = explain(photo, system, replace(SETTINGS, merge="max"))
    assert not mean.maps.raw  # the mean is of probabilities, whatever the merge rule
    torch.testing.assert_close(mean.maps.merged(), mean.maps.probabilities())
