"""``train --compile``: the same steps, or a word on what is missing."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.command_line import one_error_line, run_cli
from torch import nn

from deconvnet_cli.errors import DependencyError
from deconvnet_cli.training.losses import compiled
from deconvnet_cli.training.run_folder import read_log

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch


def train(voc: Path, run: Path, *more: str):
    settings = {"net_settings": '\'{"width": 0.015625, "fc": 6}\'', "log_every": 1, "warmup": 0}
    return run_cli(
        "train", "--net", "fcn8s", "--voc-root", voc, "--split", "first", "--out", run, "--quiet",
        "--batch-size", 2, "--accumulate", 1, "--crops", 4, "--size", 64, "--device", "cpu",
        *(word for name, value in settings.items() for word in ("--set", f"{name} = {value}")),
        *more,
    )  # fmt: skip


@pytest.mark.slow
def test_the_losses_are_those_of_the_net_as_it_is(voc, tmp_path, monkeypatch):
    """Torch traces the whole net; making kernels of it would take minutes, so it does not here."""
    made: list[object] = []

    def traced(module: nn.Module):
        made.append(module)
        return compile_module(module, backend="eager")

    compile_module = partial(torch.compile, fullgraph=True)
    monkeypatch.setattr(torch, "compile", traced)
    runs = tmp_path / "plain", tmp_path / "compiled"
    for run, more in zip(runs, ((), ("--compile",)), strict=True):
        result = train(voc, run, *more)
        assert result.exit_code == 0, result.output
    assert len(made) == 1
    plain, quick = ([line["loss"] for line in read_log(run)] for run in runs)
    assert len(plain) == 2 and quick == pytest.approx(plain, rel=1e-3)


def test_without_a_compiler(monkeypatch):
    def backend(graph: object, inputs: object):
        raise RuntimeError("no g++ here\nnor anything else")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    with pytest.raises(DependencyError, match=r"cannot compile the net \(no g\+\+ here\); install"):
        compiled(nn.Linear(4, 3))(torch.ones(2, 4))


def test_the_command_says_so(voc, tmp_path, monkeypatch):
    def broken(objective: nn.Module):
        raise DependencyError("--compile: no compiler")

    monkeypatch.setattr("deconvnet_cli.training.loop.compiled", broken)
    one_error_line(train(voc, tmp_path / "run", "--compile"), 1, "--compile: no compiler")
