"""Settings of a run: kept as TOML, checked, overridden in order."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from helpers.command_line import one_error_line, run_cli

from deconvnet_cli.errors import UsageError
from deconvnet_cli.training.settings import TrainSettings, changed, default_settings
from deconvnet_cli.training.settings_toml import as_toml, parse_settings, read_settings
from deconvnet_cli.training.setup import collect_settings

NOTHING = {"batch_size": None, "teacher": None, "lists": ()}


def test_settings_are_read_back_as_they_were(tmp_path: Path):
    settings = replace(
        default_settings("deconvnet-vgg16", 2), lists=("train", "sbd"), lr=1e-5, teacher='a "b"'
    )
    (tmp_path / "s.toml").write_text(as_toml(settings))
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
    assert (one.lr_step, two.lr_step) == (9_000, 10_000)


def test_options_come_after_pairs_and_pairs_after_the_file(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text("lr = 0.5\nbatch = 6\nseed = 3\n")
    named = {**NOTHING, "lr": 0.25, "crops": None}
    settings = collect_settings(
        "deconvnet-mobilenet", None, file, ("batch = 7", "colour = 0"), named
    )
    base = default_settings("deconvnet-mobilenet", 0)
    expected = replace(base, lr=0.25, batch=7, seed=3, colour=0.0)
    assert asdict(settings) == asdict(expected)


def test_stage_chooses_the_papers_schedule():
    settings = collect_settings("deconvnet-vgg16", 2, None, (), dict(NOTHING))
    assert (settings.stage, settings.steps) == (2, 40_000)
    assert collect_settings("deconvnet-vgg16", None, None, (), dict(NOTHING)).stage == 1


def test_the_net_of_the_file_or_a_pair_counts(tmp_path: Path):
    file = tmp_path / "s.toml"
    file.write_text(as_toml(default_settings("deconvnet-vgg16", 2)))
    assert collect_settings(None, None, file, (), NOTHING) == default_settings("deconvnet-vgg16", 2)
    pair = ("net = 'fcn8s'",)
    assert collect_settings(None, None, file, pair, NOTHING).net == "fcn8s"
    assert collect_settings("fcn8s-mobilenet", None, file, pair, NOTHING).net == "fcn8s-mobilenet"


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
        ("statistics = -1", "statistics must be at least 0"),
        ("weight_decay = -1", "weight_decay must be at least 0"),
        ("colour = -0.5", "colour must be 0 to 1"),
        ("balanced = 2", "balanced must be 0 to 1"),
        ("momentum = 1", "momentum must be at least 0 and below 1"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str):
    with pytest.raises(UsageError, match=message):
        changed(TrainSettings(), parse_settings(text, "x.toml"), "x.toml")


def test_a_file_that_is_not_toml_is_named(tmp_path: Path):
    (tmp_path / "x.toml").write_text("lr: 3")
    with pytest.raises(UsageError, match=r"x\.toml: not readable as TOML"):
        read_settings(tmp_path / "x.toml")
