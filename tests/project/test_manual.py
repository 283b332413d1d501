"""The manual that is made from the commands: up to date, whole, and read by other programs."""

from __future__ import annotations

import re
import shutil
import subprocess

import click
import manual
import pytest
from click.testing import CliRunner
from helpers.paths import DOCS
from markdown_it import MarkdownIt

from deconvnet_cli.cli import cli

NASTY = "A \\backslash, 'quotes', `code_with_marks*`, a_name_here, 2*3*4, [a](b), <i>, --dashes"


@pytest.fixture(scope="module")
def entries() -> list[manual.Entry]:
    return manual.entries()


@pytest.fixture
def nasty() -> list[manual.Entry]:
    """A command whose help is full of what Markdown and roff have meanings for."""

    @click.command()
    @click.option("-o", "--out", metavar="A|B", help=NASTY)
    @click.option("--many", type=click.IntRange(1, 9), default=3, show_default=True, required=True)
    @click.option("--flag/--no-flag", default=True, show_default=True)
    @click.option("--kind", type=click.Choice(["x", "y"]))
    def command() -> None: ...

    command.help = f"{NASTY}\n\n.TH begins with a dot\n\n\b\nkept   as\n.it is\n"
    above = click.Context(cli, info_name="deconvnet")
    return list(manual.described(command, "nasty", above))


@pytest.mark.parametrize("name", ["commands.md", "deconvnet.1"])
def test_the_manual_is_up_to_date(entries, name):
    text = manual.markdown(entries) if name.endswith("md") else manual.man(entries)
    again = "python docs/manual.py --markdown docs/commands.md --man docs/deconvnet.1"
    assert (DOCS / name).read_text() == text, f"write it anew: {again}"


def test_every_command_and_option_is_there(entries):
    known = {entry.path: entry for entry in entries}

    def look(command: click.Command, context: click.Context) -> None:
        entry = known.pop(context.command_path)
        names = {name for written, _ in entry.options for name in written.replace(",", "").split()}
        for option in command.params:
            if isinstance(option, click.Option):
                assert {*option.opts, *option.secondary_opts} <= names
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                look(below, click.Context(below, info_name=name, parent=context))

    root = click.Context(cli, info_name="deconvnet")
    for name in cli.list_commands(root):
        command = cli.get_command(root, name)
        assert command is not None
        look(command, click.Context(command, info_name=name, parent=root))
    assert not known


def test_options_by_hand(nasty):
    (entry,) = nasty
    assert entry.path == "deconvnet nasty"
    assert entry.options == (
        ("-o, --out A|B", NASTY),
        ("--many INTEGER", "INTEGER is at least 1 and at most 9. Required. Default: 3."),
        ("--flag / --no-flag", "Default: --flag."),
        ("--kind x|y", ""),
    )


def test_markdown_says_what_was_meant(nasty):
    """As another program reads it: the same words, nothing slanted, no links, no HTML."""
    tokens = MarkdownIt("commonmark").parse(manual.markdown(nasty))
    inner = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in inner} <= {"text", "code_inline", "softbreak"}
    texts = [
        "".join(child.content for child in token.children or ())
        for token in tokens
        if token.type == "inline"
    ]
    assert NASTY.replace("`", "") in texts
    assert {child.content for child in inner if child.type == "code_inline"} >= {
        "code_with_marks*",
        "--dashes",  # an option is not broken after a hyphen
    }
    assert ".TH begins with a dot" in texts
    assert f"-o, --out A|B: {NASTY.replace('`', '')}" in texts
    kept = [token.content for token in tokens if token.type in ("fence", "code_block")]
    assert kept == ["deconvnet nasty [OPTIONS]\n", "kept   as\n.it is\n"]


def test_a_group_that_comes_again_is_linked(entries):
    text = manual.markdown(entries)
    sections = dict(re.findall(r"^##+ (deconvnet .+)\n((?:(?!^##).*\n)*)", text, re.MULTILINE))
    for entry in entries:
        section = sections[entry.path]
        for first in re.findall(r"the options are those of \[`(.+?)`\]", section):
            section += sections[first]  # one step is enough: what is linked is written out
        for written, _ in entry.options:
            assert f"- `{written}`" in section, f"{entry.path} {written}"
    assert len(text.split()) < 6000


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
def test_man_says_what_was_meant(nasty, tmp_path):
    page = tmp_path / "nasty.1"
    page.write_text(manual.man(nasty))
    command = ["man", "--no-hyphenation", "--warnings", "-l", str(page)]
    environment = {"PATH": "/usr/bin:/bin", "MANWIDTH": "300", "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert not done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert NASTY in lines
    assert ".TH begins with a dot" in lines
    start = lines.index("kept   as")
    assert lines[start + 1] == ".it is"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="no mandoc here")
def test_mandoc_finds_nothing_wrong():
    command = ["mandoc", "-T", "lint", "-W", "style", str(DOCS / "deconvnet.1")]
    done = subprocess.run(command, capture_output=True, text=True)
    # No date: the page must not change from day to day.
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert not complaints


def test_the_program_writes_both(tmp_path):
    page, man_page = tmp_path / "c.md", tmp_path / "d.1"
    options = ["--markdown", str(page), "--man", str(man_page)]
    assert CliRunner().invoke(manual.command, options).exit_code == 0
    assert page.read_text().startswith("# Commands\n")
    assert man_page.read_text().startswith(".TH DECONVNET 1 ")
