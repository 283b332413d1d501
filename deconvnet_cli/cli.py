"""The entry point: a group whose commands are imported when they are called.

Only click is imported here, so that ``deconvnet --help`` answers at once. This is the only place
where errors of this package become one line on standard error and an exit code.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from deconvnet_cli import __version__
from deconvnet_cli.errors import DeconvnetError, UsageError, printable, why
from deconvnet_cli.runtime.cores import limit_threads
from deconvnet_cli.runtime.streams import prepare_streams

COMMANDS = {
    "segment": "Write the label PNGs of photos or videos.",
    "batch": "Write the label PNGs of folders, globs and lists.",
    "explain": "Show on one page why a photo got its labels.",
    "evaluate": "Measure weights or label PNGs on a PASCAL VOC tree.",
    "crf": "Refine stored scores, or compare settings of the CRF.",
    "proposals": "Print or draw the boxes of a photo.",
    "weights": "List, show, check, import, average and compress weights.",
    "export": "Write a net as an ONNX file.",
    "train": "Train a net on a PASCAL VOC tree.",
    "dataset": "Convert an export to a VOC tree, or check a tree.",
    "soft-labels": "Write a teacher's probabilities, for train --teacher.",
    "serve": "Serve a page to drop photos on, and HTTP for programs.",
    "bench": "Measure the speed of this machine, or the boxes.",
    "doctor": "Check this machine, and say how to fix it.",
    "completion": "Print the script that completes commands in a shell.",
}


class LazyGroup(click.Group):
    """A group that imports ``commands/<name>.py`` when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"deconvnet_cli.commands.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.short_help = COMMANDS[name]  # for shells that complete
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"No such command '{printable(args[0])}'. {hint(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The short helps stand above, so that listing the commands imports none of them.
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            for name in ctx.obj:
                if name.startswith(error.option_name) and os.path.exists(name):
                    name = printable(name)
                    message = f"{name}: the name of a file begins with a dash; write ./{name}"
                    raise UsageError(message) from None
            raise

    def main(self, *args: Any, **kwargs: Any) -> Any:
        # Around all of click, whose own --help may fail too: on a full disk.
        try:
            return super().main(*args, **kwargs)
        except DeconvnetError as error:
            # click.echo would write UTF-8 even to an ASCII terminal; print escapes.
            print(f"deconvnet: {error}", file=sys.stderr)
            sys.exit(error.exit_code)
        except OSError as error:
            # A path that cannot be looked up: its name is too long, or its folder is closed to us.
            if error.filename is None or isinstance(error, BrokenPipeError):
                raise
            where = os.fsdecode(error.filename)
            print(printable(f"deconvnet: {where}: {why(error)}"), file=sys.stderr)
            sys.exit(DeconvnetError.exit_code)


def hint(name: str) -> str:
    """Return what somebody may have meant who called a command by this name."""
    if os.path.isdir(name):
        return f"For the photos of a folder: deconvnet batch {printable(name)}"
    if os.path.exists(name) or os.path.splitext(name)[1]:
        return f"For a photo: deconvnet segment {printable(name)}"
    import difflib

    near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
    return f"Did you mean {near[0]}?" if near else "See deconvnet --help."


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deconvnet")
def cli() -> None:
    """Segment photos with DeconvNet: photos in, label PNGs out, of VOC's 21 classes or your own."""


def main() -> None:
    """Run the command line. A closed pipe ends it quietly, as with other shell tools."""
    prepare_streams()
    # OpenMP reads this when torch is imported. By default its threads spin while they wait for one
    # another; where other programs keep a core busy, a photo then takes many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # OpenCV, and its FFmpeg (-8 is "quiet"), would tell on standard error of each damaged file, as
    # the commands do themselves. A program that uses Segmenter decides this on its own.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    limit_threads()
    try:
        os.getcwd()
    except OSError as error:
        print(
            f"deconvnet: the working folder is gone ({error.strerror}); cd to another one",
            file=sys.stderr,
        )
        sys.exit(DeconvnetError.exit_code)
    if "_DECONVNET_COMPLETE" in os.environ:
        from deconvnet_cli.commands.completion import offer_files

        offer_files()
    try:
        cli()
    except BrokenPipeError:
        # Python would fail again when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
