"""Memory of a process that segments photos of many sizes: few compiled kernels are kept."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from deconvnet_cli.runtime import devices

# A convolution of more sizes than are kept, then of the first size again, and of this once more.
PROGRAM = """
import torch
from deconvnet_cli.runtime.devices import KERNEL_CACHES, bound_kernel_caches
bound_kernel_caches()
layer = torch.nn.Conv2d(64, 64, 3).requires_grad_(False)
for side in (*range(30, 30 + max(KERNEL_CACHES.values()) // 2), 30, 30):
    print("side", side, flush=True)
    layer(torch.zeros(2, 64, side, side))
"""


@pytest.mark.parametrize("given, compiled", [({}, [True, False]), ({"kept": "500"}, [False] * 2)])
def test_few_compiled_kernels_are_kept(given, compiled):
    """oneDNN's own report says of each kernel whether it was compiled; a user's number counts."""
    environment = {k: v for k, v in os.environ.items() if k not in devices.KERNEL_CACHES}
    environment |= dict.fromkeys(devices.KERNEL_CACHES, given["kept"]) if given else {}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**environment, "ONEDNN_VERBOSE": "2"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    passes = done.stdout.split("side ")[1:]
    convolutions = [
        [line for line in text.splitlines() if "create" in line and ",convolution," in line]
        for text in passes
    ]
    if not all(convolutions[:3]):
        pytest.skip("this torch computes convolutions without oneDNN")
    assert all("cache_miss" in each[0] for each in convolutions[:3])
    again = [any("cache_miss" in line for line in each) for each in convolutions[-2:]]
    assert again == compiled


@pytest.mark.parametrize("command", ["segment", "explain"])
def test_commands_keep_few_kernels(deconvnet, tiny_weights, tmp_path, monkeypatch, command):
    """Else each new size of a photo would add to the memory."""
    for name in devices.KERNEL_CACHES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.jpg")
    options = ("--weights", tiny_weights, "--proposals", 1, "-o", f"{tmp_path}/out/")
    assert deconvnet(command, tmp_path / "a.jpg", *options).exit_code == 0
    kept = {name: os.environ.get(name) for name in devices.KERNEL_CACHES}
    assert kept == {name: str(number) for name, number in devices.KERNEL_CACHES.items()}


def test_freed_memory_goes_back_once_in_some_photos(monkeypatch):
    class Libc:
        trimmed = 0

        def malloc_trim(self, pad: int) -> None:
            Libc.trimmed += 1

    monkeypatch.setattr(devices, "LIBC", Libc())
    for _ in range(3 * devices.TRIM_EVERY):
        devices.return_freed_memory()
    assert Libc.trimmed == 3


def test_a_mac_uses_its_gpu_only_if_asked(monkeypatch):
    """Its support in torch is younger than the versions of torch that are allowed."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    chosen = [devices.choose_device(name).type for name in ("auto", "mps")]
    assert chosen == ["cpu", "mps"]
