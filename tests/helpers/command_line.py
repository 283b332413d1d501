"""The command line, called in this process, and what it must say of an error."""

from __future__ import annotations

from click.testing import CliRunner, Result

from deconvnet_cli.cli import cli


def run_cli(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=stdin)


def one_error_line(result: Result, code: int, *words: str) -> None:
    """Nothing but one line, which names what is wrong."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("deconvnet: ")
    for word in words:
        assert word in lines[0]
