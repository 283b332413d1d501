"""Two processes train as one does."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
from helpers import warm_python
from helpers.command_line import run_cli
from safetensors.torch import load_file

from deconvnet_cli.training.distributed import SharedBatchNorm
from deconvnet_cli.training.run_folder import read_log

NET = '{"head": 16, "bridge": [16, 64], "decode4": [16, 32], "decode3": [24], "decode2": [32]}'

# The command, then what is left of the process group: its threads would abort the ending process.
COMMAND = """
import runpy
from pathlib import Path
try:
    runpy.run_module("deconvnet_cli", run_name="__main__", alter_sys=True)
finally:
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    if left := [name for name in names if "gloo" in name]:
        print("Warning: left behind:", left)
"""


def arguments(voc: Path, run: Path) -> list[object]:
    """Return the arguments of ``deconvnet``."""
    return [
        "train", "--voc-root", voc, "--split", "first", "--out", run,
        "--stage", "2", "--set", "boxes = 'shown'",
        "--batch-size", "4", "--accumulate", "2", "--crops", "24", "--size", "64", "--quiet",
        "--no-frozen",
        "--set", "precision = 'fp32'", "--set", "optimiser = 'sgd'", "--set", "warmup = 0",
        "--set", "log_every = 1", "--set", "clip = 1.0", "--set", "statistics = 3",
        "--set", f"net_settings = '{NET}'", "--device", "cpu",
    ]  # fmt: skip


@pytest.mark.slow
def test_two_processes_end_at_the_weights_of_one(voc: Path, tmp_path: Path, monkeypatch):
    """As docs/train.md starts them: the first one finds the boxes, and both train on them."""
    runs = tmp_path / "one", tmp_path / "two"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = tmp_path / "program.py"
    program.write_text(COMMAND)
    two = warm_python.run([*command, program, *arguments(voc, runs[1])], timeout=120)
    said = (two.stdout + two.stderr).decode()
    assert two.returncode == 0 and "Warning" not in said, said
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {  # as torchrun starts a single process
        "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    alone = run_cli(*arguments(voc, runs[0]))  # a warning would be an error here
    assert alone.exit_code == 0, alone.output
    one, other = (load_file(run / "weights.safetensors") for run in runs)
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=2e-3, rtol=2e-2, msg=name)
    logs = [[line["loss"] for line in read_log(run)] for run in runs]
    assert len(logs[0]) == 3
    assert logs[0] == pytest.approx(logs[1], rel=1e-3)
    for run in runs:
        assert [path.name for path in (run / "proposals").iterdir()] == ["first-21.npz"]


def test_shared_batchnorm_can_average_plainly(monkeypatch):
    monkeypatch.setattr("deconvnet_cli.training.distributed.sum_over_processes", lambda x: x)
    ours, theirs = SharedBatchNorm(2, momentum=None), torch.nn.BatchNorm2d(2, momentum=None)
    for _ in range(3):
        x = torch.randn(2, 2, 3, 3)
        ours(x), theirs(x)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_shared_batchnorm_is_batchnorm_where_there_is_one_process(monkeypatch):
    monkeypatch.setattr("deconvnet_cli.training.distributed.sum_over_processes", lambda x: x)
    torch.manual_seed(0)
    ours, theirs = SharedBatchNorm(3), torch.nn.BatchNorm2d(3)
    for norm in (ours, theirs):
        torch.nn.init.uniform_(norm.weight)
        theirs.weight.data.copy_(ours.weight.data)
    here = torch.randn(4, 3, 5, 6, requires_grad=True)
    there = here.detach().clone().requires_grad_()
    a, b = ours(here), theirs(there)
    torch.testing.assert_close(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(here.grad, there.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    torch.testing.assert_close(ours.eval()(here), theirs.eval()(here))


@pytest.mark.parametrize("mean", [10, 100, 1000])
def test_shared_batchnorm_is_right_where_the_mean_is_far_greater_than_the_spread(mean, monkeypatch):
    monkeypatch.setattr("deconvnet_cli.training.distributed.sum_over_processes", lambda x: x)
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16) * 0.01 + mean
    exact = torch.nn.BatchNorm2d(3).double()(x.double()).float()
    torch.testing.assert_close(SharedBatchNorm(3)(x), exact, atol=1e-2, rtol=0)
