"""Classes of one's own, from training to every use of the weights, on shapes drawn by code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.command_line import one_error_line, run_cli
from helpers.shapes import CLASSES, drawn, shapes_tree
from PIL import Image

from deconvnet_cli.api import Segmenter
from deconvnet_cli.data.colours import palette_for
from deconvnet_cli.data.label_png import label_png
from deconvnet_cli.data.voc import CLASSES as VOC
from deconvnet_cli.evaluation.counts import read_tallies
from deconvnet_cli.nets.registry import build_net, net_settings
from deconvnet_cli.training.settings_toml import read_settings
from deconvnet_cli.training.soft_labels import SoftLabels, write_soft
from deconvnet_cli.weights.card import card_for
from deconvnet_cli.weights.files import load, read_card, store

NARROW = {
    "head": 16, "bridge": (16, 64), "decode4": (16, 32), "decode3": (24,), "decode2": (32,)
}  # fmt: skip
QUICK = (
    "--batch-size", "2", "--size", "64", "--device", "cpu", "--no-frozen", "--cache",
    "none", "--set", "precision = 'fp32'", "--set", "log_every = 1", "--set", "statistics = 1",
)  # fmt: skip
ANEW = ("head.logits.", "score.")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shapes_tree(tmp_path_factory.mktemp("shapes") / "tree", train=6, val=2)


@pytest.fixture(scope="module")
def voc_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow default net of VOC's classes."""
    torch.manual_seed(1)
    net = build_net("deconvnet-mobilenet", NARROW)
    path = tmp_path_factory.mktemp("start") / "voc.safetensors"
    store(path, net, card_for("deconvnet-mobilenet", net_settings(net)), half=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tree: Path, voc_net: Path) -> Path:
    """A run of a few steps on the shapes, from the net of VOC's classes."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    made = train(tree, folder, "--from", voc_net, "--crops", 4, "--val-split", "val")
    assert made.exit_code == 0, made.output
    assert "\nhead.logits, score start anew for 4 classes (background, disc," in made.stderr
    return folder


@pytest.fixture(scope="module")
def weights(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its weights, with logits that say every class somewhere."""
    loaded = load(str(run / "weights.safetensors"))
    torch.manual_seed(2)
    with torch.no_grad():
        for layer in (loaded.net.head.logits, loaded.net.score):
            layer.weight.normal_(0, 3)
            layer.bias.zero_()
    path = tmp_path_factory.mktemp("lively") / "own.safetensors"
    store(path, loaded.net, loaded.card)
    return path


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    drawn(99)[0].save(path)
    return path


def train(tree: Path, run: Path, *more: object):
    return run_cli("train", "--voc-root", tree, "--out", run, *QUICK, *more)


def segmenter(weights: Path) -> Segmenter:
    return Segmenter.load(weights, proposals=3, device="cpu", precision="fp32")


def test_settings_and_card_have_the_classes(run: Path):
    assert read_settings(run / "settings.toml")["classes"] == list(CLASSES)
    loaded = load(str(run / "weights.safetensors"))
    assert loaded.card.classes == CLASSES and net_settings(loaded.net)["classes"] == 4


