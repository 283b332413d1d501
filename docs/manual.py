"""The manual, from what the commands say of themselves: Markdown for the docs, and a man page.

python docs/manual.py --markdown docs/commands.md --man docs/deconvnet.1
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from deconvnet_cli import __version__
from deconvnet_cli.cli import COMMANDS, cli
from deconvnet_cli.storage.files import write_whole

EXIT_STATUS = (
    ("0", "All is done."),
    ("1", "Something failed; what was done stays."),
    ("2", "Wrong usage; nothing was done."),
)
ENVIRONMENT = (
    ("NO_COLOR", "If it is not empty, text on a terminal has no colours."),
    ("COLUMNS", "Width of the terminal."),
    ("TMPDIR", "Folder for temporary files."),
    ("OMP_NUM_THREADS", "Threads that torch may use."),
)


@dataclass(frozen=True)
class Entry:
    """A command as the manual has it.

    Attributes:
        path: words that call it, as ``deconvnet weights show``.
        usage: what follows them.
        text: paragraphs; those whose lines must stay as they are begin with ``\\b``.
        options: how each is written, and what it does.
    """

    path: str
    usage: str
    text: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def entries() -> list[Entry]:
    """All commands, each group before its own."""
    root = click.Context(cli, info_name="deconvnet")
    found = []
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is not None:
            found += list(described(command, name, root))
    return found


def described(command: click.Command, name: str, above: click.Context) -> Iterator[Entry]:
    """A command and those below it."""
    context = click.Context(command, info_name=name, parent=above)
    paragraphs = re.split(r"\n{2,}", inspect.cleandoc(command.help or ""))
    options = (option for option in command.params if isinstance(option, click.Option))
    yield Entry(
        context.command_path,
        " ".join(command.collect_usage_pieces(context)),
        tuple(part if part.startswith("\b") else " ".join(part.split()) for part in paragraphs),
        tuple((spelling(option), meaning(option)) for option in options),
    )
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            if inner is not None:
                yield from described(inner, below, context)


def spelling(option: click.Option) -> str:
    """The names of an option and what follows them: ``-o, --output OUT``."""
    names = ", ".join(option.opts)
    if option.secondary_opts:
        names += f" / {', '.join(option.secondary_opts)}"
    if option.is_flag:
        return names
    if option.metavar:
        return f"{names} {option.metavar}"
    if isinstance(option.type, click.Choice):
        return f"{names} {'|'.join(map(str, option.type.choices))}"
    return f"{names} {option.type.name.split()[0].upper()}"


def meaning(option: click.Option) -> str:
    """What an option does, its limits and its default, as sentences.

    Not by click's own ``get_help_record``: its layout changes from version to version.
    """
    parts = [" ".join((option.help or "").split())]
    if isinstance(option.type, click.IntRange | click.FloatRange):
        least, most = option.type.min, option.type.max
        parts.append(f"{least} at least." if most is None else f"{least} to {most}.")
    if option.required:
        parts.append("Required.")
    if option.show_default:
        default = option.default
        if option.is_flag and option.secondary_opts:
            default = (option.opts if default else option.secondary_opts)[0]
        parts.append(f"Default: {default}.")
    return " ".join(filter(None, parts))


def verbatim(paragraph: str) -> str | None:
    """The lines of a paragraph that must stay as they are; None of another one."""
    if not paragraph.startswith("\b"):
        return None
    return paragraph.removeprefix("\b\n")


def markdown(commands: list[Entry]) -> str:
    """The manual as Markdown."""
    lines = [
        "# Commands",
        "",
        "Made by `python docs/manual.py --markdown docs/commands.md` from what",
        "`deconvnet COMMAND --help` says; do not edit it.",
        "",
    ]
    for entry in commands:
        depth = len(entry.path.split())
        lines += ["#" * depth + f" {entry.path}", "", f"    {entry.path} {entry.usage}", ""]
        for paragraph in entry.text:
            kept = verbatim(paragraph)
            lines += [f"```\n{kept}\n```" if kept else escaped(paragraph), ""]
        for written, text in entry.options:
            lines += [f"- `{written}`: {escaped(text)}" if text else f"- `{written}`"]
        lines += [""] if entry.options else []
    lines += ["## Exit status", ""]
    lines += [f"- `{code}`: {text}" for code, text in EXIT_STATUS]
    lines += ["", "## Environment", ""]
    lines += [f"- `{name}`: {text}" for name, text in ENVIRONMENT]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text in which Markdown sees no marks; options, and what is in backquotes, are code."""
    parts = re.split(r"(`[^`]*`|(?<![\w-])--?[a-z][a-z-]*\b)", text)
    parts[0::2] = (re.sub(r"([\\*_<>\[\]])", r"\\\1", part) for part in parts[0::2])
    parts[1::2] = (f"`{part.strip('`')}`" for part in parts[1::2])
    return "".join(parts)


def man(commands: list[Entry]) -> str:
    """The manual as a man page in roff."""
    lines = [
        f'.TH DECONVNET 1 "" "deconvnet {__version__}" "User Commands"',
        ".nh",  # a name that is split at a line's end cannot be copied
        ".ad l",
        ".SH NAME",
        "deconvnet \\- semantic segmentation of photos",
        ".SH SYNOPSIS",
        ".B deconvnet",
        ".I COMMAND",
        "[\\fIOPTIONS\\fR] [\\fIARGUMENTS\\fR]",
        ".SH DESCRIPTION",
        wrapped(inspect.cleandoc(cli.help or "")),
        ".SH COMMANDS",
    ]
    for entry in commands:
        lines += [f".SS {roff(entry.path)} {roff(entry.usage)}"]
        for number, paragraph in enumerate(entry.text):
            kept = verbatim(paragraph)
            lines += [".PP"] if number else []
            lines += [".nf", *map(roff, kept.split("\n")), ".fi"] if kept else [wrapped(paragraph)]
        for written, text in entry.options:
            lines += [".TP", f"\\fB{roff(written)}\\fR", wrapped(text)]
    for title, rows in (("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)):
        lines += [f".SH {title}"]
        for name, text in rows:
            lines += [".TP", f".B {roff(name)}", wrapped(text)]
    return "\n".join(lines) + "\n"


def wrapped(text: str) -> str:
    """Lines of a paragraph, in roff."""
    return "\n".join(map(roff, textwrap.wrap(text, 72, break_on_hyphens=False))) or "\\&"


def roff(text: str) -> str:
    """A line in which roff sees no requests and no escapes."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith(".") else text


@click.command()
@click.option("--markdown", "page", type=click.Path(path_type=Path), help="Markdown to write.")
@click.option("--man", "man_page", type=click.Path(path_type=Path), help="Man page to write.")
def command(page: Path | None, man_page: Path | None) -> None:
    """Write the manual anew."""
    commands = entries()
    if page is not None:
        write_whole(page, markdown(commands).encode())
    if man_page is not None:
        write_whole(man_page, man(commands).encode())


if __name__ == "__main__":
    command()
