"""The help of the commands: the commonest options first, each option once, one set of defaults."""

from __future__ import annotations

import inspect
import re
from dataclasses import asdict

import click
import pytest

from deconvnet_cli import Segmenter
from deconvnet_cli.cli import COMMANDS, cli
from deconvnet_cli.commands.shared.grouped_help import GENERAL, LAST, GroupedCommand, sections
from deconvnet_cli.segmentation.settings import SegmentOptions

GROUPED = ("segment", "batch", "explain", "evaluate", "crf", "proposals", "serve", "train")


def command_of(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", GROUPED)
def test_every_option_is_listed_once_and_the_commonest_first(deconvnet, name):
    command = command_of(name)
    assert isinstance(command, GroupedCommand)
    context = click.Context(command, info_name=name)
    groups = sections(command, context)
    listed = [option.name for _, options in groups for option in options]
    options = [one.name for one in command.get_params(context) if isinstance(one, click.Option)]
    assert sorted(map(str, listed)) == sorted(map(str, options))
    assert tuple(listed[: len(command.common)]) == command.common
    titles = [title for title, _ in groups]
    assert titles[0] == GENERAL and len(groups[0][1]) <= 10
    last = [title for title in LAST if title in titles]
    assert titles[len(titles) - len(last) :] == last
    text = deconvnet(name, "--help").stdout
    assert [line[:-1] for line in text.splitlines() if line[:-1] in titles] == titles


def test_a_description_is_one_paragraph():
    for name in GROUPED:
        assert "\n\n" not in inspect.cleandoc(command_of(name).help or "")


def test_every_option_says_what_it_does():
    for name in COMMANDS:
        command = command_of(name)
        below = command.commands.values() if isinstance(command, click.Group) else [command]
        for one in below:
            for option in one.params:
                assert not isinstance(option, click.Option) or option.help, f"{one.name} {option}"


def test_defaults_stand_once():
    defaults = asdict(SegmentOptions())
    for name in ("segment", "batch", "explain", "evaluate", "serve"):
        context = click.Context(command_of(name))
        options = {str(option.name): option for option in command_of(name).params}
        found = {key: options[key].get_default(context) for key in defaults}
        # click has a value of its own for an option that is not set.
        assert {key: value for key, value in found.items() if defaults[key] is not None} == {
            key: value for key, value in defaults.items() if value is not None
        }
    python = inspect.signature(Segmenter.load).parameters
    names = {"system_name": "net", "merge_rule": "rule"}
    assert {name: python[names.get(name, name)].default for name in defaults} == defaults


@pytest.mark.parametrize("name", ["segment", "batch"])
def test_what_most_photos_need_stands_in_the_first_group(deconvnet, name):
    first = deconvnet(name, "--help").stdout.split("Options:\n")[1].split("\n\n")[0]
    for option in ("--output", "--overlay", "--cutout", "--only", "--crf", "--net", "--weights"):
        assert re.search(rf"^  (-o, )?{option}\b", first, re.MULTILINE), option


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_numbers_have_plain_names(deconvnet, name):
    """click calls them INTEGER RANGE and FLOAT RANGE."""
    command = command_of(name)
    for below in command.commands if isinstance(command, click.Group) else [None]:
        result = deconvnet(name, *filter(None, (below, "--help")))
        assert result.exit_code == 0 and result.stdout.startswith("Usage:")
        assert not re.search(r"INTEGER|FLOAT|RANGE", result.stdout)


@pytest.mark.parametrize("name", ["evaluate", "soft-labels", "train"])
def test_photos_have_one_name(deconvnet, name):
    """What is segmented is a photo in all texts; only names of arguments say IMAGE."""
    text = deconvnet(name, "--help").stdout.replace("ImageSets/", "")
    assert not re.search(r"\bimages?\b", text, re.IGNORECASE)


def all_commands() -> list[click.Command]:
    """The commands, with those of their groups."""
    found = [command_of(name) for name in COMMANDS]
    for command in found:
        found += command.commands.values() if isinstance(command, click.Group) else []
    return found


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_no_number_is_taken_that_is_none(number):
    """NaN is below and above no end of a range: `average --share nan` wrote such weights."""
    options = [
        one
        for command in all_commands()
        for one in command.params
        if isinstance(one.type, click.FloatRange | type(click.FLOAT))
    ]
    assert {"share", "timeout", "lr"} <= {one.name for one in options}
    for one in options:
        with pytest.raises(click.BadParameter):
            one.type.convert(number, one, None)
