"""What shells are offered, asked by click's protocol and by shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT as HERE

from deconvnet_cli.cli import COMMANDS
from deconvnet_cli.weights.shipped import registry

PATHS = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
CODE = """
import sys
sys.argv[0] = "deconvnet"
from deconvnet_cli.cli import main
try:
    main()
finally:
    print("imported", *sorted({n.split(".")[0] for n in sys.modules}), file=sys.stderr)
"""


def ask(*words: str) -> list[tuple[str, str]]:
    """Kind and value of what is offered for the last of these words, as bash asks for it."""
    asked = {"_DECONVNET_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("deconvnet", *words))}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**os.environ, "PYTHONPATH": PATHS, **asked, "COMP_CWORD": str(len(words))},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stderr.split())
    assert "click" in imported
    assert not imported & {"torch", "cv2", "numpy", "PIL", "rich"}
    pairs = (line.partition(",") for line in done.stdout.splitlines() if line)
    return [(kind, value) for kind, _, value in pairs]


@pytest.mark.parametrize("words", [("segment", "--weights", "de"), ("weights", "show", "de")])
def test_names_of_weights_without_torch(words):
    names = [name for name in registry() if name.startswith("de")]
    assert names and ask(*words) == [("plain", name) for name in names]


def test_commands_options_and_choices():
    assert ask("seg") == [("plain", "segment")]
    assert ask("segment", "--prev") == [("plain", "--preview")]
    assert ask("segment", "--preview", "ki") == [("plain", "kitty")]
    assert ("plain", "verify") in ask("weights", "v")


def test_files_where_nothing_of_ours_fits():
    assert ask("segment", "holi") == [("file", "holi")]
    assert ask("segment", "--weights", "my/") == [("file", "my/")]
    assert ask("holi") == []  # no command


@pytest.fixture
def scripts(tmp_path, deconvnet):
    """A folder with the three scripts, and a ``deconvnet`` to be called by them."""
    program = tmp_path / "deconvnet"
    program.write_text(f"#!{sys.executable}\nfrom deconvnet_cli.cli import main\nmain()\n")
    program.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        result = deconvnet("completion", shell)
        assert result.exit_code == 0
        (tmp_path / f"script.{shell}").write_text(result.stdout)
    return tmp_path


def run(shell: str, commands: str, folder: Path) -> list[str]:
    path = os.pathsep.join((str(folder), os.environ["PATH"]))
    done = subprocess.run(
        [str(shutil.which(shell)), "-c", commands],
        env={**os.environ, "PATH": path, "PYTHONPATH": PATHS, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split("\n")[:-1]


def has(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"no {shell} here")


@has("bash")
def test_bash_completes(scripts):
    words = "COMP_WORDS=(deconvnet segment --weights de); COMP_CWORD=3"
    commands = f"source script.bash; {words}; _deconvnet_completion deconvnet"
    found = run("bash", f'{commands}; printf "%s\\n" "${{COMPREPLY[@]}}"', scripts)
    assert found == [name for name in registry() if name.startswith("de")]
    assert "_deconvnet_completion" in run("bash", "source script.bash; complete -p", scripts)[0]


@has("zsh")
def test_zsh_takes_the_script(scripts):
    setup = "autoload -U compinit; compinit -u -d dump; source script.zsh"
    found = run("zsh", f"{setup}; print -r -- $_comps[deconvnet]", scripts)
    assert found == ["_deconvnet_completion"]


@has("fish")
def test_fish_completes(scripts):
    found = run("fish", "source script.fish; complete -C 'deconvnet '", scripts)
    offered = dict(line.split("\t") for line in found)
    assert list(offered) == sorted(COMMANDS)
    for name, text in offered.items():  # click's script cuts them at a comma
        assert text and COMMANDS[name].startswith(text)
    found = run("fish", "source script.fish; complete -C 'deconvnet segment --weights de'", scripts)
    assert found == [name for name in registry() if name.startswith("de")]


def test_an_unknown_shell(deconvnet):
    result = deconvnet("completion", "tcsh")
    assert result.exit_code == 2 and "bash" in result.stderr
