"""A begun run: it can be prolonged, and goes on only from what it was begun from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.shapes import shapes_tree

from deconvnet_cli.data.objects import find_objects
from deconvnet_cli.data.voc import open_tree
from deconvnet_cli.errors import UsageError
from deconvnet_cli.nets.registry import build_net, net_spec
from deconvnet_cli.training.loop import Hooks, train
from deconvnet_cli.training.optimiser import learning_rate
from deconvnet_cli.training.origin import FILE, check_origin, origin_of, write_origin
from deconvnet_cli.training.photo_store import PhotoFiles
from deconvnet_cli.training.run_folder import Progress, check_settings, prepare_run, read_log
from deconvnet_cli.training.samples import CropDataset
from deconvnet_cli.training.settings import TrainSettings
from deconvnet_cli.training.weights_of_run import how_it_ended

CPU = torch.device("cpu")
NARROW = {"head": 16, "bridge": [16, 64], "decode4": [16, 32], "decode3": [24], "decode2": [32]}
SHORT = TrainSettings(crops=8, batch=2, warmup=1, precision="fp32", log_every=1)
LONG = replace(SHORT, crops=16)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return shapes_tree(tmp_path / "tree", train=2, val=1, size=(48, 40))


def trained(run: Path, settings: TrainSettings, tree: Path, hooks: Hooks = Hooks()):
    opened = open_tree(tree)
    how = TrainSettings(size=32, whole=1.0, colour=0)
    crops = CropDataset(PhotoFiles(opened), find_objects(opened, ["s0", "s1"]), 99, 0, how)
    prepare_run(run, settings)
    torch.manual_seed(0)
    net = build_net("deconvnet-mobilenet", NARROW | {"classes": 4})
    train(net, crops, net_spec(settings.net).input, run, settings, device=CPU, hooks=hooks)
    return net.state_dict()


def test_prolonged_it_ends_as_one_run_of_that_length(tmp_path: Path, tree: Path):
    """With a schedule that does not depend on the end, both are the same."""
    changes = {"schedule": "step", "lr_step": 999, "log_every": 3}
    short, long = (replace(each, **changes) for each in (SHORT, LONG))
    straight = trained(tmp_path / "straight", long, tree)
    trained(tmp_path / "run", short, tree)
    prolonged = trained(tmp_path / "run", long, tree)
    assert all(torch.equal(value, prolonged[name]) for name, value in straight.items())
    logs = [read_log(tmp_path / name) for name in ("straight", "run")]
    straight_losses, losses = ({line["step"]: line["loss"] for line in log} for log in logs)
    del losses[4]  # the end of the short run
    assert losses == straight_losses and list(losses) == [3, 6, 8]


def test_the_schedule_follows_the_new_end(tmp_path: Path, tree: Path):
    trained(tmp_path / "run", SHORT, tree)
    trained(tmp_path / "run", LONG, tree)
    rates = [line["lr"] for line in read_log(tmp_path / "run")]
    of_short, of_long = (
        [settings.lr * learning_rate(step, settings) for step in range(8)]
        for settings in (SHORT, LONG)
    )
    assert rates == pytest.approx([*of_short[:4], *of_long[4:]])
    assert rates[4] > rates[3]
    steps: list[int] = []
    hooks = Hooks(on_step=lambda step, loss: steps.append(step))
    trained(tmp_path / "run", LONG, tree, hooks)
    assert steps == []  # it is complete


def test_when_a_run_is_complete():
    ended = Progress(step=3, finished=True, planned=4)  # by patience
    settings = replace(SHORT, val_list="val", patience=1)
    assert ended.is_complete(settings) and not ended.is_complete(replace(settings, crops=16))
    assert not replace(ended, finished=False).is_complete(settings)
    before = Progress(step=4, finished=True)  # an older checkpoint
    assert before.is_complete(SHORT) and not before.is_complete(LONG)


def test_what_is_said_of_the_end(tmp_path: Path):
    settings = replace(SHORT, val_list="val", patience=2)
    stopped = Progress(step=3, best=0.5, best_step=1, finished=True)
    why, which = how_it_ended(tmp_path, stopped, settings, "best")
    assert "step 3 of 4" in why and "2 validations" in why
    assert which.endswith("the best weights, of step 1, mean IoU 0.5")
    (line,) = how_it_ended(tmp_path, replace(stopped, step=4), settings, "average")
    assert "has the average weights" in line and "step 1, mean IoU 0.5, are not there" in line
    assert how_it_ended(tmp_path, Progress(step=4), SHORT, "last") == []


def test_crops_grow_and_never_shrink(tmp_path: Path):
    prepare_run(tmp_path, SHORT)
    check_settings(tmp_path, LONG)
    prepare_run(tmp_path, LONG)
    with pytest.raises(UsageError, match=r"crops = 8 is new.*more crops would prolong it"):
        check_settings(tmp_path, SHORT)


def test_settings_with_any_letters_are_read_back(tmp_path: Path):
    settings = replace(SHORT, classes=("background", "\U0001f600", "Straße"), teacher="a\udcff")
    prepare_run(tmp_path, replace(settings, teacher=""))
    check_settings(tmp_path, replace(settings, teacher=""))
    prepare_run(tmp_path / "odd", settings)  # a name that is not UTF-8: it is at least written


def test_a_run_goes_on_only_from_what_it_was_begun_from(tmp_path: Path, tree: Path):
    run, start = tmp_path / "run", tmp_path / "näme \U0001f600.safetensors"
    start.write_bytes(b"weights")
    run.mkdir()
    opened = open_tree(tree)
    origin = origin_of(opened, SHORT, None, str(start))
    check_origin(run, origin)  # a folder of before has none
    write_origin(run, origin)
    check_origin(run, origin)
    moved = tmp_path / "other.safetensors"
    start.rename(moved)
    check_origin(run, origin_of(opened, SHORT, None, str(moved)))

    def refused(words: str, **changed: object) -> None:
        given = {"tree": opened, "settings": SHORT, "init": None, "weights": str(moved)} | changed
        with pytest.raises(UsageError, match=words) as error:
            check_origin(run, origin_of(**given))
        assert FILE in str(error.value) and "another --out" in str(error.value)

    refused("--from .*now it is nothing", weights=None)
    refused("--init = nothing", init="torchvision")
    refused("--from = .*deconvnet-mobilenet", weights="deconvnet-mobilenet")
    other = shapes_tree(tmp_path / "else", train=2, val=1, size=(48, 40))
    refused("voc-root = .*if it was moved", tree=open_tree(other))
    moved.write_bytes(b"others")
    refused("--from")
    moved.write_bytes(b"weights")
    (tree / "ImageSets/Segmentation/train.txt").write_text("s1\ns0\n")  # samples are drawn by place
    refused("list train = 2 photos", tree=open_tree(tree))
