"""``deconvnet completion``: the script with which a shell completes this command."""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

VARIABLE = "_DECONVNET_COMPLETE"  # set by the script when it asks for completions


class Files(ShellComplete):
    """A completion that offers files where no command, option or name fits."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """Return the completions after ``args``, the first of which is a command."""
        found = super().get_completions(args, incomplete)
        return found if found or not args else [CompletionItem(incomplete, type="file")]


SHELLS: dict[str, type[ShellComplete]] = {
    shell.name: type(shell.__name__, (Files, shell), {})
    for shell in (BashComplete, ZshComplete, FishComplete)
}


def offer_files() -> None:
    """Register these classes with click. Call this before click reads ``VARIABLE``."""
    for name, kind in SHELLS.items():
        add_completion_class(kind, name)


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)), metavar="|".join(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and names of weights in a shell.

    \b
    bash: eval "$(deconvnet completion bash)"       in ~/.bashrc
    zsh:  eval "$(deconvnet completion zsh)"        in ~/.zshrc, after compinit
    fish: deconvnet completion fish > ~/.config/fish/completions/deconvnet.fish
    """
    group = context.find_root().command
    click.echo(SHELLS[shell](group, {}, "deconvnet", VARIABLE).source())
