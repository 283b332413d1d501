"""The scripts that are run by hand follow the package: they still import what they use."""

from __future__ import annotations

from importlib import import_module

import pytest
from click import Context, Group
from helpers.paths import ROOT

from deconvnet_cli.cli import cli

TOOLS = ROOT / "tests" / "tools"
OURS = ("deconvnet_cli", "helpers", "tests", "tools")


@pytest.mark.parametrize("path", sorted(TOOLS.rglob("*.py")), ids=lambda path: path.stem)
def test_each_script_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in OURS:
            raise
        pytest.skip(f"needs {error.name}")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_script_for_a_gpu_gives_options_that_exist(tmp_path, monkeypatch, device):
    """It runs once, where a GPU is lent, so it cannot be tried before."""
    monkeypatch.syspath_prepend(str(ROOT))
    gpu_batch = import_module("tests.tools.gpu_batch")
    called: list[tuple[str, ...]] = []

    def run(*command: str) -> float:
        called.append(command)
        return float(len(called))

    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    monkeypatch.setattr(gpu_batch, "run", run)
    monkeypatch.setattr("sys.argv", ["gpu_batch", str(tmp_path), "--device", device])
    gpu_batch.main()
    commands = [each[3:] for each in called if each[:3] == gpu_batch.DECONVNET]
    assert {"batch"} <= {each[0] for each in commands}
    for name, *arguments in commands:
        command = cli.get_command(Context(cli), name)
        if isinstance(command, Group):
            name, *arguments = arguments
            command = command.get_command(Context(command), name)
        assert command is not None
        command.make_context(name, arguments).close()
