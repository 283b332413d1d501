"""Settings of a run: kept as TOML, checked, overridden in order."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers.command_line import one_error_line, run_cli

from deconvnet_cli.errors import UsageError
from deconvnet_cli.training.settings import TrainSettings, changed, default_settings
from deconvnet_cli.training.settings_checks import check_together
from deconvnet_cli.training.settings_toml import as_toml, parse_settings, read_settings
from deconvnet_cli.training.setup import collect_settings


def test_settings_are_read_back_as_they_were(tmp_path: Path):
    settings = replace(
        default_settings("deconvnet-vgg16", 2), lists=("train", "sbd"), lr=1e-5, teacher='a "b"'
    )
    (tmp_path / "s.toml").write_text(as_toml(asdict(settings)))
    assert changed(TrainSettings(), read_settings(tmp_path / "s.toml"), "s.toml") == settings


def test_the_papers_figures():
    one, two = (default_settings("deconvnet-vgg16", stage) for stage in (1, 2))
    for settings in (one, two):
        assert (settings.batch * settings.accumulate, settings.size, settings.resize) == (
            64,
            224,
            250,
        )
        assert (settings.lr, settings.momentum, settings.weight_decay) == (0.01, 0.9, 5e-4)
        assert settings.statistics == 500
        assert settings.balanced == 1  # "we maintain the balance ... across classes" (section 6.1)
    assert (one.lr_step, two.lr_step) == (9_000, 10_000)


def test_options_come_after_pairs_and_pairs_after_the_file(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text("lr = 0.5\nbatch = 6\nseed = 3\n")
    named = {"net": "deconvnet-mobilenet", "stage": None, "lr": 0.25, "crops": None, "lists": ()}
    settings = collect_settings(named, file, ("batch = 7", "colour = 0"))
    base = default_settings("deconvnet-mobilenet", 0)
    expected = replace(base, lr=0.25, batch=7, seed=3, colour=0.0)
    assert asdict(settings) == asdict(expected)


@pytest.mark.parametrize(
    ("pairs", "text", "net", "stage"),
    [
        ((), 'net = "deconvnet-vgg16"\nstage = 2', None, None),
        (('net = "deconvnet-vgg16"', "stage = 2"), 'net = "fcn8s"', None, None),
        ((), as_toml(asdict(default_settings("deconvnet-vgg16", 2))), None, None),
        (('net = "fcn8s"', "stage = 1"), "", "deconvnet-vgg16", 2),
    ],
    ids=["file", "pairs", "run folder", "options"],
)
def test_a_net_or_stage_that_is_named_gets_its_own_defaults(tmp_path, pairs, text, net, stage):
    (tmp_path / "s.toml").write_text(text)
    found = collect_settings({"net": net, "stage": stage}, tmp_path / "s.toml", pairs)
    assert found == default_settings("deconvnet-vgg16", 2)
    assert (found.lr_step, found.crops) == (10_000, 64 * 40_000)  # the paper's, by hand
    assert collect_settings({"net": "deconvnet-vgg16"}).stage == 1
    with pytest.raises(UsageError, match="--set net"):
        collect_settings({}, pairs=('net = "resnet"',))


def test_the_command_leaves_the_net_to_them(tmp_path: Path):
    made = run_cli(
        "train", "--voc-root", tmp_path, "--out", tmp_path / "run", "--set",
        "net = 'deconvnet-vgg16'", "--size", 96,
    )  # fmt: skip
    one_error_line(made, 2, "deconvnet-vgg16", "a multiple of 32, at least 224")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speed = 3", "no setting is called speed"),
        ("batch_size = 4", "no setting is called batch_size; did you mean batch"),
        ("lists = 'train'", "lists = 'train' is not of type list"),
        ("lr = 'fast'", "lr = 'fast' is not of type float"),
        ("batch = true", "batch = True is not of type int"),
        ("batch = 0", "batch must be above 0"),
        ("optimiser = 'adam'", "known: adamw, sgd"),
        ("schedule = 'step'", "needs lr_step"),
        ("resize = 100", "resize must be 0 or at least size"),
        ("crops = 3", "at least batch times accumulate"),
        ("lists = []", "name at least one image list"),
        ("size = 100", "deconvnet-mobilenet is shown crops whose size is a multiple of 16$"),
        ("net_settings = '{\"pools\": 5}'\nsize = 336", "a multiple of 32$"),
        ("net_settings = '{\"fc\": 5}'", "deconvnet-mobilenet has no setting called fc$"),
        ("net_settings = '{\"head\": 0}'", "x.toml: net_settings: .* above 0"),
        ("statistics = -1", "statistics must be at least 0"),
        ("weight_decay = -1", "weight_decay must be at least 0"),
        ("colour = -0.5", "colour must be 0 to 1"),
        ("balanced = 2", "balanced must be 0 to 1"),
        ("momentum = 1", "momentum must be at least 0 and below 1"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        settings = changed(TrainSettings(), parse_settings(text, "x.toml"), "x.toml")
        check_together(settings, "x.toml")


@pytest.mark.parametrize(
    ("text", "pairs", "named"),
    [
        ("crops = 4", (), {"batch": 2}),
        ("", ("crops = 4", "batch = 2"), {}),
        ("", ("schedule = 'step'", "lr_step = 5"), {}),
        ("", ("resize = 80", "size = 64"), {}),
        ("patience = 2", (), {"val_list": "val"}),
        ("", ("patience = 2",), {"val_list": "val"}),
        ("boxes = 'shown'", ("net = 'deconvnet-mobilenet'", "stage = 2"), {}),
    ],
)
def test_settings_may_fit_together_only_once_all_are_known(
    tmp_path: Path, text: str, pairs: tuple[str, ...], named: dict[str, object]
):
    file = tmp_path / "s.toml"
    file.write_text(text)
    settings = asdict(collect_settings(named, file, pairs))
    for part in (text, *pairs[-2:]):
        assert settings.items() >= parse_settings(part, "").items()


def test_settings_that_do_not_fit_are_named_with_all_their_sources(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text("crops = 4")
    with pytest.raises(UsageError, match=r"s\.toml, --set batch = 5, options: crops must be at"):
        collect_settings({"seed": 1}, file, ("batch = 5",))


@pytest.mark.parametrize(
    ("pair", "need", "cure"),
    [
        ("lr_step = 5", "schedule", "schedule = 'step'"),
        ("momentum = 0.5", "optimiser", "optimiser = 'sgd'"),
        ("pretrained_lr = 0.5", "--no-frozen", "frozen = false"),
        ("teacher_weight = 2", "--teacher", "teacher = 'soft'"),
        ("boxes = 'shown'", "--stage 2", "stage = 2"),
        ("val_every = 7", "--val-split", "val_list = 'val'"),
        ("val_images = 7", "--val-split", "val_list = 'val'"),
        ("val_boxes = 7", "--val-split", "val_list = 'val'"),
    ],
)
def test_a_setting_without_effect_is_refused(pair: str, need: str, cure: str, tmp_path: Path):
    name = pair.split()[0]
    with pytest.raises(UsageError, match=f"^{name} has no effect without .*{need}"):
        collect_settings({}, pairs=(pair,))
    collect_settings({}, pairs=(pair,), begun=True)  # by an earlier version
    collect_settings({}, pairs=(pair, cure))
    usual = f"{name} = {json.dumps(getattr(default_settings('deconvnet-mobilenet'), name))}"
    collect_settings({}, pairs=(usual,))
    file = tmp_path / "settings.toml"  # such a file has all settings
    file.write_text(pair)
    collect_settings({}, file)


def test_whole_photos_are_drawn_in_stage_0_and_beside_shown_boxes():
    for stage, more in ((0, ()), (2, ("boxes = 'shown'",))):
        collect_settings({"stage": stage}, pairs=("whole = 0.3", *more))
    for stage in (1, 2):
        with pytest.raises(UsageError, match="whole has no effect without"):
            collect_settings({"stage": stage}, pairs=("whole = 0.3",))


@pytest.mark.parametrize("net", ["deconvnet-mobilenet", "deconvnet-vgg16"])
def test_soft_labels_do_not_go_with_crops_of_one_class(net: str):
    taught = {"net": net, "teacher": "soft"}
    for stage in (0, 2):
        assert collect_settings({**taught, "stage": stage}).teacher == "soft"
    with pytest.raises(UsageError, match=r"stage 1 labels one class in each crop.* --teacher"):
        collect_settings({**taught, "stage": 1})


def test_a_folder_of_proposals_goes_with_stage_2(tmp_path: Path):
    made = run_cli(
        "train", "--voc-root", tmp_path, "--out", tmp_path / "run", "--proposal-cache", tmp_path
    )
    one_error_line(made, 2, "--proposal-cache goes with --stage 2")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path):
    (tmp_path / "x.toml").write_text("lr: 3")
    with pytest.raises(UsageError, match=r"x\.toml: not readable as TOML"):
        read_settings(tmp_path / "x.toml")
