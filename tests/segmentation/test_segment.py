"""The whole way of one photo: sizes, bands, batches and the CRF."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from deconvnet_cli.choices import DEFAULT, MERGES
from deconvnet_cli.data.images import read_photo
from deconvnet_cli.segmentation.inference import CHECK_EVERY, SETTLED
from deconvnet_cli.segmentation.labels import class_shares, enlarge_and_label
from deconvnet_cli.segmentation.merge import (
    CHANGEABLE,
    CONTEXT_MAX,
    Canvas,
    worth_a_crop,
)
from deconvnet_cli.segmentation.score_maps import Ensemble, ScoreMaps
from deconvnet_cli.segmentation.segment import (
    Inferred,
    infer,
    label_photo,
    refined,
    segment,
)
from deconvnet_cli.segmentation.settings import CrfSettings, ProposalSettings, SegmentSettings
from deconvnet_cli.segmentation.system import System, alone
from deconvnet_cli.segmentation.working_copy import working_copy
from deconvnet_cli.weights.files import load

FEW = 3


@pytest.fixture(scope="module")
def shipped() -> System:
    """The shipped net as it is."""
    return alone(load(DEFAULT))


@pytest.fixture(scope="module")
def small() -> System:
    """The shipped net, prepared, which is shown small crops and a small whole photo."""
    weights = load(DEFAULT)
    card = replace(
        weights.card, input=replace(weights.card.input, size=128, whole=128, further=(), coarse=())
    )
    return alone(replace(weights, card=card)).ready(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def cat_labels(data, shipped) -> np.ndarray:
    """The labels that the shipped net gives the cat, by few boxes."""
    return segment(read_photo(data / "chelsea.jpg"), shipped, SegmentSettings(FEW)).labels


def test_bands_are_the_whole_enlarged_at_once():
    torch.manual_seed(0)
    merged = torch.randn(5, 20, 30)
    whole = F.interpolate(merged[None], size=(700, 90), mode="bilinear", align_corners=False)[0]
    labels = enlarge_and_label(merged, 90, 700)
    assert labels.shape == (700, 90)
    assert (labels == whole.argmax(0).numpy()).mean() > 0.9999
    assert np.array_equal(enlarge_and_label(merged, 30, 20), merged.argmax(0).numpy())


def test_large_photos_are_worked_on_smaller():
    assert working_copy(Image.new("RGB", (3000, 2000)), 1024).size == (1024, 683)
    assert working_copy(Image.new("RGB", (9000, 1)), 1024).size == (4096, 1)
    small = Image.new("RGB", (1024, 10))
    assert working_copy(small, 1024) is small


def test_half_the_working_size_gives_much_the_same_labels(data, shipped, cat_labels):
    photo = read_photo(data / "chelsea.jpg")
    half = segment(photo, shipped, SegmentSettings(FEW, max_side=226)).labels
    assert cat_labels.shape == half.shape == (300, 451)
    assert (cat_labels == half).mean() > 0.85


def test_a_panorama_has_the_labels_of_its_parts(data, shipped, cat_labels):
    cat = np.asarray(read_photo(data / "chelsea.jpg"))
    panorama = Image.fromarray(np.concatenate([cat] * 7, axis=1))
    labels = segment(panorama, shipped, SegmentSettings(FEW)).labels
    assert (labels == np.concatenate([cat_labels] * 7, axis=1)).mean() > 0.9


def test_crf_takes_its_turn(data, small):
    photo = read_photo(data / "chelsea.jpg").resize((150, 100))
    plain = segment(photo, small, SegmentSettings(FEW))
    smoothed = segment(photo, small, SegmentSettings(FEW, crf=CrfSettings()))
    assert "crf" in smoothed.ms and "crf" not in plain.ms
    assert 0.8 < (plain.labels == smoothed.labels).mean() < 1


def test_shares_by_hand():
    labels = np.array([[0, 0, 2], [2, 2, 1]], np.uint8)
    shares = class_shares(labels, ("a", "b", "c", "d"))
    assert list(shares.items()) == [("c", 0.5), ("a", 0.3333), ("b", 0.1667)]


@pytest.mark.slow
def test_auto_stops_once_labels_are_settled_and_not_before(data, small):
    """On a flat photo nothing changes for long; on a cat the first boxes do."""
    boxes = ProposalSettings(min_side=0.0)
    many = SegmentSettings(24, boxes=boxes, until_settled=True, merge="mean-probability")
    flat = Image.new("RGB", (96, 96), (90, 120, 60))
    flat.paste((200, 30, 30), (10, 10, 40, 40))
    flat.paste((30, 30, 200), (50, 50, 90, 90))
    stopped = infer(flat, small, many)
    everything = infer(flat, small, replace(many, until_settled=False))
    assert CHECK_EVERY < stopped.proposals < everything.proposals
    photo = read_photo(data / "chelsea.jpg").resize((150, 100))
    stopped = segment(photo, small, many)
    assert stopped.proposals % CHECK_EVERY == 1  # the whole photo, then so many at a time
    first = segment(photo, small, replace(many, proposals=stopped.proposals, until_settled=False))
    assert np.array_equal(stopped.labels, first.labels)  # nothing but fewer boxes
    before = replace(many, proposals=stopped.proposals - CHECK_EVERY, until_settled=False)
    changed = segment(photo, small, before).labels != stopped.labels
    assert changed[::4, ::4].mean() < SETTLED


@pytest.mark.parametrize("rule", [name for name, rule in MERGES.items() if rule.whole])
def test_no_crop_can_overturn_what_is_settled(rule):
    """Crops as contrary as can be, against the labels of the whole photo alone."""
    torch.manual_seed(0)
    canvas = Canvas(3, 24, 32, rule)
    assert canvas.can_change().all()  # nothing is known yet
    whole = 2 * F.interpolate(torch.randn(1, 3, 6, 8), size=(24, 32), mode="bilinear")[0]
    canvas.add(whole, (0, 0, 32, 24))
    open_pixels, before = canvas.can_change(), canvas.merged_map().argmax(0)
    assert 0.1 < open_pixels.float().mean() < 0.9
    changed = torch.zeros_like(open_pixels)
    for label in range(3):
        contrary = Canvas(3, 24, 32, rule)
        contrary.add(whole, (0, 0, 32, 24))
        sure = torch.full((3, 25, 33), -50.0)
        sure[label] = 50
        contrary.add(sure, (0, 0, 33, 25))
        changed |= contrary.merged_map().argmax(0) != before
    assert torch.equal(changed, open_pixels)


def test_boxes_with_few_undecided_pixels_are_skipped(monkeypatch):
    canvas = Canvas(2, 20, 20, "context")
    few = torch.zeros(20, 20, dtype=torch.bool)
    few[:, 10:12] = True
    monkeypatch.setattr(canvas, "can_change", lambda step: few[::step, ::step])
    boxes = [[0, 0, 20, 20], [0, 0, 9, 20], [0, 0, 30, 30], [11, 0, 22, 5], [30, 0, 40, 9]]
    least = [0.1, 0, 0.1, 1 / 5, 0]  # only what is inside the photo counts
    found = worth_a_crop(canvas, np.array(boxes, np.int32)).tolist()
    assert found == [share >= CHANGEABLE for share in least]
    assert worth_a_crop(canvas, np.empty((0, 4), np.int32)).tolist() == []


@pytest.mark.parametrize("undecided", [0, 1])
def test_a_box_in_the_half_of_a_tall_photo_that_is_decided_is_skipped(undecided):
    logits = torch.zeros(2, 40, 8)
    logits[0] = 9
    logits[:, 20 * undecided : 20 * undecided + 20] = 0
    canvas = Canvas(2, 40, 8, "context")
    canvas.add(logits, (0, 0, 8, 40))
    halves = np.array([[0, 0, 8, 20], [0, 20, 8, 40]], np.int32)
    assert worth_a_crop(canvas, halves).tolist() == [undecided == 0, undecided == 1]


@pytest.mark.parametrize("first, expected", [(0.7, False), (0.6, True)])
def test_two_views_of_the_whole_photo_can_be_overturned_as_one_can(first, expected):
    """The second class reaches at most 0.5 + 0.5 (1 - p), the first keeps p: equal at p = 2/3."""
    canvas = Canvas(2, 1, 1, CONTEXT_MAX)
    for _ in range(2):
        canvas.add(torch.tensor([first, 1 - first]).log().view(2, 1, 1), (0, 0, 1, 1))
    assert canvas.can_change().item() is expected


@pytest.mark.slow
def test_auto_skips_boxes_and_nothing_else(data, small):
    photo = read_photo(data / "chelsea.jpg").resize((150, 100))
    some = infer(photo, small, SegmentSettings(8, until_settled=True))
    every = infer(photo, small, SegmentSettings(8))
    assert 1 <= some.proposals == len(some.boxes) < every.proposals
    again = infer(photo, small, SegmentSettings(8), boxes=some.boxes)
    for left, right in ((some, again), (some, every)):
        labels = [found.maps.merged().argmax(0) for found in (left, right)]
        assert (labels[0] == labels[1]).float().mean() > (0.9999 if right is again else 0.95)


def test_a_prepared_net_in_half_precision_gives_nearly_the_same_labels(data, shipped, cat_labels):
    photo = read_photo(data / "chelsea.jpg")
    cpu = torch.device("cpu")
    exact = segment(photo, shipped.ready(cpu, "fp32"), SegmentSettings(FEW)).labels
    quick = segment(photo, shipped.ready(cpu, "bf16"), SegmentSettings(FEW)).labels
    assert (cat_labels == exact).mean() > 0.9999
    assert (cat_labels == quick).mean() > 0.98  # of few boxes; more agree on photos of val


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("ensemble", [Ensemble(), Ensemble("product")])
def test_confidence_is_the_mean_probability_of_the_winner(raw, ensemble):
    """Against probabilities of ``ScoreMaps``, pixel by pixel; a product may leave none."""
    generator = torch.Generator().manual_seed(1)
    deconvnet, fcn = (torch.randn(4, 6, 9, generator=generator) for _ in range(2))
    if not raw:
        deconvnet, fcn = deconvnet.softmax(0), fcn.softmax(0)
        deconvnet[:, 2, 3] = 0
    maps = ScoreMaps(deconvnet, fcn, raw)
    scored = Inferred(Image.new("RGB", (9, 6)), maps, 1, {})
    found = label_photo(scored, (9, 6), ensemble, None)
    probabilities = maps.probabilities(ensemble).numpy()
    assert set(found.confidence) == set(found.labels.ravel().tolist()) and len(found.confidence) > 2
    larger = label_photo(scored, (18, 12), ensemble, None)
    assert larger.confidence == pytest.approx(found.confidence)  # of the size that was worked on
    for label, mean in found.confidence.items():
        values = [probabilities[label, y, x] for y, x in np.argwhere(found.labels == label)]
        assert mean == pytest.approx(sum(values) / len(values), abs=1e-5)


def test_confidence_after_the_crf_is_that_of_its_map(data, small):
    photo = read_photo(data / "chelsea.jpg").resize((60, 40))
    scored = infer(photo, small, SegmentSettings(FEW))
    found = label_photo(scored, (60, 40), Ensemble(), CrfSettings())
    best = refined(scored.photo, scored.maps, CrfSettings()).merged().numpy().max(0)
    for label, mean in found.confidence.items():
        assert mean == pytest.approx(best[found.labels == label].mean(), abs=1e-4)
