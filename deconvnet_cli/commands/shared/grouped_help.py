"""A command whose ``--help`` lists its commonest options first and the others in groups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

GENERAL = "Options"  # the commonest options, those without a group, and --help
FILES = "Input and output"
MACHINE = "Machine"
MESSAGES = "Messages"
LAST = (MACHINE, MESSAGES)  # other groups stand in the order in which they are declared


class Filled(click.Parameter):
    """An option or argument that refuses an empty text: as a path, it is the current folder."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value in the parameter's type; raise BadParameter for an empty text."""
        if value == "" or (isinstance(value, (list, tuple)) and "" in value):
            raise click.BadParameter(
                "is empty; a variable of the shell may have no value", ctx, self
            )
        return super().type_cast_value(ctx, value)


class Argument(Filled, click.Argument):
    """An argument that is not empty."""


class GroupedOption(Filled, click.Option):
    """An option that knows the group of ``--help`` in which it is listed.

    Unless it has a metavar, a whole number is called N and any other number X. A default is shown.
    """

    def __init__(self, *arguments: Any, group: str = GENERAL, **settings: Any) -> None:
        kind = settings.get("type")
        if isinstance(kind, click.IntRange):
            kind.name = "whole number"  # for errors, in which click has "integer range"
        elif isinstance(kind, click.FloatRange):
            kind.name = "number"
            settings.setdefault("metavar", "X")
        if isinstance(kind, click.IntRange) or kind is int:
            settings.setdefault("metavar", "N")
        settings.setdefault("show_default", settings.get("default") is not None)
        super().__init__(*arguments, **settings)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose options are listed in groups.

    Attributes:
        common: The names of the parameters that are listed first.
    """

    def __init__(self, *arguments: Any, common: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.common = tuple(common)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, options in sections(self, ctx):
            records = [record for option in options if (record := option.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(records)


def sections(
    command: click.Command, context: click.Context
) -> list[tuple[str, list[click.Option]]]:
    """Return the groups of a command's options, each with its title."""
    common = command.common if isinstance(command, GroupedCommand) else ()
    groups: dict[str, list[click.Option]] = {GENERAL: []}
    for option in command.get_params(context):
        if isinstance(option, click.Option) and not option.hidden:
            title = option.group if isinstance(option, GroupedOption) else GENERAL
            groups.setdefault(GENERAL if option.name in common else title, []).append(option)
    groups[GENERAL].sort(
        key=lambda option: common.index(option.name) if option.name in common else len(common)
    )
    for title in LAST:
        if title in groups:
            groups[title] = groups.pop(title)
    return [(title, options) for title, options in groups.items() if options]


argument = partial(click.argument, cls=Argument)
option = partial(click.option, cls=GroupedOption)
file_option = partial(option, group=FILES)
net_option = partial(option, group="Net")
box_option = partial(option, group="Boxes")
crf_option = partial(option, group="CRF")
machine_option = partial(option, group=MACHINE)
message_option = partial(option, group=MESSAGES)