def test_label_png_overlay_and_polygons_have_names_and_colours(weights, photo, tmp_path: Path):
    out = tmp_path / "labels.png"
    made = run_cli(
        "segment", photo, "-o", out, "--weights", weights, "--proposals", 3, "--overlay", "--json",
        "--polygons", "coco", "--quiet", "--precision", "fp32", "--device", "cpu",
        "--min-area", 0,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    with Image.open(out) as image:
        labels = np.array(image)
        found = np.reshape(image.getpalette(), (-1, 3))
    assert labels.max() < len(CLASSES) and len(np.unique(labels)) > 1
    assert np.array_equal(found, palette_for(CLASSES)[: len(found)])
    shares = json.loads(made.stdout)["classes"]
    assert set(shares) == {CLASSES[label] for label in np.unique(labels)}
    coco = json.loads((tmp_path / "labels.coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == list(CLASSES[1:])
    result = segmenter(weights).segment(photo)
    assert result.classes == CLASSES and np.array_equal(result.labels, labels)
    with Image.open(tmp_path / "labels.overlay.png") as overlay:
        assert np.array_equal(np.array(overlay), np.array(result.overlay(min_area=0)))
    wrong = run_cli("segment", photo, "-o", out, "--weights", weights, "--cutout", "--only", "cat")
    one_error_line(wrong, 2, "'cat'", "disc, square, triangle")


def test_evaluate_counts_these_classes_and_no_others(weights, tree: Path, voc, tmp_path: Path):
    quick = ("--weights", weights, "--proposals", 2, "--device", "cpu", "--json", "--quiet")
    counts = tmp_path / "counts.json"
    page = tmp_path / "page.html"
    made = run_cli("evaluate", "--voc-root", tree, *quick, "-o", counts, "--report", page)
    assert made.exit_code == 0, made.output
    line = json.loads(made.stdout)
    assert list(line["iou"]) == list(CLASSES) and line["reported"] is None
    assert read_tallies(counts).classes == CLASSES
    assert "triangle" in (text := page.read_text()) and "tvmonitor" not in text
    again = run_cli("evaluate", "--merge", counts, "--json", "--quiet")
    assert json.loads(again.stdout)["iou"] == line["iou"]
    other = run_cli("evaluate", "--voc-root", voc, *quick)
    one_error_line(other, 1, str(weights), "4 classes", "21 classes", "'disc'", "'aeroplane'")
    table = run_cli("evaluate", "--voc-root", tree, "--table", "--json", "--quiet")
    one_error_line(table, 2, "--table", "VOC's classes")


def test_label_pngs_of_these_classes_are_evaluated(tree: Path, tmp_path: Path):
    for name in ("s6", "s7"):
        path = tmp_path / f"{name}.png"
        path.write_bytes((tree / "SegmentationClass" / f"{name}.png").read_bytes())
    made = run_cli("evaluate", "--voc-root", tree, "--predictions", tmp_path, "--json", "--quiet")
    assert json.loads(made.stdout)["mean_iou"] == 1
    path.write_bytes(label_png(np.full(drawn(7)[1].shape, 4, np.uint8)))
    wrong = run_cli("evaluate", "--voc-root", tree, "--predictions", tmp_path)
    one_error_line(wrong, 1, "s7.png", "label 4", "0..3")


def test_stored_scores_know_their_classes(weights, tree: Path, voc, tmp_path: Path):
    out = tmp_path / "out"
    made = run_cli(
        "batch", tree / "JPEGImages" / "s6.jpg", tree / "JPEGImages" / "s7.jpg", "-o", out,
        "--weights", weights, "--proposals", 2, "--save-scores", "--workers", 1, "--device", "cpu",
        "--quiet",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    same = run_cli("evaluate", "--voc-root", tree, "--scores", out, "--json", "--quiet")
    assert list(json.loads(same.stdout)["iou"]) == list(CLASSES)
    refined = run_cli("crf", out, "-o", tmp_path / "crf", "--quiet")
    assert refined.exit_code == 0, refined.output
    with Image.open(tmp_path / "crf" / "s6.png") as image:
        colours = np.reshape(image.getpalette(), (-1, 3))
    assert np.array_equal(colours, palette_for(CLASSES)[: len(colours)])
    for name in ("p0", "p1"):
        (out / f"{name}.npz").write_bytes((out / "s6.npz").read_bytes())
    other = run_cli("evaluate", "--voc-root", voc, "--split", "first", "--scores", out)
    one_error_line(other, 1, "p0.npz", "4 classes", "21 classes")


def test_explain_and_its_page(weights, photo, tmp_path: Path):
    made = run_cli(
        "explain", photo, "-o", tmp_path / "why", "--weights", weights, "--proposals", 3,
        "--class", "square", "--json", "--quiet", "--device", "cpu", "--precision", "fp32",
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["explained"] == "square"
    text = (tmp_path / "why" / "index.html").read_text()
    assert "logits of square" in text and "tvmonitor" not in text


def test_the_server_says_names_and_colours(weights, photo):
    from helpers.serving import servers

    loaded = segmenter(weights)
    with servers(loaded.system, loaded.settings) as start:
        client = start()
        about = client.get("/about").json()["classes"]
        labels = client.post("/segment", content=photo.read_bytes())
    assert [each["name"] for each in about] == list(CLASSES)
    colours = [f"#{bytes(colour).hex()}" for colour in palette_for(CLASSES)[: len(CLASSES)]]
    assert [each["colour"] for each in about] == colours
    assert labels.content == label_png(loaded.segment(photo).labels, CLASSES)


def test_what_depends_on_the_classes_starts_anew_and_the_rest_is_kept(voc_net: Path):
    from deconvnet_cli.training.settings import TrainSettings
    from deconvnet_cli.training.start import is_pretrained, net_at_start

    told: list[str] = []
    before = load(str(voc_net)).net.state_dict()
    own = TrainSettings(classes=CLASSES, frozen=True)
    first, second = (
        net_at_start(own, None, str(voc_net), list, tell=told.append) for _ in range(2)
    )
    for name, value in first.state_dict().items():
        anew = name.startswith(ANEW)
        assert torch.equal(value, second.state_dict()[name]), name  # seeded
        assert (len(value) == 4) if anew else torch.equal(value, before[name]), name
        if name.startswith("head."):
            assert is_pretrained(first, name, own) != anew
    assert len(told) == 2
    same = net_at_start(TrainSettings(), None, str(voc_net), list, tell=told.append)
    assert all(torch.equal(value, before[name]) for name, value in same.state_dict().items())
    assert len(told) == 2
    # As many classes as before, but others, start anew as well.
    others = (*VOC[:-1], "television")
    renamed = net_at_start(TrainSettings(classes=others), None, str(voc_net), list)
    assert not torch.equal(renamed.state_dict()["score.weight"], before["score.weight"])
    assert torch.equal(renamed.state_dict()["bridge.0.0.weight"], before["bridge.0.0.weight"])


@pytest.mark.parametrize(("name", "layers"), [
    ("deconvnet-vgg16", ("seg_score_voc",)),
    ("deconvnet-mobilenet", ("head.logits", "score")),
    ("fcn8s-mobilenet", ("head.logits", "skip16.1", "skip8.1")),
    (
        "fcn8s",
        ("score_fr", "score_pool4", "score_pool3", "upscore2", "upscore_pool4", "upscore8"),
    ),
])  # fmt: skip
def test_the_layers_that_depend_on_the_classes(name: str, layers: tuple[str, ...]):
    from deconvnet_cli.training.start import class_layers

    assert class_layers(name, {}) == layers


def test_a_run_goes_on_and_starts_from_its_own_classes(run: Path, tree: Path, tmp_path: Path):
    more = train(tree, tmp_path / "more", "--from", run / "weights.safetensors", "--crops", 2)
    assert more.exit_code == 0 and "anew" not in more.stderr
    assert read_card(tmp_path / "more" / "weights.safetensors").classes == CLASSES


def test_a_quiet_run_says_nothing_of_its_start(tree: Path, voc_net: Path, tmp_path: Path):
    made = train(tree, tmp_path / "run", "--from", voc_net, "--crops", 2, "--quiet")
    assert made.exit_code == 0 and made.stderr == ""


def test_a_run_keeps_how_its_start_is_shown_photos(tree: Path, voc_net: Path, tmp_path: Path):
    """The views of the whole photo, the merge rule and the boxes; but crops of its own size."""
    given = load(str(voc_net))
    shown = replace(given.card.input, whole=608, coarse=(928,))
    card = replace(given.card, input=shown, merge="mean-probability", proposals=7)
    store(tmp_path / "start.safetensors", given.net, card, half=False)
    made = train(tree, tmp_path / "run", "--from", tmp_path / "start.safetensors", "--crops", 2)
    assert made.exit_code == 0, made.output
    found = read_card(tmp_path / "run" / "weights.safetensors")
    assert found.input == replace(shown, size=64)
    assert (found.merge, found.proposals) == ("mean-probability", 7)


def test_wrong_masks_names_and_soft_labels_end_a_run_before_it_begins(tmp_path: Path, voc_net):
    tree = shapes_tree(tmp_path / "tree", train=2, val=1)
    start = ("--from", voc_net, "--crops", 2)
    (tmp_path / "soft").mkdir()
    for name in ("s0", "s1"):
        write_soft(tmp_path / "soft" / f"{name}.npz", SoftLabels(np.zeros((21, 9, 9), np.uint8)))
    taught = train(tree, tmp_path / "run", *start, "--teacher", tmp_path / "soft")
    last = taught.stderr.splitlines()[-1]
    assert taught.exit_code == 1 and "s0.npz: soft labels of 21 classes (background, aero" in last
    number = train(tree, tmp_path / "run", *start, "--set", "net_settings = '{\"classes\": 9}'")
    one_error_line(number, 2, "classes = 9", "4 classes")
    mask = tree / "SegmentationClass" / "s1.png"
    mask.write_bytes(label_png(np.full(drawn(1)[1].shape, 7, np.uint8)))
    labelled = train(tree, tmp_path / "run", *start)
    one_error_line(labelled, 1, "s1.png", "label 7", "0..3", "classes.txt")
    names = tmp_path / "names.txt"
    names.write_text("disc\ndisc\n")
    twice = train(tree, tmp_path / "run", *start, "--classes", names)
    one_error_line(twice, 1, "names.txt", "'disc' is named twice")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_classes_of_a_file_count_more_than_the_trees(tmp_path: Path, tree: Path, voc_net: Path):
    names = tmp_path / "names.txt"
    names.write_text("rund\neckig\nspitz\n")
    made = train(tree, tmp_path / "run", "--from", voc_net, "--crops", 2, "--classes", names)
    assert made.exit_code == 0, made.output
    card = read_card(tmp_path / "run" / "weights.safetensors")
    assert card.classes == ("background", "rund", "eckig", "spitz")


def test_two_nets_of_other_classes_are_no_ensemble(weights, tiny_fcn, photo, tmp_path: Path):
    made = run_cli(
        "segment", photo, "-o", tmp_path / "out.png", "--net", "edeconvnet", "--weights", weights,
        "--fcn-weights", tiny_fcn, "--quiet",
    )  # fmt: skip
    one_error_line(made, 2, "4 classes", "21 classes", "ensemble")
