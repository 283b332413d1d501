"""Write the manual from the help of the commands: Markdown for the docs, and a man page.

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
from deconvnet_cli.commands.shared.grouped_help import sections
from deconvnet_cli.storage.files import write_whole

EXIT_STATUS = (
    ("0", "Everything is done."),
    ("1", "Something failed; finished files stay."),
    ("2", "The usage is wrong; nothing was done."),
)
ENVIRONMENT = (
    ("NO_COLOR", "If it is set and not empty, text on a terminal has no colours."),
    ("COLUMNS", "The width of the terminal."),
    ("TMPDIR", "The folder for temporary files."),
    ("OMP_NUM_THREADS", "The number of threads that torch may use."),
)


LINKED = 2  # a group of more options is linked where it comes again


@dataclass(frozen=True)
class Entry:
    """A command in the manual.

    Attributes:
        path: The words that call it, such as ``deconvnet weights show``.
        usage: The arguments that follow.
        text: Its paragraphs; one that begins with ``\\b`` keeps its line breaks.
        groups: The groups of its options: a title, and the spelling and meaning of each option.
    """

    path: str
    usage: str
    text: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """The spelling and meaning of all options."""
        return tuple(option for _, options in self.groups for option in options)


def entries() -> list[Entry]:
    """Return all commands, each followed by its subcommands."""
    root = click.Context(cli, info_name="deconvnet")
    found = []
    for name in COMMANDS:
        command = cli.get_command(root, name)
        if command is not None:
            found += list(described(command, name, root))
    return found


def described(command: click.Command, name: str, above: click.Context) -> Iterator[Entry]:
    """Yield a command and its subcommands."""
    context = click.Context(command, info_name=name, parent=above)
    texts = filter(None, (command.help, command.epilog))
    paragraphs = re.split(r"\n{2,}", "\n\n".join(map(inspect.cleandoc, texts)))
    groups = []
    for title, options in sections(command, context):
        own = tuple((spelling(one), meaning(one)) for one in options if one in command.params)
        groups += [(title, own)] if own else []  # --help is none of its own
    yield Entry(
        context.command_path,
        " ".join(command.collect_usage_pieces(context)),
        tuple(part if part.startswith("\b") else " ".join(part.split()) for part in paragraphs),
        tuple(groups),
    )
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            inner = command.get_command(context, below)
            if inner is not None:
                yield from described(inner, below, context)


def spelling(option: click.Option) -> str:
    """Return the names of an option and its value: ``-o, --output OUT``."""
    names = ", ".join(option.opts)
    if option.secondary_opts:
        names += f" / {', '.join(option.secondary_opts)}"
    return names if option.is_flag else f"{names} {value_of(option)}"


def value_of(option: click.Option) -> str:
    """Return what stands for the value of an option, such as ``OUT`` or ``auto|none``."""
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    return option.type.name.split()[0].upper()


def limits(name: str, kind: click.IntRange | click.FloatRange) -> str:
    """Return the least and greatest value of a number with this name, as a sentence."""
    least = f"above {kind.min}" if kind.min_open else f"at least {kind.min}"
    if kind.max is None:
        return f"{name} is {least}."
    return f"{name} is {least} and {'below' if kind.max_open else 'at most'} {kind.max:.9g}."


def meaning(option: click.Option) -> str:
    """Return what an option does, its limits and its default, as sentences.

    click's own ``get_help_record`` is not used, as its layout changes from version to version.
    """
    text, _, default = " ".join((option.help or "").split()).partition("[default: ")
    parts = [text.rstrip()]
    if isinstance(option.type, click.IntRange | click.FloatRange):
        parts.append(limits(value_of(option), option.type))
    if option.required:
        parts.append("Required.")
    if default:
        parts.append(f"Default: {default.removesuffix(']')}.")
    if option.show_default:
        default = option.default
        if option.is_flag and option.secondary_opts:
            default = (option.opts if default else option.secondary_opts)[0]
        parts.append(f"Default: {default}.")
    return " ".join(filter(None, parts))


def verbatim(paragraph: str) -> str | None:
    """Return the text of a paragraph that keeps its line breaks, or None for any other."""
    if not paragraph.startswith("\b"):
        return None
    return paragraph.removeprefix("\b\n")


def markdown(commands: list[Entry]) -> str:
    """Return the manual as Markdown. A long group of options that is there already is linked."""
    shown: dict[tuple[tuple[str, str], ...], str] = {}
    lines = [
        "# Commands",
        "",
        "<!-- python docs/manual.py --markdown docs/commands.md makes this; do not edit it. -->",
        "",
        "These are all commands with their options, as `deconvnet COMMAND --help` prints them.",
        "",
    ]
    for entry in commands:
        depth = len(entry.path.split())
        lines += ["#" * depth + f" {entry.path}", "", f"    {entry.path} {entry.usage}", ""]
        for paragraph in entry.text:
            kept = verbatim(paragraph)
            lines += [f"```\n{kept}\n```" if kept else escaped(paragraph), ""]
        for title, options in entry.groups:
            first = shown.setdefault(options, entry.path)
            if first != entry.path and len(options) > LINKED:
                link = f"[`{first}`](#{first.replace(' ', '-')})"
                lines += [f"{title}: the options are those of {link}.", ""]
                continue
            lines += [f"{title}:", ""] if len(entry.groups) > 1 else []
            for written, text in options:
                lines += [f"- `{written}`: {escaped(text)}" if text else f"- `{written}`"]
            lines += [""]
    lines += ["## Exit status", ""]
    lines += [f"- `{code}`: {text}" for code, text in EXIT_STATUS]
    lines += ["", "## Environment", ""]
    lines += [f"- `{name}`: {text}" for name, text in ENVIRONMENT]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Escape Markdown in a text; options and backquoted words become code."""
    parts = re.split(r"(`[^`]*`|(?<![\w-])--?[a-z][a-z-]*\b)", text)
    parts[0::2] = (re.sub(r"([\\*_<>\[\]])", r"\\\1", part) for part in parts[0::2])
    parts[1::2] = (f"`{part.strip('`')}`" for part in parts[1::2])
    return "".join(parts)


def man(commands: list[Entry]) -> str:
    """Return the manual as a man page in roff."""
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
        for title, options in entry.groups:
            lines += [".PP", f"{roff(title)}:"] if len(entry.groups) > 1 else []
            for written, text in options:
                lines += [".TP", f"\\fB{roff(written)}\\fR", wrapped(text)]
    for title, rows in (("EXIT STATUS", EXIT_STATUS), ("ENVIRONMENT", ENVIRONMENT)):
        lines += [f".SH {title}"]
        for name, text in rows:
            lines += [".TP", f".B {roff(name)}", wrapped(text)]
    return "\n".join(lines) + "\n"


def wrapped(text: str) -> str:
    """Return a paragraph as lines of roff."""
    return "\n".join(map(roff, textwrap.wrap(text, 72, break_on_hyphens=False))) or "\\&"


def roff(text: str) -> str:
    """Escape a line for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    return f"\\&{text}" if text.startswith(".") else text


@click.command()
@click.option("--markdown", "page", type=click.Path(path_type=Path), help="Markdown file to write.")
@click.option("--man", "man_page", type=click.Path(path_type=Path), help="Man page to write.")
def command(page: Path | None, man_page: Path | None) -> None:
    """Write the manual."""
    commands = entries()
    if page is not None:
        write_whole(page, markdown(commands).encode())
    if man_page is not None:
        write_whole(man_page, man(commands).encode())


if __name__ == "__main__":
    command()
