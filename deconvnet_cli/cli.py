"""The entry point: a group whose commands are imported when they are called.

Only click is imported here, so that ``deconvnet --help`` answers at once. Errors of this package
become one line on standard error and an exit code here and nowhere else.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from deconvnet_cli import __version__
from deconvnet_cli.errors import DeconvnetError, printable

COMMANDS = {
    "segment": "Label PNG of each photo.",
    "batch": "Label PNGs of whole folders, globs and lists.",
    "explain": "One page on why a photo got its labels.",
    "evaluate": "Mean IoU on a PASCAL VOC tree; the paper's table.",
    "crf": "Refine scores that batch kept, or sweep over settings.",
    "proposals": "The boxes of a photo, as JSON or drawn.",
    "weights": "Show, check and import weights.",
    "train": "Train a net on a PASCAL VOC tree.",
    "soft-labels": "A teacher's probabilities, for train --teacher.",
    "serve": "Photos in and labels out by HTTP, with a page.",
    "bench": "How fast this machine is; what its proposals find.",
    "doctor": "Say what is missing here and how to mend it.",
    "completion": "Let bash, zsh or fish complete this command.",
}


class LazyGroup(click.Group):
    """A group that knows its commands' names and imports ``commands/<name>.py`` on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"deconvnet_cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.short_help = COMMANDS[name]  # for shells that complete
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The one-line helps stand above, so that listing them imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeconvnetError as error:
            # Not click's echo, which writes UTF-8 where the terminal is ASCII: this escapes.
            print(f"deconvnet: {error}", file=sys.stderr)
            ctx.exit(error.exit_code)
        except OSError as error:
            # Of a path that nobody can look at: too long a name, or in a folder closed to us.
            if error.filename is None or isinstance(error, BrokenPipeError):
                raise
            where = os.fsdecode(error.filename)
            print(printable(f"deconvnet: {where}: {error.strerror}"), file=sys.stderr)
            ctx.exit(DeconvnetError.exit_code)


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deconvnet")
def cli() -> None:
    """DeconvNet semantic segmentation: photos in, label PNGs of the 21 PASCAL VOC classes out."""


def main() -> None:
    """Run the command line; a closed pipe ends it quietly, as with other shell tools."""
    if "_DECONVNET_COMPLETE" in os.environ:
        from deconvnet_cli.commands.completion import offer_files

        offer_files()
    try:
        cli()
    except BrokenPipeError:
        # Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
